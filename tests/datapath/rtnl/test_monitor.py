"""The kernel's notifications as events."""

import asyncio
import struct
from collections.abc import Callable
from contextlib import aclosing
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, ip_address, ip_interface, ip_network

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeplane.datapath.rtnl import Neighbour, Replacement, Route, Rtnl, open_rtnl
from nodeplane.datapath.rtnl.monitor import (
    AddressEvent,
    Event,
    ForwardingEvent,
    LinkEvent,
    LinkState,
    Overrun,
    RouteEvent,
    RtnlMonitor,
    decode_events,
)
from nodeplane.datapath.sysctl import KernelSysctls
from tests.netns_fixture import namespace

BLOCK = IPv4Network("10.244.0.64/26")
POD = IPv4Network("10.244.0.65/32")
BLACKHOLE = Route(BLOCK, kind="blackhole")
VIA = Route(BLOCK, gateway=IPv4Address("192.0.2.2"))
EVERYWHERE = Route(IPv4Network("0.0.0.0/0"), gateway=IPv4Address("192.0.2.2"), protocol=4)


def route_event(route: Route, *, is_deleted: bool = False) -> RouteEvent:
    on_link = route.scope != "global" if route.destination.version == 4 else route.link != ""
    return RouteEvent(route.destination, route.protocol, is_on_link=on_link, is_deleted=is_deleted, port=1)


ADDED = AddressEvent(4, 0, is_deleted=False)
STEPS: list[tuple[str, Callable[[Rtnl], object], Event]] = [
    ("blackhole", lambda r: r.add_route(BLACKHOLE), route_event(BLACKHOLE)),
    ("via a gateway", lambda r: r.add_route(VIA), route_event(VIA)),
    ("default", lambda r: r.add_route(EVERYWHERE), route_event(EVERYWHERE)),
    (
        "on link",
        lambda r: r.add_route(Route(POD, link="v0", scope="link")),
        route_event(Route(POD, link="v0", scope="link")),
    ),
    ("link set down", lambda r: r.set_down("v0"), LinkEvent("v0", is_up=False)),
    ("link set up", lambda r: r.set_up("v1"), LinkEvent("v1", is_up=True)),
    ("link deleted", lambda r: r.delete_link("v1"), LinkEvent("v0", is_up=False)),
    ("address", lambda r: r.add_address("v0", IPv4Interface("192.0.2.9/32")), ADDED),
    ("an MTU", lambda r: r.set_mtu("v0", 1400), LinkState(0, has_carrier=False, mtu_bytes=1400)),
]


@pytest.mark.netns
@pytest.mark.parametrize(
    ("step", "expected"), [pytest.param(step, event, id=row) for row, step, event in STEPS]
)
def test_first_event_of_a_step(step: Callable[[Rtnl], object], expected: Event) -> None:
    with namespace() as path, open_rtnl(path) as rtnl:
        # IPv6 has a say of its own when a link comes up.
        KernelSysctls(path).write("net.ipv6.conf.default.disable_ipv6", 1)
        rtnl.add_veth("v0", "v1")
        rtnl.set_up("v0")
        rtnl.add_address("v0", IPv4Interface("192.0.2.1/24"))
        with RtnlMonitor(path) as monitor:
            step(rtnl)
            event = asyncio.run(first(monitor))

            if isinstance(event, RouteEvent):
                # Who did it: this very socket.
                assert event.port == rtnl.port
                event = msgspec.structs.replace(event, port=1)
            if isinstance(event, AddressEvent):
                assert event.link_index == rtnl.link("v0").index
                event = msgspec.structs.replace(event, link_index=0)
            if isinstance(event, LinkState):
                assert event.index == rtnl.link("v0").index
                event = msgspec.structs.replace(event, index=0)
            assert event == expected


@pytest.mark.netns
@pytest.mark.parametrize("is_narrowed", [False, True])
@pytest.mark.parametrize(
    ("setting", "version"), [("net.ipv4.ip_forward", 4), ("net.ipv6.conf.all.forwarding", 6)]
)
def test_forwarding(setting: str, version: int, is_narrowed: bool) -> None:
    """It is told when it changes for all links; of one link's, or another setting, nothing is."""
    with namespace() as path, open_rtnl(path) as rtnl, RtnlMonitor(path) as monitor:
        rtnl.add_veth("v0", "v1")
        if is_narrowed:
            monitor.narrow(rtnl.port, ())
        sysctls = KernelSysctls(path)
        for value in (1, 0):
            sysctls.write(f"net.ipv{version}.conf.v0.forwarding", value)
            sysctls.write("net.ipv4.conf.all.rp_filter", value)
            sysctls.write(setting, value)
        sysctls.write("net.ipv4.ip_forward", 1)
        last = [ForwardingEvent(4, is_on=True)]

        async def until_last() -> list[Event]:
            heard: list[Event] = []
            async with aclosing(monitor.events()) as events, asyncio.timeout(30):
                async for event in events:
                    heard += [event] if isinstance(event, ForwardingEvent) else []
                    if heard[2:] == last:
                        break
            return heard

        told = [ForwardingEvent(version, is_on=is_on) for is_on in (True, False)]
        assert asyncio.run(until_last()) == told + last


@pytest.mark.netns
@pytest.mark.parametrize("links", [(), ("v1",), ("v0", "v1")])
def test_narrowed(links: tuple[str, ...]) -> None:
    """Of one port no routes are heard, of neighbours those on some links; of all else everything."""
    with namespace() as path, open_rtnl(path) as rtnl, open_rtnl(path) as other:
        KernelSysctls(path).write("net.ipv6.conf.default.disable_ipv6", 1)
        rtnl.add_veth("v0", "v1")
        indexes = {name: rtnl.link(name).index for name in ("v0", "v1")}
        with RtnlMonitor(path, has_neighbours=True) as monitor:
            monitor.narrow(rtnl.port, [indexes[name] for name in links])
            for route in (BLACKHOLE, BLACKHOLE_6):
                rtnl.add_route(route)
                rtnl.delete_route(route)
                other.add_route(route)
            for name in indexes:
                rtnl.apply([Replacement(Neighbour(name, ip_address("192.0.2.2"), "02:00:00:00:00:02"))])
            rtnl.set_mtu("v0", 1400)
            events = asyncio.run(take(monitor, 3 + len(links)))

        heard = [getattr(event, "port", getattr(event, "link_index", None)) for event in events]
        assert heard == [other.port, other.port, *(indexes[name] for name in links), None]


@pytest.mark.netns
def test_a_carrier_that_goes() -> None:
    """The far end is set down: our end stays up, and is told to have lost its carrier."""
    with namespace() as path, open_rtnl(path) as rtnl:
        rtnl.add_veth("v0", "v1")
        rtnl.set_up("v0")
        rtnl.set_up("v1")
        lost = LinkState(rtnl.link("v0").index, has_carrier=False, mtu_bytes=1500)
        with RtnlMonitor(path) as monitor:
            rtnl.set_down("v1")

            assert asyncio.run(until(monitor, lambda event: event == lost)) == lost


POD_6 = ip_network("2001:db8:5::5/128")
HOST_ROUTE_6 = Route(POD_6, link="v0")
VIA_6 = Route(ip_network("2001:db8:7::/64"), gateway=ip_address("2001:db8:9::2"), link="v0")
BLACKHOLE_6 = Route(ip_network("2001:db8:5::/64"), kind="blackhole")
GATEWAY_6 = ip_interface("fe80::ecee:eeff:feee:eeee/64")


def disable_ipv6(sysctls: KernelSysctls) -> None:
    sysctls.write("net.ipv6.conf.v0.disable_ipv6", 1)


@pytest.mark.netns
@pytest.mark.parametrize(
    ("step", "expected"),
    [
        pytest.param(lambda r, _: r.delete_route(HOST_ROUTE_6), (POD_6, True, True, True), id="on link"),
        pytest.param(
            lambda r, _: r.add_route(VIA_6), (VIA_6.destination, False, False, True), id="through a gateway"
        ),
        pytest.param(
            lambda r, _: r.add_route(BLACKHOLE_6),
            (BLACKHOLE_6.destination, False, False, True),
            id="blackhole",
        ),
        # Unlike IPv4's, these are told by the kernel.
        pytest.param(lambda r, _: r.set_down("v0"), (POD_6, True, True, False), id="with its link down"),
        pytest.param(
            lambda _, sysctls: disable_ipv6(sysctls), (POD_6, True, True, False), id="with IPv6 off"
        ),
    ],
)
def test_a_route_of_ipv6(
    step: Callable[[Rtnl, KernelSysctls], object], expected: tuple[object, bool, bool, bool]
) -> None:
    """Among what else IPv6 does when links come and go: destination, on link, deleted, by us."""
    with namespace() as path, open_rtnl(path) as rtnl:
        prepare_ipv6(rtnl)
        with RtnlMonitor(path) as monitor:
            step(rtnl, KernelSysctls(path))
            event = asyncio.run(
                until(monitor, lambda event: isinstance(event, RouteEvent) and event.protocol == 110)
            )

        assert isinstance(event, RouteEvent)
        assert (event.destination, event.is_on_link, event.is_deleted, event.port == rtnl.port) == expected


@pytest.mark.netns
@pytest.mark.parametrize(
    "step",
    [
        pytest.param(lambda r, _: r.delete_address("v0", GATEWAY_6), id="deleted"),
        pytest.param(lambda _, sysctls: disable_ipv6(sysctls), id="with IPv6 off"),
    ],
)
def test_an_address_of_ipv6(step: Callable[[Rtnl, KernelSysctls], object]) -> None:
    with namespace() as path, open_rtnl(path) as rtnl:
        prepare_ipv6(rtnl)
        with RtnlMonitor(path) as monitor:
            step(rtnl, KernelSysctls(path))
            wanted = AddressEvent(6, rtnl.link("v0").index, is_deleted=True)

            assert asyncio.run(until(monitor, lambda event: event == wanted)) == wanted


def prepare_ipv6(rtnl: Rtnl) -> None:
    rtnl.add_veth("v0", "v1")
    rtnl.set_up("v1")
    rtnl.set_up("v0")
    rtnl.add_address("v0", GATEWAY_6)
    rtnl.add_address("v0", ip_interface("2001:db8:9::1/64"))
    rtnl.add_route(HOST_ROUTE_6)


@pytest.mark.netns
def test_replacing_and_deleting_are_told() -> None:
    with namespace() as path, open_rtnl(path) as rtnl:
        rtnl.add_route(BLACKHOLE)
        with RtnlMonitor(path) as monitor:
            # By another protocol: the kernel does not tell of a route replaced by itself.
            rtnl.replace_route(msgspec.structs.replace(BLACKHOLE, protocol=4))
            rtnl.delete_route(msgspec.structs.replace(BLACKHOLE, protocol=4))
            added, deleted = asyncio.run(take(monitor, 2))

    assert isinstance(added, RouteEvent)
    assert isinstance(deleted, RouteEvent)
    assert (added.destination, added.is_deleted, deleted.is_deleted) == (BLOCK, False, True)


@pytest.mark.netns
def test_an_overrun_is_told() -> None:
    """More events than the socket holds while nobody reads."""
    with (
        namespace() as path,
        open_rtnl(path) as rtnl,
        RtnlMonitor(path, receive_buffer_bytes=2048) as monitor,
    ):
        for number in range(64):
            rtnl.add_route(Route(IPv4Network((f"10.244.{number}.0", 26)), kind="blackhole"))

        assert asyncio.run(until(monitor, lambda event: event == Overrun()))


async def first(monitor: RtnlMonitor) -> Event:
    return (await take(monitor, 1))[0]


async def take(monitor: RtnlMonitor, count: int) -> list[Event]:
    taken: list[Event] = []
    async with aclosing(monitor.events()) as events, asyncio.timeout(30):
        async for event in events:
            taken.append(event)
            if len(taken) == count:
                break
    return taken


async def until(monitor: RtnlMonitor, is_it: Callable[[Event], bool]) -> Event | None:
    async with aclosing(monitor.events()) as events, asyncio.timeout(30):
        async for event in events:
            if is_it(event):
                return event
    return None


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Draw messages whose headers make sense, with bodies that need not."""
    body = draw(st.binary(max_size=60))
    kind = draw(st.sampled_from([16, 17, 20, 21, 24, 25, 99]))
    length = draw(st.sampled_from([16 + len(body), draw(st.integers(0, 200))]))
    return struct.pack("=IHHII", length, kind, 0, 0, 1) + body


@settings(deadline=None)
@given(st.lists(messages() | st.binary(max_size=60)).map(b"".join))
def test_garbage_is_left_out(data: bytes) -> None:
    """Whatever arrives, decoding comes to an end without an error."""
    list(decode_events(data))


@pytest.mark.netns
def test_a_new_link_was_not_set_down() -> None:
    """It is down, and the kernel says so as if it were news; each pod's start would look like damage."""
    with namespace() as path, open_rtnl(path) as rtnl:
        KernelSysctls(path).write("net.ipv6.conf.default.disable_ipv6", 1)
        with RtnlMonitor(path) as monitor:
            rtnl.add_veth("v0", "v1")
            rtnl.set_up("v0")
            rtnl.set_down("v0")
            events = asyncio.run(take(monitor, 2))

    assert [*events] == [LinkEvent("v0", is_up=True), LinkEvent("v0", is_up=False)]
