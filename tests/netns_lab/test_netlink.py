"""Netlink calls are not cut short by who ends the command."""

import signal
import threading

import pytest

from netns_lab.netlink import open_whole_rtnl
from tests.netns_fixture import namespace

pytestmark = pytest.mark.netns


def test_a_signal_waits_for_the_end() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGHUP, lambda number, _: seen.append(number))
    try:
        with namespace() as path:
            with open_whole_rtnl(path) as rtnl:
                # To this thread: one to the process may land in another, which pytest-xdist has.
                signal.pthread_kill(threading.get_ident(), signal.SIGHUP)
                links = set(rtnl.links())
                during = [*seen]
            after = [*seen]
    finally:
        signal.signal(signal.SIGHUP, before)

    assert (links, during, after) == ({"lo"}, [], [signal.SIGHUP])
    assert signal.SIGHUP not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
