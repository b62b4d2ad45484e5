"""What is put before a pod's packet between two nodes: nothing, or VXLAN's headers as RFC 7348 has them."""

import socket
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import UDP
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN

from netns_lab.address_plan import build_address_plan
from nodeplane.datapath.rtnl import open_rtnl
from tests.netns_fixture import eventually
from tests.routing.routed_lab import LAYERS, Family, RoutedLab, watch
from tests.routing.scenarios import PORT
from tests.routing.test_packets import ask_all

pytestmark = pytest.mark.lab

VXLAN_PORT = 4789
LINKS = {4: "np-vxlan4", 6: "np-vxlan6"}
# RFC 7348, section 5: the bit I says that the network's number is valid, all others are zero.
FLAGS = 0x08
# Calico's number, whose packets firewalls let through.
VNI = 4096
# RFC 7348, section 5: of the dynamic ports, or of those that the system gives out (ip_local_port_range).
SOURCE_PORTS = range(32768, 65536)
FLOWS = 40


def uplinks(lab: RoutedLab) -> dict[str, tuple[str, ...]]:
    """Return each node's addresses."""
    topology = lab.state.load_topology()
    assert topology is not None
    plan = build_address_plan(topology)
    return {node: tuple(map(str, plan.node_addresses(node))) for node in plan.nodes}


def node_of(lab: RoutedLab, pod: str) -> str:
    """Return where a pod runs."""
    return next(str(each["node"]) for each in lab.topology["pods"] if f"default/{each['name']}" == pod)


def send(lab: RoutedLab, way: tuple[str, str], family: Family, count: int) -> None:
    """Send a datagram on each of several flows from a pod to another, and await the answers."""
    for _ in range(count):
        with lab.open(lab.pod(way[0]), socket.SOCK_DGRAM, family) as client:
            client.connect((lab.address(way[1], family), PORT))
            client.send(b"x")
            client.recv(4096)


def test_on_the_uplink(routed: RoutedLab, family: Family, tmp_path: Path) -> None:
    """Packets between nodes have the pods' own addresses, in VXLAN or bare; no address is translated."""
    layer = LAYERS[family]
    expected = {
        (routed.address(one, family), routed.address(other, family), routed.scenario.is_tunnelled(one, other))
        for one, other in routed.scenario.ways()
    }
    with ExitStack() as stack:
        seen = [
            stack.enter_context(watch(routed, routed.node(node), "eth0", tmp_path, "udp"))
            for node in uplinks(routed)
        ]
        ask_all(routed, family)

        def found() -> set[tuple[str, str, bool]]:
            pairs = set()
            for frame in (frame for watched in seen for frame in watched.frames()):
                is_inside = VXLAN in frame
                packet = frame[VXLAN].payload if is_inside else frame
                if layer in packet and UDP in packet and PORT in {packet[UDP].sport, packet[UDP].dport}:
                    pairs.add((packet[layer].src, packet[layer].dst, is_inside))
            return pairs

        pairs = eventually(found, lambda got: got >= expected)

    assert pairs == expected


@pytest.mark.parametrize("routed", ["vxlan", "cross-subnet"], indirect=True)
def test_outer_headers(routed: RoutedLab, family: Family, tmp_path: Path) -> None:
    """Port, flags, network, checksum and ends are as they should be; flows spread over source ports."""
    way = next(way for way in routed.scenario.ways() if routed.scenario.is_tunnelled(*way))
    here, there = (node_of(routed, pod) for pod in way)
    ends = uplinks(routed)
    with watch(routed, routed.node(here), "eth0", tmp_path, f"udp dst port {VXLAN_PORT}") as watched:
        send(routed, way, family, FLOWS)
        outgoing = eventually(
            lambda: [frame for frame in watched.frames() if _is_from(frame, ends[here])],
            lambda frames: len(frames) >= FLOWS,
        )

    outer = LAYERS[family]
    with open_rtnl(routed.node(here)) as one, open_rtnl(routed.node(there)) as other:
        macs = one.link(LINKS[family]).mac, other.link(LINKS[family]).mac
    index = FAMILIES_INDEX[family]
    for frame in outgoing:
        header = frame[VXLAN]
        assert (frame[outer].src, frame[outer].dst) == (ends[here][index], ends[there][index])
        assert (int(header.flags), header.vni) == (FLAGS, VNI)
        assert (header.reserved1, header.reserved2) == (0, 0)
        # Over IPv4 it should be zero (RFC 7348), over IPv6 it must not be (RFC 8200, 8.1).
        assert (frame[UDP].chksum == 0) is (family == 4)
        inner = header[Ether]
        assert (inner.src, inner.dst) == macs
        assert (inner[outer].src, inner[outer].dst) == tuple(routed.address(pod, family) for pod in way)
        assert frame[UDP].sport in SOURCE_PORTS
    # 40 flows on one of 28,232 ports each: that all share fewer than 20 is out of the question.
    assert len({frame[UDP].sport for frame in outgoing}) > FLOWS // 2


FAMILIES_INDEX = {4: 0, 6: 1}


@pytest.mark.parametrize("routed", ["vxlan over a router"], indirect=True)
def test_nothing_is_flooded(routed: RoutedLab, family: Family, tmp_path: Path) -> None:
    """What two pods say, and what a pod says to an address that nobody has, no third node gets."""
    one, other, third = routed.scenario.pods
    ends = uplinks(routed)
    nodes = {pod: node_of(routed, pod) for pod in routed.scenario.pods}
    nobody = str(_next_free(routed.address(other, family)))
    with (
        watch(routed, routed.node(nodes[third]), "eth0", tmp_path, f"udp port {VXLAN_PORT}") as at_third,
        watch(routed, routed.node(nodes[other]), "eth0", tmp_path, f"udp port {VXLAN_PORT}") as at_other,
        routed.open(routed.pod(one), socket.SOCK_DGRAM, family) as client,
    ):
        client.sendto(b"nobody", (nobody, PORT))
        send(routed, (one, other), family, 5)
        layer = LAYERS[family]
        eventually(
            lambda: [
                frame
                for frame in at_other.frames()
                if VXLAN in frame and layer in frame[VXLAN] and frame[VXLAN][layer].dst == nobody
            ],
            bool,
        )
        # The last to be sent, so what came before it would have been seen.
        send(routed, (one, third), family, 1)
        seen = eventually(
            lambda: [frame for frame in at_third.frames() if _is_from(frame, ends[nodes[one]])], bool
        )

    own = routed.address(third, family)
    assert {frame[VXLAN][layer].dst for frame in seen if layer in frame[VXLAN]} == {own}
    listed = routed.execute(nodes[one], "bridge", "fdb", "show", "dev", LINKS[family]).stdout
    assert "00:00:00:00:00:00" not in listed
    assert sorted(
        word for word in listed.split() if word in {end for each in ends.values() for end in each}
    ) == (sorted(ends[nodes[pod]][FAMILIES_INDEX[family]] for pod in (other, third)))


def _is_from(frame: Any, addresses: tuple[str, ...]) -> bool:
    return VXLAN in frame and frame[Ether].payload.src in addresses


def _next_free(address: str) -> Any:
    """Return an address of a pod's block that nobody has: it holds this pod and at most a tunnel's end."""
    return ip_address(address) + 5
