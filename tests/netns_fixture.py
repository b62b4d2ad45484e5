"""Private network namespaces for tests: names nobody else has, gone afterwards also when the test fails.

Two copies of the suite may run side by side and a test may be killed: names carry the prefix `npt-`, the
process id and a random part, and nothing outside of these namespaces is touched.
"""

import os
import secrets
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import TypeVar

from nodeplane.datapath import netns
from nodeplane.datapath.rtnl import Route, open_rtnl

PREFIX = "npt-"

T = TypeVar("T")


@contextmanager
def namespace(label: str = "ns") -> Iterator[Path]:
    """Yield the path of a new namespace with its loopback up."""
    name = f"{PREFIX}{os.getpid()}-{secrets.token_hex(3)}-{label}"
    path = netns.create(name)
    try:
        with open_rtnl(path) as rtnl:
            rtnl.set_up("lo")
        yield path
    finally:
        netns.remove(name)


@contextmanager
def veth_pair(
    ns_a: Path, name_a: str, ns_b: Path, name_b: str, *, address_a: str = "", address_b: str = ""
) -> Iterator[None]:
    """Join two namespaces by a veth pair, both ends up, with addresses such as `10.0.0.1/24` if given.

    Deleted at the end unless the test or a namespace's end has done it.
    """
    with open_rtnl(ns_a) as rtnl_a, open_rtnl(ns_b) as rtnl_b:
        rtnl_a.add_veth(name_a, name_b, ns_b)
        try:
            for rtnl, name, address in ((rtnl_a, name_a, address_a), (rtnl_b, name_b, address_b)):
                rtnl.set_up(name)
                if address:
                    rtnl.add_address(name, ip_interface(address))
            yield
        finally:
            if name_a in rtnl_a.links():
                rtnl_a.delete_link(name_a)


def add_default_route(ns: Path, gateway: str) -> None:
    """Give a namespace a default route, as an administrator would (protocol static, 4)."""
    with open_rtnl(ns) as rtnl:
        rtnl.add_route(
            Route(
                ip_network("::/0" if ":" in gateway else "0.0.0.0/0"), gateway=ip_address(gateway), protocol=4
            ),
        )


def run_in(
    ns: Path, *command: str, stdin: str = "", env: dict[str, str] | None = None, timeout_s: float = 60
) -> "subprocess.CompletedProcess[str]":
    """Run a command inside a namespace to its end; the exit code is the caller's to judge."""
    with netns.inside(ns):
        return subprocess.run(
            command, input=stdin, env=env, timeout=timeout_s, capture_output=True, text=True, check=False
        )


def answers(ns: Path, address: str, within_s: float = 2.0) -> bool:
    """Say whether an echo request of either ICMP is answered (ping itself is not on every machine)."""
    identifier = secrets.randbits(16)
    is_ipv6 = ":" in address
    with netns.inside(ns):
        prober = (
            socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
            if is_ipv6
            else socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        )
    with prober:
        try:
            prober.sendto(_echo_request(identifier, is_ipv6=is_ipv6), (address, 0))
        except OSError:
            # No route, or the link is down: nobody will answer.
            return False
        limit = time.monotonic() + within_s
        while (left_s := limit - time.monotonic()) > 0:
            prober.settimeout(left_s)
            try:
                packet, (sender, *_) = prober.recvfrom(2048)
            except TimeoutError:
                return False
            # RFC 791 and 792: the header's length is in words; type 0 is an echo reply. Of IPv6 the kernel
            # hands out no header (RFC 3542), and an echo reply is type 129 (RFC 4443).
            header, reply = (0, 129) if is_ipv6 else ((packet[0] & 0xF) * 4, 0)
            kind, _, _, echoed = struct.unpack_from("!BBHH", packet, header)
            if (sender, kind, echoed) == (address, reply, identifier):
                return True
    return False


def _echo_request(identifier: int, *, is_ipv6: bool) -> bytes:
    """Render an echo request (RFC 792) with its checksum (RFC 1071); that of IPv6 is the kernel's to make."""
    if is_ipv6:
        return struct.pack("!BBHHH", 128, 0, 0, identifier, 1)
    words = (8 << 8, identifier, 1)
    total = sum(words)
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return struct.pack("!HHHH", words[0], checksum, *words[1:])


def eventually(
    read: Callable[[], T], expected: Callable[[T], bool], within_s: float = 30.0, every_s: float = 0.02
) -> T:
    """Read until the value is as expected and return it.

    Raises:
        AssertionError: it was not within `within_s`; names the last value.
    """
    limit = time.monotonic() + within_s
    while True:
        value = read()
        if expected(value):
            return value
        assert time.monotonic() < limit, f"not within {within_s} s; last value: {value!r}"
        time.sleep(every_s)
