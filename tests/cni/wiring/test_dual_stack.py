"""Pods with addresses of both families, of one, and on nodes that can't: real links and packets."""

import errno
import socket
from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cni.attachment import Attachment
from cni.error_codes import POD_HAS_INTERFACE
from nodeplane.datapath import netns
from nodeplane.datapath.rtnl import Route, open_rtnl
from nodeplane.datapath.sysctl import KernelSysctls
from tests.cni.conftest import Answer, Node
from tests.cni.stub_ipam import StubIpam, install_stub
from tests.netns_fixture import add_default_route, answers, eventually, namespace, veth_pair

pytestmark = pytest.mark.netns

HOST_LINK = Attachment("c1", "eth0", None, "default", "web-0").host_link
OTHER_ARGS = "K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-1"
ONE = {4: "10.244.0.5", 6: "2001:db8:5::5"}
TWO = {4: "10.244.0.6", 6: "2001:db8:5::6"}
GATEWAYS = {4: "169.254.1.1", 6: "fe80::ecee:eeff:feee:eeee"}
IPV6_HEADER_BYTES, IPV4_HEADER_BYTES, UDP_HEADER_BYTES = 40, 20, 8


class Cluster(NamedTuple):
    """A node whose IPAM gives c1 the addresses `ONE` and c2 `TWO`."""

    node: Node
    stub: StubIpam

    def call(self, command: str, pod: Path | str, container: str = "c1", **fields: Any) -> Answer:
        """Call the plugin for a pod of its own."""
        config = {"ipam": self.stub.config, **fields.pop("config", {})}
        if container == "c2":
            fields.setdefault("args", OTHER_ARGS)
        return self.node.call(
            command, pod, container=container, config=config, CNI_PATH=str(self.stub.folder), **fields
        )

    def add(self, pod: Path, container: str = "c1", **config: Any) -> Any:
        """Add a pod, which must succeed."""
        answer = self.call("ADD", pod, container, config=config)
        assert answer.code == 0, answer
        return answer.body


@pytest.fixture
def cluster(node: Node, tmp_path: Path) -> Cluster:
    stub = install_stub(tmp_path / "bin")
    for container, addresses in (("c1", ONE), ("c2", TWO)):
        stub.give(container, f"{addresses[4]}/24", f"{addresses[6]}/64")
    return Cluster(node, stub)


@pytest.fixture
def other() -> Iterator[Path]:
    with namespace("other") as path:
        yield path


def test_add_makes_what_it_reports(cluster: Cluster, pod: Path) -> None:
    result = cluster.add(pod)

    assert (result["ips"], result["routes"]) == (
        [
            {"address": f"{ONE[4]}/32", "gateway": GATEWAYS[4], "interface": 1},
            {"address": f"{ONE[6]}/128", "gateway": GATEWAYS[6], "interface": 1},
        ],
        [
            {"dst": "169.254.1.1/32", "scope": 253},
            {"dst": f"{GATEWAYS[6]}/128", "scope": 253},
            {"dst": "0.0.0.0/0", "gw": GATEWAYS[4]},
            {"dst": "::/0", "gw": GATEWAYS[6]},
        ],
    )
    with open_rtnl(cluster.node.path) as host_rtnl, open_rtnl(pod) as pod_rtnl:
        macs = [host_rtnl.link(HOST_LINK).mac, pod_rtnl.link("eth0").mac]
        assert macs == [interface["mac"] for interface in result["interfaces"]]
        assert macs[0] == "ee:ee:ee:ee:ee:ee"
        # The kernel's own address of the link beside the one given.
        assert ip_interface(f"{ONE[6]}/128") in pod_rtnl.addresses("eth0", 6)
        assert host_rtnl.addresses(HOST_LINK, 6) == {ip_interface(f"{GATEWAYS[6]}/64")}
        assert host_rtnl.routes(110, family=6) == [Route(ip_network(ONE[6]), link=HOST_LINK)]
        assert set(pod_rtnl.routes(110, family=6)) == {
            Route(ip_network(GATEWAYS[6]), link="eth0"),
            Route(ip_network("::/0"), gateway=ip_address(GATEWAYS[6]), link="eth0"),
        }
    host, inside = KernelSysctls(cluster.node.path), KernelSysctls(pod)
    assert [
        host.read(f"net.ipv6.conf.{HOST_LINK}.{name}")
        for name in ("disable_ipv6", "accept_dad", "accept_ra", "forwarding", "proxy_ndp")
    ] == ["0", "0", "0", "1", "1"]
    assert host.read(f"net.ipv6.neigh.{HOST_LINK}.proxy_delay") == "0"
    assert host.read("net.ipv6.conf.all.forwarding") == "1"
    assert [
        inside.read(f"net.ipv6.conf.eth0.{name}") for name in ("disable_ipv6", "accept_dad", "accept_ra")
    ] == ["0", "0", "0"]


@pytest.mark.parametrize("family", [4, 6])
def test_packets(cluster: Cluster, pod: Path, other: Path, family: int) -> None:
    """Pod to pod, pod to node, node to pod, and what is beyond the node, both ways."""
    near, far = {4: ("192.0.2.1", "192.0.2.2"), 6: ("2001:db8:1::1", "2001:db8:1::2")}[family]
    bits = {4: 24, 6: 64}[family]
    with (
        namespace("peer") as peer,
        veth_pair(
            cluster.node.path,
            "eth0",
            peer,
            "eth0",
            address_a=f"{near}/{bits}",
            address_b=f"{far}/{bits}",
        ),
    ):
        add_default_route(peer, near)
        KernelSysctls(cluster.node.path).write("net.ipv4.ip_forward", 1)
        cluster.add(pod)
        cluster.add(other, "c2")

        for source, target in (
            (pod, TWO[family]),
            (other, ONE[family]),
            (pod, near),
            (cluster.node.path, ONE[family]),
            (pod, far),
            (peer, ONE[family]),
        ):
            eventually(lambda source=source, target=target: answers(source, target), bool)  # type: ignore[misc]


@pytest.mark.parametrize("family", [4, 6])
def test_a_pod_alone_in_its_family(cluster: Cluster, pod: Path, family: int) -> None:
    cluster.stub.give("c1", ONE[family])

    result = cluster.add(pod)

    assert [ip["gateway"] for ip in result["ips"]] == [GATEWAYS[family]]
    with open_rtnl(pod) as rtnl:
        assert len(rtnl.routes(110, family=6)) == {4: 0, 6: 2}[family]
        assert len(rtnl.routes(110)) == {4: 2, 6: 0}[family]
    assert cluster.call("CHECK", pod, config={"prevResult": result}) == Answer(0, None)


@pytest.mark.parametrize("family", [4, 6])
def test_the_mtu_is_what_a_pod_can_send(cluster: Cluster, pod: Path, other: Path, family: int) -> None:
    """No packet leaves that is larger, and one that fits arrives."""
    mtu_bytes = 1300
    result = cluster.add(pod, mtu=mtu_bytes)
    cluster.add(other, "c2", mtu=mtu_bytes)
    assert [interface["mtu"] for interface in result["interfaces"]] == [mtu_bytes, mtu_bytes]
    header_bytes = {4: IPV4_HEADER_BYTES, 6: IPV6_HEADER_BYTES}[family] + UDP_HEADER_BYTES

    with udp_socket(other, family) as receiver, udp_socket(pod, family) as sender:
        receiver.bind((TWO[family], 9))
        receiver.settimeout(30)
        # linux/in.h and in6.h: IP_MTU_DISCOVER and IPV6_MTU_DISCOVER, both with IP_PMTUDISC_DO.
        level, option = {4: (socket.IPPROTO_IP, 10), 6: (socket.IPPROTO_IPV6, 23)}[family]
        sender.setsockopt(level, option, 2)
        with pytest.raises(OSError, match="too long") as caught:
            sender.sendto(bytes(mtu_bytes - header_bytes + 1), (TWO[family], 9))
        sender.sendto(bytes(mtu_bytes - header_bytes), (TWO[family], 9))

        assert len(receiver.recv(2048)) == mtu_bytes - header_bytes
    assert caught.value.errno == errno.EMSGSIZE


def udp_socket(where: Path, family: int) -> socket.socket:
    with netns.inside(where):
        return socket.socket({4: socket.AF_INET, 6: socket.AF_INET6}[family], socket.SOCK_DGRAM)


def test_a_repeated_add_answers_the_same(cluster: Cluster, pod: Path, other: Path) -> None:
    first = cluster.add(pod)
    cluster.add(other, "c2")

    assert cluster.add(pod) == first
    assert answers(pod, TWO[4], within_s=30)
    assert answers(pod, TWO[6], within_s=30)


def test_del_leaves_nothing(cluster: Cluster, pod: Path) -> None:
    cluster.add(pod)

    assert cluster.call("DEL", pod) == Answer(0, None)

    assert cluster.node.links() == set()
    with open_rtnl(cluster.node.path) as rtnl:
        assert rtnl.routes(110, family=6) == []
    assert cluster.stub.calls() == ["ADD c1", "DEL c1"]


def test_a_runtime_that_switched_ipv6_off_in_the_pod(cluster: Cluster, pod: Path, other: Path) -> None:
    """As Docker does where a network has no IPv6; the pod has got an address, so it shall have IPv6."""
    inside = KernelSysctls(pod)
    for name in ("all", "default"):
        inside.write(f"net.ipv6.conf.{name}.disable_ipv6", 1)
    cluster.add(other, "c2")

    cluster.add(pod)

    assert answers(pod, TWO[6], within_s=30)
    assert answers(pod, "::1", within_s=30)


def switch_off(node: Path) -> None:
    KernelSysctls(node).write("net.ipv6.conf.all.disable_ipv6", 1)


def default_off(node: Path) -> None:
    KernelSysctls(node).write("net.ipv6.conf.default.disable_ipv6", 1)


def same_address_on_the_node(node: Path) -> None:
    with open_rtnl(node) as rtnl:
        rtnl.add_address("lo", ip_interface(f"{ONE[6]}/128"))


def route_in_the_way(node: Path) -> None:
    with open_rtnl(node) as rtnl:
        rtnl.add_route(Route(ip_network(ONE[6]), kind="blackhole", protocol=4))


REFUSALS: list[tuple[str, Callable[[Path], None] | None, dict[str, Any], dict[str, Any]]] = [
    (
        "IPv6 is off on the node",
        switch_off,
        {},
        {
            "code": 103,
            "msg": "the pod got an IPv6 address, but IPv6 is off on this node",
            "details": "net.ipv6.conf.all.disable_ipv6 is 1",
        },
    ),
    (
        "an address of the node's own",
        same_address_on_the_node,
        {},
        {"code": 104, "msg": "the pod got an address that is the node's own", "details": ONE[6]},
    ),
    (
        "links too small for IPv6",
        None,
        {"mtu": 1279},
        {
            "code": 7,
            "msg": "network configuration: mtu: expected at least 1280 bytes for an IPv6 address, got 1279",
        },
    ),
    (
        "a route of another owner",
        route_in_the_way,
        {},
        {"code": 5, "msg": f"add route {ONE[6]}/128 dev {HOST_LINK}: File exists (EEXIST)"},
    ),
]


@pytest.mark.parametrize(
    ("happens", "config", "error"),
    [pytest.param(happens, config, error, id=row) for row, happens, config, error in REFUSALS],
)
def test_a_refused_add_leaves_nothing(
    cluster: Cluster,
    pod: Path,
    happens: Callable[[Path], None] | None,
    config: dict[str, Any],
    error: dict[str, Any],
) -> None:
    if happens is not None:
        happens(cluster.node.path)

    assert cluster.call("ADD", pod, config=config) == Answer(1, {"cniVersion": "1.1.0", **error})

    assert cluster.node.links() == set()
    with open_rtnl(pod) as rtnl:
        assert rtnl.links().keys() == {"lo"}
    # SPEC section 4: what a failed ADD may have taken is given back.
    assert cluster.stub.calls() == ["ADD c1", "DEL c1"]


def test_a_node_with_ipv6_off_for_new_links_only(cluster: Cluster, pod: Path, other: Path) -> None:
    default_off(cluster.node.path)

    cluster.add(pod)
    cluster.add(other, "c2")

    assert answers(pod, TWO[6], within_s=30)


def test_a_node_that_listens_to_routers_goes_on(cluster: Cluster, pod: Path) -> None:
    """A router ignores other routers (RFC 4861) unless told twice; the node's default may be one."""
    with (
        namespace("peer") as peer,
        veth_pair(cluster.node.path, "eth0", peer, "eth0", address_a="2001:db8:1::1/64"),
    ):
        sysctls = KernelSysctls(cluster.node.path)
        sysctls.write("net.ipv6.conf.eth0.accept_ra", 1)

        cluster.add(pod)

        assert sysctls.read("net.ipv6.conf.eth0.accept_ra") == "2"


def test_macs_routes_and_dns_as_asked(cluster: Cluster, pod: Path) -> None:
    cluster.stub.give("c1", *ONE.values(), routes=[{"dst": "198.51.100.0/24", "gw": "10.244.0.1"}])

    result = cluster.add(
        pod,
        hostMAC="02:00:00:00:00:01",
        routes=[
            {"dst": "203.0.113.0/24", "mtu": 1200, "priority": 9},
            {"dst": "2001:db8:9::/48", "table": 99},
        ],
        runtimeConfig={"mac": "02:00:00:00:00:02", "dns": {"servers": ["192.0.2.53"]}},
    )

    gateway_6 = "fe80::ff:fe00:1"
    assert [interface["mac"] for interface in result["interfaces"]] == [
        "02:00:00:00:00:01",
        "02:00:00:00:00:02",
    ]
    assert result["dns"] == {"nameservers": ["192.0.2.53"]}
    assert result["routes"][-3:] == [
        {"dst": "203.0.113.0/24", "gw": GATEWAYS[4], "mtu": 1200, "priority": 9},
        {"dst": "2001:db8:9::/48", "gw": gateway_6, "table": 99},
        {"dst": "198.51.100.0/24", "gw": GATEWAYS[4]},
    ]
    with open_rtnl(pod) as rtnl:
        assert rtnl.link("eth0").mac == "02:00:00:00:00:02"
        assert (
            Route(
                ip_network("203.0.113.0/24"),
                gateway=ip_address(GATEWAYS[4]),
                link="eth0",
                metric=9,
                mtu_bytes=1200,
            )
            in rtnl.routes()
        )
        assert rtnl.routes(table=99, family=6) == [
            Route(ip_network("2001:db8:9::/48"), gateway=ip_address(gateway_6), link="eth0", table=99)
        ]
    assert cluster.call("CHECK", pod, config={"prevResult": result}) == Answer(0, None)


def test_a_second_interface_of_ours_is_refused(cluster: Cluster, pod: Path, other: Path) -> None:
    """The gateway can be on one link only; the first goes on."""
    cluster.add(pod)
    cluster.stub.give("c2", *TWO.values())

    answer = cluster.call("ADD", pod, "c2", interface="net1")

    assert answer == Answer(
        1,
        {
            "cniVersion": "1.1.0",
            "code": POD_HAS_INTERFACE,
            "msg": "interface eth0 of the container is ours already, and a pod can have one of ours",
            "details": "net1 would want the same next hop, 169.254.1.1 or that of IPv6",
        },
    )
    with open_rtnl(pod) as rtnl:
        assert rtnl.links().keys() == {"lo", "eth0"}
    assert answers(pod, GATEWAYS[4], within_s=30)
