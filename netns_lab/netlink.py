"""Netlink for a command that a person may interrupt: no call is cut short."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nodeplane.datapath.rtnl import Rtnl, open_rtnl

_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def open_whole_rtnl(namespace: Path) -> Iterator[Rtnl]:
    """Open rtnetlink in a namespace; a signal that would end the command comes when it is closed again.

    An exception in the middle of a call would leave the kernel's answers to it for the next call to find.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS)
    try:
        with open_rtnl(namespace) as rtnl:
            yield rtnl
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
