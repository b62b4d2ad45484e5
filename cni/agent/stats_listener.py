"""Hears from the plugin's short processes what their requests cost."""

import asyncio
import errno
import logging
import socket

from cni.agent.ipam_metrics import IpamMetrics
from ipam.request_stats import ADDRESS, decode_stats

log = logging.getLogger(__name__)


async def listen_for_stats(metrics: IpamMetrics) -> None:
    """Take in what comes for as long as the task lives; without the socket there are no such figures."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    with listener:
        try:
            listener.bind(ADDRESS)
        except OSError as exc:
            reason = errno.errorcode.get(exc.errno or 0, str(exc))
            log.warning("another agent of this node hears what requests cost error=%s", reason)
            return
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Listener(metrics), sock=listener)
        try:
            await loop.create_future()
        finally:
            transport.close()


class _Listener(asyncio.DatagramProtocol):
    """Decodes datagrams."""

    def __init__(self, metrics: IpamMetrics) -> None:
        self._metrics = metrics

    def datagram_received(self, data: bytes, _: object) -> None:
        """Take one in; what is none of ours is dropped."""
        stats = decode_stats(data)
        if stats is not None:
            self._metrics.take_stats(stats)
