"""Deletion of a link that returns when the link is gone, and not when the kernel has freed its memory.

RTM_DELLINK of a veth takes 30 ms, of which 1 ms removes both ends with their names, addresses and routes; the
rest waits for readers of what nobody can reach any more (net/core/dev.c: netdev_run_todo, rcu_barrier). That
wait belongs to whoever sent the message, so a thread of its own sends it, and the kernel's notification of
the removal ends ours. Nothing is left to be done if this process dies in between.
"""

import _thread
import errno
import fcntl
import os
import select
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nodeplane.datapath import netlink as nl
from nodeplane.datapath import netns
from nodeplane.datapath.netlink_socket import NetlinkSocket
from nodeplane.datapath.rtnl import link_codec as codec
from nodeplane.errors import KernelError, kernel_error

_SIOCGSKNS = 0x894C  # linux/sockios.h: a descriptor of the namespace that a socket is in
_RTMGRP_LINK = 1


def delete_link(operation: str, index: int, beside: NetlinkSocket) -> None:
    """Delete the link of that index in the namespace of another socket.

    Raises:
        KernelError: the kernel refused.
    """
    with _namespace_of(operation, beside):
        # Before the message is sent, so that the notification can't be missed.
        events = NetlinkSocket(nl.NETLINK_ROUTE, groups=_RTMGRP_LINK)
        sender = NetlinkSocket(nl.NETLINK_ROUTE)
    with events:
        deletion = _Deletion(operation, index, sender)
        deletion.start()
        deletion.await_end(events)


class _Deletion:
    """The thread that waits for the kernel; it keeps no program from ending."""

    def __init__(self, operation: str, index: int, sender: NetlinkSocket) -> None:
        self._operation = operation
        self._index = index
        self._sender = sender
        # Readable when the thread has ended: its end is closed then.
        self._ended, self._open = os.pipe2(os.O_CLOEXEC)
        self._error: KernelError | None = None

    def start(self) -> None:
        """Start the thread; `threading` would wait until it runs, we wait for what it does."""
        _thread.start_new_thread(self._run, ())

    def _run(self) -> None:
        """Send the message and wait for the kernel."""
        body = codec.link_head(index=self._index)
        try:
            with self._sender:
                self._sender.ask(self._operation, nl.request(codec.DELLINK, nl.NLM_F_ACK, 1, body))
        except KernelError as exc:
            self._error = exc
        finally:
            os.close(self._open)

    def await_end(self, events: NetlinkSocket) -> None:
        """Wait until the link is gone or the kernel has refused."""
        poll = select.poll()
        poll.register(self._ended, select.POLLIN | select.POLLHUP)
        poll.register(events.fileno(), select.POLLIN)
        try:
            while True:
                ready = {descriptor for descriptor, _ in poll.poll()}
                if self._ended in ready:
                    break
                if self._is_told(events):
                    return
        finally:
            os.close(self._ended)
        if self._error is not None:
            raise self._error

    def _is_told(self, events: NetlinkSocket) -> bool:
        # Lost notifications (ENOBUFS) are no harm: then the thread's end is waited for.
        with suppress(KernelError):
            return any(
                kind == codec.DELLINK and codec.link_index(payload) == self._index
                for kind, _, _, payload in events.notifications(self._operation)
            )
        return False


@contextmanager
def _namespace_of(operation: str, beside: NetlinkSocket) -> Iterator[None]:
    """Move the calling thread into the namespace of a socket, wherever that was opened, and back."""
    try:
        namespace = fcntl.ioctl(beside.fileno(), _SIOCGSKNS)
    except OSError as exc:
        raise kernel_error(operation, exc.errno or errno.EIO) from exc
    try:
        with netns.inside(Path(f"/proc/self/fd/{namespace}")):
            yield
    finally:
        os.close(namespace)
