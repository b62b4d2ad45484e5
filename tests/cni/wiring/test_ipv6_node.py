"""What a node must be for pods of IPv6."""

import pytest

from cni.wiring.ipv6_node import ensure_forwarding, require_ipv6
from nodeplane.cnispec import CniError
from nodeplane.datapath.rtnl.fake import FakeRtnl
from nodeplane.datapath.sysctl import FakeSysctls

DISABLED, FORWARDING = "net.ipv6.conf.all.disable_ipv6", "net.ipv6.conf.all.forwarding"


def accept_ra(link: str) -> str:
    return f"net/ipv6/conf/{link}/accept_ra"


def test_ipv6_is_on() -> None:
    require_ipv6(FakeSysctls({DISABLED: 0}))


@pytest.mark.parametrize(
    ("settings", "details"),
    [
        pytest.param({DISABLED: 1}, f"{DISABLED} is 1", id="switched off"),
        pytest.param({}, f"{DISABLED} is absent: the kernel has no IPv6", id="not there"),
    ],
)
def test_ipv6_is_off(settings: dict[str, int], details: str) -> None:
    with pytest.raises(CniError) as caught:
        require_ipv6(FakeSysctls(settings))
    assert (caught.value.code, caught.value.msg, caught.value.details) == (
        103,
        "the pod got an IPv6 address, but IPv6 is off on this node",
        details,
    )


def node() -> FakeRtnl:
    rtnl = FakeRtnl()
    rtnl.add_veth("eth0", "eth1")
    return rtnl


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            {FORWARDING: "0", accept_ra("eth0"): "1", accept_ra("eth1"): "0"},
            {FORWARDING: "1", accept_ra("eth0"): "2", accept_ra("eth1"): "0"},
            id="who listened to routers goes on",
        ),
        pytest.param({FORWARDING: "0"}, {FORWARDING: "1"}, id="links without IPv6"),
        pytest.param(
            {FORWARDING: "1", accept_ra("eth0"): "1"},
            {FORWARDING: "1", accept_ra("eth0"): "1"},
            id="a router",
        ),
    ],
)
def test_forwarding(before: dict[str, str], after: dict[str, str]) -> None:
    sysctls = FakeSysctls(before)

    ensure_forwarding(sysctls, node())

    assert sysctls.values == after
