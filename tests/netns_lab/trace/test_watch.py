"""What a watch hears, and what it knows that it has not heard."""

import socket

import pytest

from netns_lab.trace.mark import build_mark
from netns_lab.trace.watch import watching
from nodeplane.datapath import netns
from tests.netns_fixture import namespace

pytestmark = pytest.mark.netns

_ANY = 0x12345678


@pytest.mark.parametrize(
    ("datagrams", "is_lost"), [pytest.param(10, False, id="few"), pytest.param(60_000, True, id="a flood")]
)
def test_more_than_a_buffer_holds(datagrams: int, is_lost: bool) -> None:
    """Of UDP all comes through the filter: what a flood has pushed out is said to be missing."""
    with namespace() as ns:
        with netns.inside(ns):
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sender, watching("ip", build_mark("udp", 9, _ANY), [ns.name]) as watch:
            for _ in range(datagrams):
                sender.sendto(b"x", ("127.0.0.1", 9))
            observed = watch.read()

    assert observed.lost == ((ns.name,) if is_lost else ())
    assert len(observed.sightings) >= 2 * datagrams or is_lost
