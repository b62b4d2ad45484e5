"""Which pods may have an interface of ours: those that have none by another name."""

from ipaddress import IPv4Address, IPv6Address, ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest

from cni.attachment import Attachment
from cni.error_codes import POD_HAS_INTERFACE
from cni.pod_netns import require_only
from cni.wiring.apply import apply_plan, create_links
from cni.wiring.plan import build_plan
from nodeplane.cnispec import CniError
from nodeplane.datapath.rtnl import Route
from nodeplane.datapath.rtnl.fake import FakeKernel, FakeRtnl
from nodeplane.datapath.sysctl import FakeSysctls
from tests.cni.conftest import Answer, Node
from tests.cni.stub_ipam import install_stub
from tests.netns_fixture import namespace, veth_pair

NETNS = Path("/run/netns/pod")
FOUR, SIX = IPv4Address("10.244.0.5"), IPv6Address("fd00::5")


def pod_with(*addresses: IPv4Address | IPv6Address) -> FakeRtnl:
    """Return a pod with eth0 as an ADD leaves it."""
    kernel = FakeKernel()
    host, pod = kernel.rtnl(), kernel.rtnl(NETNS)
    host.set_up("lo")
    plan = build_plan(
        Attachment("c1", "eth0", NETNS), NETNS, addresses, mtu_bytes=1500, is_arp_strict=False, host_mac=""
    )
    create_links(plan, host)
    settings = (FakeSysctls(dict(side.sysctls)) for side in (plan.host, plan.pod))
    apply_plan(plan, host, pod, *settings)
    return pod


@pytest.mark.parametrize("addresses", [(FOUR,), (SIX,), (FOUR, SIX)], ids=["IPv4", "IPv6", "both"])
def test_a_second_interface_of_ours(addresses: tuple[Any, ...]) -> None:
    pod = pod_with(*addresses)

    require_only(pod, pod.links(), "eth0")
    with pytest.raises(CniError) as caught:
        require_only(pod, pod.links(), "net1")

    assert (caught.value.code, caught.value.msg, caught.value.details) == (
        POD_HAS_INTERFACE,
        "interface eth0 of the container is ours already, and a pod can have one of ours",
        "net1 would want the same next hop, 169.254.1.1 or that of IPv6",
    )


def test_interfaces_of_others() -> None:
    """Another plugin's, with its own routes and, by chance, one with our protocol number."""
    pod = FakeKernel().rtnl(NETNS)
    pod.add_veth("eth0", "away")
    pod.set_up("away")
    pod.set_up("eth0")
    pod.add_address("eth0", ip_interface("192.0.2.7/24"))
    pod.add_route(Route(ip_network("169.254.1.1/32"), link="eth0", scope="link", protocol=4))
    pod.add_route(Route(ip_network("198.51.100.0/24"), gateway=IPv4Address("192.0.2.1")))

    require_only(pod, pod.links(), "net1")


@pytest.mark.netns
def test_an_add_beside_others(node: Node, pod: Path, tmp_path: Path) -> None:
    """Behind another plugin's interface ours is added, and no second one, for which no address is taken."""
    stub = install_stub(tmp_path / "bin")
    stub.give("c1", "10.244.0.5")
    fields: Any = {"config": {"ipam": stub.config}, "CNI_PATH": str(stub.folder)}
    with namespace("peer") as peer, veth_pair(pod, "ext0", peer, "ext0", address_a="192.0.2.9/24"):
        first = node.call("ADD", pod, **fields)
        assert first.code == 0

        second = node.call("ADD", pod, interface="net1", **fields)

        assert second == Answer(
            1,
            {
                "cniVersion": "1.1.0",
                "code": POD_HAS_INTERFACE,
                "msg": "interface eth0 of the container is ours already, and a pod can have one of ours",
                "details": "net1 would want the same next hop, 169.254.1.1 or that of IPv6",
            },
        )
        assert stub.calls() == ["ADD c1"]
        assert node.call("ADD", pod, **fields) == first
