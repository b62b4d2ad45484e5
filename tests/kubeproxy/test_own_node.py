"""What our own Node says."""

from ipaddress import ip_address, ip_network

import pytest

from kubeproxy.own_node import (
    TO_BE_DELETED_TAINT,
    OwnNode,
    find_node,
    is_eligible,
    pod_networks,
    primary_ips,
    read_node,
)
from nodeplane.kube.objects import Metadata, Node, NodeAddress, NodeSpec, NodeStatus, Taint
from nodeplane.kube.store import diff_objects
from tests.kubeproxy.objects import additions, node


def tainted(*keys: str) -> Node:
    return Node(Metadata("n1"), NodeSpec(taints=tuple(map(Taint, keys))))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(None, True, id="no object"),
        pytest.param(node(), True, id="plain"),
        pytest.param(tainted("node.kubernetes.io/unschedulable"), True, id="cordoned"),
        pytest.param(tainted("other", TO_BE_DELETED_TAINT), False, id="autoscaler takes it away"),
        pytest.param(
            Node(Metadata("n1", deletion_timestamp="2026-01-01T00:00:00Z")), False, id="being deleted"
        ),
    ],
)
def test_is_eligible(found: Node | None, expected: bool) -> None:
    """A node that is about to go gets no new traffic (KEP-3836)."""
    assert is_eligible(found) == expected


def test_pod_networks() -> None:
    """podCIDRs, of both families."""
    found = Node(Metadata("n1"), NodeSpec(pod_cidrs=("10.244.7.0/24", "fd00::/64")))

    assert pod_networks(found) == (ip_network("10.244.7.0/24"), ip_network("fd00::/64"))
    assert pod_networks(None) == pod_networks(node()) == ()


ADDRESSES = (
    NodeAddress("Hostname", "n1"),
    NodeAddress("ExternalIP", "203.0.113.1"),
    NodeAddress("ExternalIP", "2001:db8::1"),
    NodeAddress("InternalIP", "192.0.2.1"),
    NodeAddress("InternalIP", "192.0.2.2"),
)
N1 = Node(Metadata("n1"), status=NodeStatus(ADDRESSES))


@pytest.mark.parametrize(
    ("found", "overrides", "expected"),
    [
        pytest.param(None, (), (), id="no object"),
        pytest.param(N1, (), ("192.0.2.1", "2001:db8::1"), id="internal first"),
        pytest.param(N1, ("198.51.100.1",), ("198.51.100.1", "2001:db8::1"), id="overridden"),
        pytest.param(None, ("198.51.100.1",), ("198.51.100.1",), id="overrides alone"),
    ],
)  # fmt: skip
def test_primary_ips(found: Node | None, overrides: tuple[str, ...], expected: tuple[str, ...]) -> None:
    """One address for each family."""
    assert primary_ips(found, map(ip_address, overrides)) == tuple(map(ip_address, expected))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(None, OwnNode(), id="no object"),
        pytest.param(node("n1", zone="a"), OwnNode(zone="a"), id="zone"),
        pytest.param(
            node("n1", "010.0.0.1"), OwnNode(internal_ips=(ip_address("10.0.0.1"),)), id="leading zeros"
        ),
        *(
            pytest.param(
                node("n1", text, "192.0.2.1"),
                OwnNode(
                    internal_ips=(ip_address("192.0.2.1"),),
                    problems=(f"status.addresses[0].address: expected an IP address, got {text!r}",),
                ),
                id=text or "empty",
            )
            for text in ("host.example", "", "fe80::1%eth0", "10.0.0.256")
        ),
        pytest.param(
            Node(Metadata("n1"), NodeSpec(pod_cidrs=("bad", "10.244.1.7/24", "10.244.1.0"))),
            OwnNode(
                pod_networks=(ip_network("10.244.1.0/24"),),
                problems=tuple(
                    f"spec.podCIDRs[{index}]: expected a network, e.g. 10.244.0.0/24, got {text!r}"
                    for index, text in ((0, "bad"), (2, "10.244.1.0"))
                ),
            ),
            id="podCIDRs",
        ),
    ],
)
def test_what_is_wrong_is_left_out(found: Node | None, expected: OwnNode) -> None:
    """An API server takes any address of a Node: what is none is named, the others count."""
    assert read_node(found) == expected


def test_find_node() -> None:
    """The last word on our own Node counts; others' are not ours."""
    first, second = node("n1", "192.0.2.1"), node("n1", "192.0.2.2")
    batches = [additions(first, node("n2")), diff_objects({first.key: first}, {second.key: second})]

    assert find_node(batches, "n1") == second
    assert find_node([*batches, diff_objects({second.key: second}, {})], "n1") is None
    assert find_node(batches, "n3") is None
