"""What a node says of itself, and what of that others believe."""

from ipaddress import IPv4Address, ip_address, ip_interface

import pytest

from cni.routing.peers import Peer, read_peer
from nodeplane.kube.objects import Metadata, Node
from nodeplane.kube.objects.node import NodeAddress, NodeStatus

FREE_TEXT = "2001:db8::9%x as 1; } protocol device evil { #"


def make_node(*addresses: str, **annotations: str) -> Node:
    entries = tuple(NodeAddress("InternalIP", address) for address in addresses)
    calico = {f"projectcalico.org/{name}": text for name, text in annotations.items()}
    return Node(Metadata("n1", annotations=calico), status=NodeStatus(addresses=entries))


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        pytest.param(make_node(), Peer(), id="nothing"),
        pytest.param(
            make_node("10.0.0.1", "fd00::1", "10.0.0.2"),
            Peer((ip_address("10.0.0.1"), ip_address("fd00::1"), ip_address("10.0.0.2"))),
            id="in their order",
        ),
        pytest.param(
            make_node("10.0.0.1", IPv4Address="10.0.0.1/24", IPv6Address="fd00::1/64"),
            Peer((ip_address("10.0.0.1"),), (ip_interface("10.0.0.1/24"), ip_interface("fd00::1/64"))),
            id="subnets",
        ),
        pytest.param(make_node("x", "", "10.0.0.300", IPv4Address="x"), Peer(), id="no addresses"),
        pytest.param(make_node(FREE_TEXT, IPv6Address=f"{FREE_TEXT}/64"), Peer(), id="a scope of any text"),
        pytest.param(make_node("fe80::1%eth0", "fe80::1", "169.254.0.1"), Peer(), id="link-local"),
        pytest.param(make_node("127.0.0.1", "::1", str(IPv4Address(0)), "::"), Peer(), id="this machine"),
        pytest.param(make_node("224.0.0.1", "ff02::1", "::ffff:10.0.0.1"), Peer(), id="multicast, mapped"),
    ],
)
def test_read_peer(node: Node, expected: Peer) -> None:
    assert read_peer(node) == expected
