"""A plan carried out ends in one state, however often it starts and wherever it dies on the way."""

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from cni.apply import adopt_links, apply_plan, create_links, ensure_route, remove_links
from cni.attachment import Attachment
from cni.wiring import Plan, build_plan
from nodeplane.datapath.rtnl import Route
from nodeplane.datapath.rtnl_fake import FakeKernel, FakeRtnl
from nodeplane.datapath.sysctl import FakeSysctls
from nodeplane.errors import KernelExistsError
from tests.cni.faults import Countdown, Killed

NETNS = Path("/run/netns/pod")
WEB = Attachment("c1", "eth0", NETNS, "default", "web-0")
POD_NETWORK = IPv4Network("10.244.0.5/32")


def plan(*, mtu_bytes: int = 1450, is_arp_strict: bool = False) -> Plan:
    return build_plan(WEB, NETNS, IPv4Address("10.244.0.5"), mtu_bytes=mtu_bytes, is_arp_strict=is_arp_strict)


class Machine(NamedTuple):
    """A node with nothing on it, and a pod's empty namespace."""

    host: FakeRtnl
    pod: FakeRtnl
    sysctls: FakeSysctls

    def state(self) -> Any:
        """Return all there is, but for what the kernel picks at random."""
        return (
            [
                (
                    {name: msgspec.structs.replace(link, mac="") for name, link in rtnl.links().items()},
                    rtnl.addresses_by_link(),
                    rtnl.routes(),
                )
                for rtnl in (self.host, self.pod)
            ],
            self.sysctls.values,
        )


def machine() -> Machine:
    kernel = FakeKernel()
    names = dict.fromkeys((name for name, _ in plan().host.sysctls), "unset")
    kernel.rtnl().set_up("lo")
    return Machine(kernel.rtnl(), kernel.rtnl(NETNS), FakeSysctls(names))


def wire(there: Machine, wanted: Plan, countdown: Countdown | None = None) -> None:
    """Do what the plugin does: adopt the links if they are there, create them if not."""
    countdown = countdown or Countdown(None)
    host, pod = countdown.guard(there.host), countdown.guard(there.pod)
    sysctls = countdown.guard(there.sysctls)
    if wanted.host.link in there.host.links():
        adopt_links(wanted, host, pod)
    else:
        create_links(wanted, host)
    apply_plan(wanted, host, pod, sysctls)


def wired(wanted: Plan) -> Machine:
    fresh = machine()
    wire(fresh, wanted)
    return fresh


def test_everything_planned_is_there() -> None:
    there, wanted = wired(plan()), plan()

    host, pod = there.host.link(wanted.host.link), there.pod.link("eth0")
    assert (host.mtu_bytes, pod.mtu_bytes, host.alias) == (1450, 1450, wanted.alias)
    assert (host.is_up, pod.is_up, host.has_carrier) == (True, True, True)
    assert set(there.host.routes()) == set(wanted.host.routes)
    assert set(there.pod.routes()) == set(wanted.pod.routes)
    assert there.pod.addresses("eth0") == set(wanted.pod.addresses)
    assert there.sysctls.values == {name: str(value) for name, value in wanted.host.sysctls}


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
    ],
)
def test_a_route_in_the_way_is_left_and_told(foreign: Route) -> None:
    there = machine()
    there.host.add_route(foreign)

    with pytest.raises(KernelExistsError, match=r"10\.244\.0\.5/32"):
        wire(there, plan())
    assert foreign in there.host.routes()


def test_ensure_route_leaves_a_right_one_alone() -> None:
    there = machine()
    route = plan().host.routes[0]
    ensure_route(there.host, route)
    before = there.host.writes

    ensure_route(there.host, route)

    assert there.host.writes == before


def test_remove_links_twice() -> None:
    there = wired(plan())

    remove_links(there.host, WEB.host_link)
    remove_links(there.host, WEB.host_link)

    assert there.host.links().keys() == there.pod.links().keys() == {"lo"}
    # The pods' gateway belongs to the node, not to one pod.
    assert there.host.routes() == [plan().host.routes[0]]
