"""Which addresses a pod may get."""

from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest

from cni.attachment import Attachment
from cni.wiring.free_address import require_free
from cni.wiring.plan import Plan, build_plan
from nodeplane.cnispec import CniError
from nodeplane.datapath.rtnl import Route
from nodeplane.datapath.rtnl.fake import FakeKernel, FakeRtnl

NETNS = Path("/run/netns/pod")
WEB = Attachment("c1", "eth0", NETNS)


def plan(*addresses: str) -> Plan:
    return build_plan(
        WEB, NETNS, [ip_address(text) for text in addresses], mtu_bytes=1500, is_arp_strict=False
    )


def machine() -> tuple[FakeRtnl, FakeRtnl]:
    """Build a node of two addresses with a block, and a pod with eth0 (ours) and net1."""
    kernel = FakeKernel()
    host, pod = kernel.rtnl(), kernel.rtnl(NETNS)
    host.add_veth("eth0", "far")
    host.set_up("eth0")
    for address in ("192.0.2.1/24", "2001:db8::1/64"):
        host.add_address("eth0", ip_interface(address))
    host.add_route(Route(ip_network("10.244.0.0/26"), kind="blackhole"))
    for host_link, interface, address in (
        (WEB.host_link, "eth0", "10.244.0.5/32"),
        ("other", "net1", "10.244.0.6/24"),
    ):
        host.add_veth(host_link, interface, NETNS)
        pod.add_address(interface, ip_interface(address))
    return host, pod


@pytest.mark.parametrize(
    "addresses",
    [
        pytest.param((), id="none"),
        pytest.param(("10.244.0.7",), id="in a block of the node"),
        pytest.param(("10.244.0.5",), id="ours of an earlier ADD"),
        pytest.param(("192.0.2.9", "2001:db8::9"), id="a neighbour's"),
    ],
)
def test_free(addresses: tuple[str, ...]) -> None:
    require_free(plan(*addresses), *machine())


@pytest.mark.parametrize(
    ("addresses", "msg", "details"),
    [
        pytest.param(
            ("192.0.2.1", "2001:db8::1"),
            "the pod got an address that is the node's own",
            "192.0.2.1, 2001:db8::1",
            id="the node's",
        ),
        pytest.param(
            ("10.244.0.6",),
            "the pod got an address that is on interface net1 of the container",
            "10.244.0.6",
            id="another interface's",
        ),
    ],
)
def test_taken(addresses: tuple[str, ...], msg: str, details: str) -> None:
    with pytest.raises(CniError) as caught:
        require_free(plan(*addresses), *machine())
    assert (caught.value.code, caught.value.msg, caught.value.details) == (104, msg, details)
