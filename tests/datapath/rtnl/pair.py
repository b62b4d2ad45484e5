"""Two namespaces that a veth joins, and what the contract of `Rtnl` is tried on."""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import Path
from typing import NamedTuple

import pytest

from nodeplane.datapath.rtnl import Route, Rtnl

MISSING = Path("/run/netns/npt-never-made")
SUBNET = IPv4Interface("10.0.0.1/24")
BLOCK = IPv4Network("10.244.0.64/26")
POD = IPv4Network("10.244.0.5/32")
SUBNET_6 = IPv6Interface("2001:db8::1/64")
POD_6, BLOCK_6 = IPv6Network("2001:db8:5::5/128"), IPv6Network("2001:db8:5::/64")
PEER_6, FAR_6 = IPv6Address("2001:db8::2"), IPv6Address("2001:db8:9::9")
PEER, FAR = IPv4Address("10.0.0.2"), IPv4Address("192.0.2.9")


class Pair(NamedTuple):
    """Two namespaces: `near` has a veth `v0` (up, 10.0.0.1/24) whose peer is `eth0` (up) in `far`."""

    near: Rtnl
    far: Rtnl
    far_path: Path


def wired(pair: Pair) -> Pair:
    for side in (pair.near, pair.far):
        side.set_up("lo")
        side.set_down("lo")
    pair.near.add_veth("v0", "eth0", pair.far_path, 1400)
    pair.near.set_up("v0")
    pair.far.set_up("eth0")
    pair.near.add_address("v0", SUBNET)
    return pair


def via(gateway: IPv4Address, destination: IPv4Network = BLOCK, link: str | None = None) -> Route:
    return Route(destination, gateway=gateway, link=link)


def on_link(link: str, destination: IPv4Network = POD) -> Route:
    return Route(destination, link=link, scope="link")


BLACKHOLE = Route(BLOCK, kind="blackhole")
POD_ROUTE_6 = Route(POD_6, link="v0")
FAR_NETWORK = IPv4Network(FAR)

Step = Callable[[Pair], object]


def twice(pair: Pair, step: Step) -> None:
    for _ in range(2):
        step(pair)


def rows(refusals: list[tuple[str, Step, str]]) -> pytest.MarkDecorator:
    """Make a row of each step, with its name and the errno that the kernel refuses it with."""
    return pytest.mark.parametrize(
        ("step", "expected"), [pytest.param(step, errno, id=row) for row, step, errno in refusals]
    )
