"""Packets between any two pods, in each mode and family: as who sent them, after the right hops."""

import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import UDP

from tests.netns_fixture import eventually
from tests.routing.routed_lab import LAYERS, Family, RoutedLab, Watched, watch
from tests.routing.scenarios import PORT

pytestmark = pytest.mark.lab

Arrival = tuple[str, str, int, int]


def ask_all(lab: RoutedLab, family: Family, timeout_s: float = 30.0) -> dict[tuple[str, str], int]:
    """Send a datagram from each pod to each other and await the answer; return the source ports."""
    ports: dict[tuple[str, str], int] = {}
    for one, other in lab.scenario.ways():
        with lab.open(lab.pod(one), socket.SOCK_DGRAM, family) as client:
            client.settimeout(timeout_s)
            client.connect((lab.address(other, family), PORT))
            client.send(f"{one} {other}".encode())
            assert f'"data": "{one} {other}"'.encode() in client.recv(4096)
            ports[one, other] = client.getsockname()[1]
    return ports


def arrivals(watched: Watched, family: Family, protocol: Any = UDP) -> set[Arrival]:
    """Return what came in on a link: source, destination, source port, TTL or hop limit."""
    layer = LAYERS[family]
    return {
        (
            frame[layer].src,
            frame[layer].dst,
            frame[protocol].sport,
            frame[layer].ttl if family == 4 else frame[layer].hlim,
        )
        for frame in watched.frames()
        if layer in frame and protocol in frame and frame[protocol].dport == PORT
    }


def test_between_any_two_pods(routed: RoutedLab, family: Family, tmp_path: Path) -> None:
    """The receiver sees the sender's own address and port, and a TTL that each router has lessened once."""
    with ExitStack() as stack:
        seen = {
            pod: stack.enter_context(watch(routed, routed.pod(pod), "eth0", tmp_path, f"udp dst port {PORT}"))
            for pod in routed.scenario.pods
        }
        ports = ask_all(routed, family)
        expected = {
            pod: {
                (
                    routed.address(one, family),
                    routed.address(pod, family),
                    ports[one, pod],
                    routed.scenario.ttl(one, pod),
                )
                for one in routed.scenario.pods
                if one != pod
            }
            for pod in routed.scenario.pods
        }
        received = eventually(
            lambda: {
                pod: {found for found in arrivals(watched, family) if found[1] == routed.address(pod, family)}
                for pod, watched in seen.items()
            },
            lambda found: all(found[pod] >= expected[pod] for pod in found),
        )

    assert received == expected
