"""`coredns-lite run`: packet loops answer while the asyncio loop follows the cluster.

    cluster ───► batches ─► NameIndex ─► new Responder ─► UdpWorker.responder     (the asyncio loop)
                                                               ▲
    datagrams ─────────────► UdpWorker.run ────────────────────┘                  (a thread for each socket)

Decides when the program is ready: once every socket is bound and every cluster has had its first snapshot.
"""

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack

from coredns_lite.config import Listener, Origin
from coredns_lite.name_index import KINDS, NameIndex
from coredns_lite.query_log import SiteQueryLog
from coredns_lite.responder import Responder
from coredns_lite.server.listen import open_udp
from coredns_lite.server.udp_worker import UdpWorker
from coredns_lite.sites import ClusterKey, build_logged, build_zones, cluster_key
from nodeplane.kube.source import Source
from nodeplane.runtime.sd_notify import notify

# How long a packet loop that wants the interpreter waits while the asyncio loop computes. Python's default is
# 5 ms: with a file of 1,500 Services read over and over, queries took 9 ms (p99 30 ms), so 0.6 ms (p99 5 ms).
_SWITCH_INTERVAL_S = 0.0005

log = logging.getLogger(__name__)


class Server:
    """One listener's socket and packet loop, and the zones that it answers from."""

    def __init__(self, listener: Listener, indexes: Mapping[ClusterKey, NameIndex]) -> None:
        self.name = f"{listener.address or '*'}:{listener.port}"
        self._zones = build_zones(listener, indexes)
        self._listening = open_udp(listener.address, listener.port)
        plugins = [site.plugins for site in listener.sites]
        self._worker = UdpWorker(
            self._listening.socket,
            Responder(self._zones),
            packet_info=self._listening.packet_info,
            query_log=SiteQueryLog(build_logged(listener)) if any(each.log for each in plugins) else None,
            logs_errors=any(each.errors for each in plugins),
        )

    def publish(self) -> None:
        """Answer from the zones as they are now: nothing cached before counts any more."""
        self._worker.responder = Responder(self._zones)

    async def run(self, threads: Executor) -> None:
        """Serve for as long as the task lives."""
        try:
            await asyncio.get_running_loop().run_in_executor(threads, self._worker.run)
        finally:
            self._worker.stop()

    def close(self) -> None:
        """Close the socket and log what was done, if anything; the packet loop has ended."""
        done, lost = self._worker.counters, self._listening.lost()
        if done.received or lost:
            log.info(
                "served listener=%s received=%d sent=%d uncached=%d dropped=%d unsent=%d lost=%d defects=%d",
                self.name, done.received, done.sent, done.uncached, done.dropped, done.unsent, lost,
                done.defects,
            )  # fmt: skip
        self._listening.socket.close()


async def run(listeners: Sequence[Listener], open_source: Callable[[Origin], Source]) -> None:
    """Serve the listeners for as long as the task lives; `open_source` gives the cluster of an origin.

    Raises:
        KernelError: an address can't be listened on, or its socket failed.
        ConfigError: the first snapshot of a cluster can't be had.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    configured = [site.plugins.kubernetes for listener in listeners for site in listener.sites]
    keys = {cluster_key(kubernetes) for kubernetes in configured if kubernetes}
    indexes = {(origin, ttl_s): NameIndex(ttl_s) for origin, ttl_s in keys}
    with ExitStack() as stack:
        servers = []
        for listener in listeners:
            servers.append(Server(listener, indexes))
            stack.callback(servers[-1].close)
        threads = stack.enter_context(ThreadPoolExecutor(len(servers), thread_name_prefix="udp"))
        async with asyncio.TaskGroup() as tasks:
            for server in servers:
                tasks.create_task(server.run(threads))
            snapshots = []
            for (origin, _), index in indexes.items():
                snapshots.append(asyncio.Event())
                tasks.create_task(_follow(open_source(origin), index, servers, snapshots[-1]))
            for snapshot in snapshots:
                await snapshot.wait()
            notify("READY=1")


async def _follow(
    source: Source, index: NameIndex, servers: Collection[Server], has_snapshot: asyncio.Event
) -> None:
    """Take a cluster's changes into its index, and let the servers answer from it as soon as any matters."""
    async for batch in source.batches(KINDS):
        started = time.perf_counter()
        if index.apply(batch, int(time.time())):
            for server in servers:
                server.publish()
            duration_ms = (time.perf_counter() - started) * 1000
            log.info(
                "names changed objects=%d names=%d duration_ms=%.3f", len(batch), len(index), duration_ms
            )
        has_snapshot.set()
