"""Addresses to listen on, and the sockets that come of them."""

import socket

import pytest

from nodeplane.datapath import netns
from nodeplane.errors import KernelError
from nodeplane.runtime.listen import (
    ListenAddress,
    open_family_listener,
    open_listener,
    parse_listen_address,
)
from tests.netns_fixture import namespace, run_in

ANY = "0.0.0.0"  # noqa: S104
WITHOUT_IPV6 = "net.ipv6.conf.all.disable_ipv6=1"


@pytest.mark.parametrize(
    ("text", "default_port", "expected"),
    [
        ("127.0.0.1:10249", None, ListenAddress("127.0.0.1", 10249)),
        ("[::1]:10249", None, ListenAddress("::1", 10249)),
        (":8080", None, ListenAddress("", 8080)),
        ("127.0.0.1", 7, ListenAddress("127.0.0.1", 7)),
        ("::1", 7, ListenAddress("::1", 7)),
        ("::1:8", 7, ListenAddress("::1:8", 7)),
        ("[::1]", 7, ListenAddress("::1", 7)),
        ("[::1]:8", 7, ListenAddress("::1", 8)),
        ("127.0.0.1:8", 7, ListenAddress("127.0.0.1", 8)),
        (":8", 7, ListenAddress("", 8)),
    ],
)
def test_parse(text: str, default_port: int | None, expected: ListenAddress) -> None:
    """An address, a port, or both."""
    assert parse_listen_address(text, default_port) == expected


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            ":",
            "127.0.0.1",
            "127.0.0.1:",
            "127.0.0.1:0",
            "127.0.0.1:65536",
            "127.0.0.1:x",
            "127.0.0.1:-1",
        ),
        *("127.0.0.1:٣", "::1:80", "[127.0.0.1]:80", "[]:80", "[::1:80", "host:80"),
    ],
)
def test_no_address(text: str) -> None:
    """What is none is refused with an example of what is expected."""
    with pytest.raises(ValueError, match=r"such as 127\.0\.0\.1:10249"):
        parse_listen_address(text)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "", ANY, "::"])
def test_text(host: str) -> None:
    """An address is printed as it is read."""
    address = ListenAddress(host, 80)

    assert parse_listen_address(str(address)) == address


def reaches(address: ListenAddress, family: socket.AddressFamily, host: str) -> bool:
    with open_listener(address) as listener, socket.socket(family) as client:
        return client.connect_ex((host, listener.getsockname()[1])) == 0


@pytest.mark.netns
@pytest.mark.parametrize(
    ("host", "ip", "ip6"),
    [
        ("", True, True),
        (ANY, True, True),
        ("::", True, True),
        ("127.0.0.1", True, False),
        ("::1", False, True),
    ],
)
def test_families(host: str, ip: bool, ip6: bool) -> None:
    """An unspecified address is both families', as in Go."""
    with namespace() as ns, netns.inside(ns):
        assert reaches(ListenAddress(host, 8080), socket.AF_INET, "127.0.0.1") == ip
        assert reaches(ListenAddress(host, 8080), socket.AF_INET6, "::1") == ip6


@pytest.mark.netns
def test_without_ipv6() -> None:
    """Where IPv6 is turned off, everywhere is IPv4."""
    with namespace() as ns:
        assert run_in(ns, "sysctl", "-qw", WITHOUT_IPV6).returncode == 0
        with netns.inside(ns):
            assert reaches(ListenAddress("", 8080), socket.AF_INET, "127.0.0.1")


@pytest.mark.netns
def test_taken() -> None:
    """A port that is taken is an error that names it; its own family alone leaves the other one free."""
    with (
        namespace() as ns,
        netns.inside(ns),
        open_family_listener(ListenAddress("::", 8080)),
        open_family_listener(ListenAddress(ANY, 8080)),
    ):
        with pytest.raises(KernelError, match=r"listen on 127\.0\.0\.1:8080.*EADDRINUSE"):
            open_listener(ListenAddress("127.0.0.1", 8080))
        with pytest.raises(KernelError, match=r"listen on 192\.0\.2\.1:8080.*EADDRNOTAVAIL"):
            open_listener(ListenAddress("192.0.2.1", 8080))
