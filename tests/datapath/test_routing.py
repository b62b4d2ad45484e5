"""One contract for the kernel's routing and the fake's, and the address that a masqueraded packet gets."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from ipaddress import ip_address, ip_interface, ip_network
from typing import TypeAlias

import pytest

from nodeplane.datapath import netns
from nodeplane.datapath.routing import (
    LOCAL,
    UNICAST,
    FakeRouting,
    FoundRoute,
    KernelRouting,
    LinkAddress,
    MatchedRoute,
    Routing,
    masquerade_source,
)
from tests.netns_fixture import namespace, run_in

ADDRESSES = {
    "left": ("10.3.1.1/24", "10.3.2.1/24", "fd00:3:1::1/64"),
    "right": ("10.3.9.1/24", "fd00:3:9::1/64"),
}

Opener: TypeAlias = Callable[[bool], AbstractContextManager[Routing]]
"""Opens a routing; whether with a default route by 10.3.2.2 on `left` is the caller's to say."""


def packed(text: str) -> bytes:
    return ip_address(text).packed


@contextmanager
def open_kernel(has_default: bool) -> Iterator[Routing]:
    with namespace() as ns:
        for name, addresses in ADDRESSES.items():
            commands = [f"ip link add {name} type veth peer name {name}-peer", f"ip link set {name} up"]
            commands += [f"ip link set {name}-peer up"]
            commands += [f"ip address add {each} dev {name}" for each in addresses if ":" not in each]
            commands += [f"ip address add {each} dev {name} nodad" for each in addresses if ":" in each]
            if has_default and name == "left":
                commands.append("ip route add default via 10.3.2.2 dev left")
            for command in commands:
                assert run_in(ns, *command.split()).returncode == 0, command
        with netns.inside(ns):
            routing = KernelRouting()
        with routing:
            yield routing


def open_fake(has_default: bool) -> AbstractContextManager[Routing]:
    links = {name: tuple(ip_interface(each) for each in own) for name, own in ADDRESSES.items()}
    return nullcontext(FakeRouting(links, ("left", packed("10.3.2.2")) if has_default else None))


both = pytest.mark.parametrize(
    "opener",
    [pytest.param(open_fake, id="fake"), pytest.param(open_kernel, id="kernel", marks=pytest.mark.netns)],
)


@both
def test_ways(opener: Opener) -> None:
    """Our own addresses, those beside us, those behind a gateway, and none."""
    with opener(True) as routing:
        asked = ("10.3.1.1", "fd00:3:9::1", "10.3.9.7", "fd00:3:1::7", "192.0.2.1", "2001:db8::1")
        found = {address: routing.find(packed(address)) for address in asked}
    with opener(False) as routing:
        nowhere = routing.find(packed("192.0.2.1"))

    assert found == {
        "10.3.1.1": FoundRoute(LOCAL, "lo", None, packed("10.3.1.1")),
        "fd00:3:9::1": FoundRoute(LOCAL, "lo", None, packed("fd00:3:9::1")),
        "10.3.9.7": FoundRoute(UNICAST, "right", None, packed("10.3.9.1")),
        "fd00:3:1::7": FoundRoute(UNICAST, "left", None, packed("fd00:3:1::1")),
        "192.0.2.1": FoundRoute(UNICAST, "left", packed("10.3.2.2"), packed("10.3.2.1")),
        "2001:db8::1": None,
    }
    assert nowhere is None


@both
def test_masquerade_source(opener: Opener) -> None:
    """The interface's address in the network of the next hop; for a packet to ourselves one of ours."""
    asked = {
        "10.3.1.7": "10.3.1.1",
        "10.3.2.7": "10.3.2.1",
        "10.3.9.7": "10.3.9.1",
        "192.0.2.1": "10.3.2.1",
        "10.3.9.1": "10.3.1.1",
        "fd00:3:9::7": "fd00:3:9::1",
    }
    with opener(True) as routing:
        found = {address: masquerade_source(routing, packed(address)) for address in asked}
        nowhere = masquerade_source(routing, packed("2001:db8::1"))

    assert {address: source and str(ip_address(source)) for address, source in found.items()} == asked
    assert nowhere is None


@both
def test_source_addresses(opener: Opener) -> None:
    """IPv4 addresses that may be a source, in order; loopback is none."""
    with opener(False) as routing:
        assert routing.source_addresses() == [
            LinkAddress("left", packed("10.3.1.1"), 24),
            LinkAddress("left", packed("10.3.2.1"), 24),
            LinkAddress("right", packed("10.3.9.1"), 24),
        ]


@pytest.mark.netns
def test_the_entry_that_an_address_is_sent_by() -> None:
    with open_kernel(True) as routing:
        assert isinstance(routing, KernelRouting)
        found = {
            address: routing.match(packed(address)) for address in ("10.3.9.7", "192.0.2.1", "fd00:3:1::9")
        }
        nowhere = routing.match(packed("fd00:9::1"))

    # RTPROT_KERNEL is 2, RTPROT_BOOT, that of ip(8), is 3.
    assert found == {
        "10.3.9.7": MatchedRoute(ip_network("10.3.9.0/24"), UNICAST, 2, "right"),
        "192.0.2.1": MatchedRoute(ip_network("0.0.0.0/0"), UNICAST, 3, "left", packed("10.3.2.2")),
        "fd00:3:1::9": MatchedRoute(ip_network("fd00:3:1::/64"), UNICAST, 2, "left"),
    }
    assert nowhere is None


@pytest.mark.netns
def test_routes_that_end_packets() -> None:
    kinds = ("blackhole", "unreachable", "prohibit")
    targets = {f"10.4.{number}.1": kind for number, kind in enumerate(kinds)}
    targets |= {f"fd00:4:{number}::1": kind for number, kind in enumerate(kinds)}
    with namespace() as ns:
        assert run_in(ns, "ip", "link", "set", "lo", "up").returncode == 0
        for target, kind in targets.items():
            assert run_in(ns, "ip", "route", "add", kind, target).returncode == 0
        with netns.inside(ns), KernelRouting() as routing:
            found = {target: routing.barrier(packed(target)) for target in targets}
            matches = [routing.match(packed(target)) for target in targets]
            others = [routing.barrier(packed(target)) for target in ("127.0.0.1", "10.5.0.1", "fd00:5::1")]

    assert found == targets
    assert not any(matches)
    assert others == ["", "", ""]
