"""Connections whose own address is gone from the machine are ended, and no others."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_interface
from pathlib import Path

import pytest

from nodeplane.datapath import netns
from nodeplane.datapath.rtnl import open_rtnl
from nodeplane.kube.open_sockets import OpenSockets
from tests.netns_fixture import namespace

pytestmark = pytest.mark.netns

ADDRESSES = {socket.AF_INET: "192.0.2.1/32", socket.AF_INET6: "2001:db8::1/128"}


@pytest.fixture
def place() -> Iterator[Path]:
    with namespace("sockets") as path, open_rtnl(path) as rtnl:
        for text in ADDRESSES.values():
            rtnl.add_address("lo", ip_interface(text))
        yield path


def connect(stack: ExitStack, family: socket.AddressFamily) -> socket.socket:
    """Return a connection from an address to itself."""
    address = ADDRESSES[family].partition("/")[0]
    server = stack.enter_context(socket.create_server((address, 0), family=family))
    return stack.enter_context(socket.create_connection(server.getsockname()[:2]))


@pytest.mark.parametrize("family", ADDRESSES, ids=["IPv4", "IPv6"])
def test_end_stranded(place: Path, family: socket.AddressFamily) -> None:
    with ExitStack() as stack:
        stack.enter_context(netns.inside(place))
        opened = {each: connect(stack, each) for each in ADDRESSES}
        sockets = OpenSockets()
        for each in opened.values():
            stack.enter_context(sockets.reading(each))
        assert sockets.end_stranded() == 0

        with open_rtnl() as rtnl:
            rtnl.delete_address("lo", ip_interface(ADDRESSES[family]))
        assert sockets.end_stranded() == 1

        opened[family].settimeout(30)
        assert opened[family].recv(1) == b""
        [other] = [each for key, each in opened.items() if key != family]
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.recv(1)


def test_what_is_read_no_more_is_not_looked_at(place: Path) -> None:
    with ExitStack() as stack, netns.inside(place):
        opened = connect(stack, socket.AF_INET)
        sockets = OpenSockets()
        with sockets.reading(opened):
            pass
        with open_rtnl() as rtnl:
            rtnl.delete_address("lo", ip_interface(ADDRESSES[socket.AF_INET]))
        assert sockets.end_stranded() == 0
