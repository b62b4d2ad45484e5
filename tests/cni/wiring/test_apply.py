"""A plan carried out ends in one state, however often it starts and wherever it dies on the way."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from cni.attachment import Attachment
from cni.wiring.apply import adopt_links, apply_plan, create_links, ensure_route, remove_links
from cni.wiring.plan import Plan, build_plan
from nodeplane.datapath.rtnl import Route
from nodeplane.datapath.rtnl.fake import FakeKernel, FakeRtnl
from nodeplane.datapath.sysctl import FakeSysctls
from nodeplane.errors import KernelError, KernelExistsError
from tests.cni.faults import Countdown, Killed

NETNS = Path("/run/netns/pod")
WEB = Attachment("c1", "eth0", NETNS, "default", "web-0")
POD_NETWORK = IPv4Network("10.244.0.5/32")
POD_NETWORK_6 = IPv6Network("2001:db8::5/128")


def plan(**fields: Any) -> Plan:
    addresses = (IPv4Address("10.244.0.5"), IPv6Address("2001:db8::5"))
    given = {"mtu_bytes": 1450, "is_arp_strict": False, "host_mac": "ee:ee:ee:ee:ee:ee"}
    return build_plan(WEB, NETNS, addresses, **{**given, **fields})


class Machine(NamedTuple):
    """A node with nothing on it, and a pod's empty namespace."""

    host: FakeRtnl
    pod: FakeRtnl
    host_sysctls: FakeSysctls
    pod_sysctls: FakeSysctls

    def state(self) -> Any:
        """Return all there is."""
        return (
            [
                (
                    rtnl.links(),
                    [rtnl.addresses_by_link(family) for family in (4, 6)],
                    [rtnl.routes(family=family) for family in (4, 6)],
                )
                for rtnl in (self.host, self.pod)
            ],
            self.host_sysctls.values,
            self.pod_sysctls.values,
        )


def machine() -> Machine:
    kernel = FakeKernel()
    settings = [
        dict.fromkeys((name for name, _ in side.sysctls), "unset") for side in (plan().host, plan().pod)
    ]
    kernel.rtnl().set_up("lo")
    return Machine(kernel.rtnl(), kernel.rtnl(NETNS), *map(FakeSysctls, settings))


def wire(there: Machine, wanted: Plan, countdown: Countdown | None = None) -> None:
    """Do what the plugin does: adopt the links if they are there, create them if not."""
    countdown = countdown or Countdown(None)
    host, pod = countdown.guard(there.host), countdown.guard(there.pod)
    host_sysctls, pod_sysctls = countdown.guard(there.host_sysctls), countdown.guard(there.pod_sysctls)
    if wanted.host.link in there.host.links():
        adopt_links(wanted, host, pod)
    else:
        create_links(wanted, host)
    apply_plan(wanted, host, pod, host_sysctls, pod_sysctls)


def wired(wanted: Plan) -> Machine:
    fresh = machine()
    wire(fresh, wanted)
    return fresh


def test_everything_planned_is_there() -> None:
    there, wanted = wired(plan()), plan()

    host, pod = there.host.link(wanted.host.link), there.pod.link("eth0")
    assert (host.mtu_bytes, pod.mtu_bytes, host.alias) == (1450, 1450, wanted.alias)
    assert (host.mac, pod.mac) == (wanted.host.mac, wanted.pod.mac)
    assert (host.is_up, pod.is_up, host.has_carrier) == (True, True, True)
    for rtnl, side in ((there.host, wanted.host), (there.pod, wanted.pod)):
        assert {*rtnl.routes(), *rtnl.routes(family=6)} == set(side.routes)
        assert {*rtnl.addresses(side.link), *rtnl.addresses(side.link, 6)} == set(side.addresses)
    for sysctls, side in ((there.host_sysctls, wanted.host), (there.pod_sysctls, wanted.pod)):
        assert sysctls.values == {name: str(value) for name, value in side.sysctls}


COUNTED = Countdown(None)
wire(machine(), plan(), COUNTED)


@pytest.mark.parametrize("step", range(COUNTED.calls))
def test_killed_at_any_step_the_next_run_ends_the_same(step: int) -> None:
    there = machine()
    with pytest.raises(Killed):
        wire(there, plan(), Countdown(step))

    wire(there, plan())

    assert there.state() == wired(plan()).state()


@pytest.mark.parametrize(
    "before",
    [
        pytest.param(plan(), id="the same"),
        pytest.param(plan(mtu_bytes=9000), id="another MTU"),
        pytest.param(plan(is_arp_strict=True), id="another gateway route"),
        pytest.param(plan(pod_mac="02:00:00:00:00:09"), id="another MAC"),
    ],
)
def test_what_an_earlier_plan_made_is_brought_up_to_date(before: Plan) -> None:
    there = wired(before)

    wire(there, plan())

    assert there.state() == wired(plan()).state()


def test_a_repeated_run_changes_nothing() -> None:
    there = wired(plan())
    before = there.host.writes, there.pod.writes

    wire(there, plan())

    assert (there.host.writes, there.pod.writes) == before


@pytest.mark.parametrize(
    "foreign",
    [
        pytest.param(Route(POD_NETWORK, kind="blackhole", protocol=4), id="another owner's"),
        pytest.param(Route(POD_NETWORK, link="lo", kind="local", scope="host"), id="another pod's"),
        pytest.param(Route(POD_NETWORK_6, kind="blackhole", protocol=4), id="another owner's, IPv6"),
    ],
)
def test_a_route_in_the_way_is_left_and_told(foreign: Route) -> None:
    there = machine()
    there.host.add_route(foreign)

    with pytest.raises(KernelExistsError, match=str(foreign.destination)):
        wire(there, plan())
    assert foreign.destination in {
        route.destination for route in (*there.host.routes(foreign.protocol), *there.host.routes(4, family=6))
    }


def test_a_refusal_of_the_kernel_is_told() -> None:
    there = machine()
    there.pod.add_veth("other", "far")
    wanted = plan()
    lost = msgspec.structs.replace(wanted.pod, routes=(Route(POD_NETWORK, link="gone"),))

    with pytest.raises(KernelError, match="ENODEV"):
        wire(there, msgspec.structs.replace(wanted, pod=lost))


def test_ensure_route_leaves_a_right_one_alone() -> None:
    there = machine()
    route = plan().host.routes[0]
    ensure_route(there.host, route)
    before = there.host.writes

    ensure_route(there.host, route)

    assert there.host.writes == before


def test_remove_links_twice() -> None:
    there = wired(plan())

    remove_links(there.host, [WEB.host_link])
    remove_links(there.host, [WEB.host_link])

    assert there.host.links().keys() == there.pod.links().keys() == {"lo"}
    # The pods' gateway belongs to the node, not to one pod.
    assert [*there.host.routes(), *there.host.routes(family=6)] == [plan().host.routes[0]]
