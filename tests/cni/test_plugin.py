"""What an ADD of `nodeplane-cni` makes: real links, routes and packets in namespaces."""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from cni.attachment import Attachment
from nodeplane.datapath.rtnl import Route, open_rtnl
from nodeplane.datapath.sysctl import KernelSysctls
from tests.cni.conftest import WAYS, Answer, Node, address_of, held
from tests.netns_fixture import add_default_route, answers, eventually, namespace, veth_pair

pytestmark = pytest.mark.netns

WEB = Attachment("c1", "eth0", None, "default", "web-0")
HOST_LINK = WEB.host_link
GATEWAY = "169.254.1.1"


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    """Run everything here in process and through both shims."""
    kind: str = request.param
    return kind


def test_version_needs_nothing(node: Node, pod: Path) -> None:
    assert node.call("VERSION", pod) == Answer(
        0,
        {
            "cniVersion": "1.1.0",
            "supportedVersions": ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"],
        },
    )


def test_add_makes_what_it_reports(node: Node, pod: Path) -> None:
    result = node.add(pod)

    address = address_of(result)
    with open_rtnl(node.path) as host_rtnl, open_rtnl(pod) as pod_rtnl:
        host, inside = host_rtnl.link(HOST_LINK), pod_rtnl.link("eth0")
        assert result == {
            "cniVersion": "1.1.0",
            "interfaces": [
                {"name": HOST_LINK, "mac": host.mac, "mtu": 1500},
                {"name": "eth0", "mac": inside.mac, "mtu": 1500, "sandbox": str(pod)},
            ],
            "ips": [{"address": f"{address}/32", "gateway": "169.254.1.1", "interface": 1}],
            "routes": [{"dst": "169.254.1.1/32", "scope": 253}, {"dst": "0.0.0.0/0", "gw": "169.254.1.1"}],
        }
        assert (host.alias, host.is_up, inside.is_up) == ("c1/eth0 nodeplane default/web-0", True, True)
        assert (host.mtu_bytes, inside.mtu_bytes) == (1500, 1500)
        assert pod_rtnl.addresses("eth0") == {IPv4Interface(address)}
        assert host_rtnl.addresses(HOST_LINK) == set()
    assert node.routes() == [
        f"{address} dev {HOST_LINK} scope link",
        "local 169.254.1.1 dev lo scope host",
    ]
    sysctls = KernelSysctls(node.path)
    assert {
        name: sysctls.read(name.format(HOST_LINK))
        for name in (
            "net.ipv4.conf.{}.proxy_arp",
            "net.ipv4.conf.{}.forwarding",
            "net.ipv4.conf.{}.rp_filter",
            "net.ipv4.neigh.{}.proxy_delay",
        )
    } == {
        "net.ipv4.conf.{}.proxy_arp": "1",
        "net.ipv4.conf.{}.forwarding": "1",
        "net.ipv4.conf.{}.rp_filter": "1",
        "net.ipv4.neigh.{}.proxy_delay": "0",
    }


@pytest.mark.parametrize("has_default_route", [False, True], ids=["no default route", "a default route"])
@pytest.mark.parametrize("arp_ignore", [0, 1], ids=["ARP as it comes", "strict ARP"])
def test_a_pod_reaches_its_node(node: Node, pod: Path, has_default_route: bool, arp_ignore: int) -> None:
    """The gateway 169.254.1.1 resolves with any routing and any ARP policy of the node."""
    KernelSysctls(node.path).write("net.ipv4.conf.all.arp_ignore", arp_ignore)
    with (
        namespace("peer") as peer,
        veth_pair(node.path, "eth0", peer, "eth0", address_a="192.0.2.1/24", address_b="192.0.2.2/24"),
    ):
        if has_default_route:
            add_default_route(node.path, "192.0.2.2")

        address = address_of(node.add(pod))

        eventually(lambda: answers(pod, "192.0.2.1"), bool)
        eventually(lambda: answers(node.path, address), bool)
        # Under strict ARP the gateway is a proxied address, which is nobody's to answer a ping.
        assert arp_ignore or answers(pod, GATEWAY)


def test_two_pods_of_a_node_reach_each_other(node: Node, pod: Path) -> None:
    with namespace("other") as other:
        one = address_of(node.add(pod))
        two = address_of(node.add(other, container="c2", args="K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-1"))

        assert one != two
        eventually(lambda: answers(pod, two), bool)
        eventually(lambda: answers(other, one), bool)
        # And not by an address that is not theirs.
        with open_rtnl(pod) as rtnl:
            rtnl.add_address("eth0", IPv4Interface("10.244.99.99/32"))
            rtnl.replace_route(
                Route(
                    IPv4Network(two),
                    gateway=IPv4Address(GATEWAY),
                    link="eth0",
                    source=IPv4Address("10.244.99.99"),
                )
            )
        assert not answers(pod, two, within_s=0.5)


@pytest.mark.parametrize(
    ("config", "uplink_mtu_bytes", "expected"),
    [
        pytest.param({"mtu": 1350}, 9000, 1350, id="as configured"),
        pytest.param({}, 9000, 9000, id="the uplink's"),
    ],
)
def test_mtu(node: Node, pod: Path, config: dict[str, Any], uplink_mtu_bytes: int, expected: int) -> None:
    with (
        namespace("peer") as peer,
        veth_pair(node.path, "eth0", peer, "eth0", address_a="192.0.2.1/24"),
        open_rtnl(node.path) as host_rtnl,
        open_rtnl(pod) as pod_rtnl,
    ):
        host_rtnl.set_mtu("eth0", uplink_mtu_bytes)

        result = node.add(pod, config=config)

        assert [interface["mtu"] for interface in result["interfaces"]] == [expected, expected]
        assert host_rtnl.link(HOST_LINK).mtu_bytes == pod_rtnl.link("eth0").mtu_bytes == expected


def test_the_longest_names(node: Node, pod: Path) -> None:
    """A pod's name has up to 253 characters and its namespace's 63, a container's id in practice 64."""
    args = f"K8S_POD_NAMESPACE={'n' * 63};K8S_POD_NAME={'p' * 253}"

    first = node.add(pod, container="f" * 64, args=args)

    assert node.add(pod, container="f" * 64, args=args) == first
    assert node.call("DEL", pod, container="f" * 64, args=args) == Answer(0, None)
    assert (node.links(), held(node)) == (set(), set())


def test_a_chain_before_us_stays_in_the_result(node: Node, pod: Path) -> None:
    previous = {
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "net1", "sandbox": str(pod)}],
        "ips": [{"address": "192.0.2.7/24", "interface": 0}],
    }

    result = node.add(pod, config={"prevResult": previous})

    assert [interface["name"] for interface in result["interfaces"]] == ["net1", HOST_LINK, "eth0"]
    assert [ip.get("interface") for ip in result["ips"]] == [0, 2]
