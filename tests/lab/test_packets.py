"""What becomes of packets on their way through a node, seen on both sides of it."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.utils import rdpcap

from netns_lab.attachment import host_link
from netns_lab.capture import capture
from netns_lab.dns_query import build_query, decode_addresses
from nodeplane.datapath import netns
from tests.lab.labs import LabUnderTest
from tests.netns_fixture import eventually

pytestmark = pytest.mark.lab

_TIMEOUT_S = 30

# Enough for each of four backends to be chosen, but for one run in 10^10.
_TRIES = 80

Flow = tuple[str, str, str]


class Side:
    """One link of the lab, captured."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def packets(self) -> list[Any]:
        """Return the IP packets seen so far."""
        return [packet[IP] for packet in rdpcap(str(self._file)) if IP in packet]

    def flows(self) -> set[Flow]:
        """Return what was seen of TCP and UDP: source, destination, and flags or protocol."""
        return {flow for packet in self.packets() if (flow := _flow(packet))}

    def eventually(self, expected: Callable[[set[Flow]], bool]) -> set[Flow]:
        """Wait until the flows are as expected, and return them."""
        return eventually(self.flows, expected)


def _flow(packet: Any) -> Flow | None:
    for kind in (TCP, UDP):
        if kind in packet:
            segment = packet[kind]
            ends = f"{packet.src}:{segment.sport}", f"{packet.dst}:{segment.dport}"
            return (*ends, str(segment.flags) if kind is TCP else "UDP")
    return None


@contextmanager
def watch(lab: LabUnderTest, namespace: Path, link: str, folder: Path) -> Iterator[Side]:
    """Capture a link of the lab."""
    file = folder / f"{namespace.name}-{link}.pcap"
    with capture(lab.name, namespace.name, link, "ip", file):
        yield Side(file)


class Addresses(NamedTuple):
    """The address plan of a lab."""

    nodes: dict[str, str]
    pods: dict[str, str]
    services: dict[str, str]


@pytest.fixture
def addresses(demo_lab: LabUnderTest) -> Addresses:
    """Return the address plan as `netns-lab status` tells it."""
    status = demo_lab.status()
    return Addresses(
        {row["node"]: row["address"] for row in status["nodes"]},
        {row["pod"]: row["address"] for row in status["pods"]},
        {row["service"]: row["cluster_ip"] for row in status["services"]},
    )


def open_socket(namespace: Path, kind: socket.SocketKind) -> socket.socket:
    """Open a socket in a namespace; it stays there."""
    with netns.inside(namespace):
        opened = socket.socket(socket.AF_INET, kind)
    opened.settimeout(_TIMEOUT_S)
    return opened


def ask(namespace: Path, kind: socket.SocketKind, address: str, port: int) -> tuple[str, dict[str, Any]]:
    """Ask an echo server who it is; return the client's own end and the answer."""
    with open_socket(namespace, kind) as client:
        client.connect((address, port))
        own = "{}:{}".format(*client.getsockname())
        client.sendall(b"who is there\n")
        return own, json.loads(client.makefile("rb").readline())


def test_destination_and_reply_translation(
    demo_lab: LabUnderTest, addresses: Addresses, tmp_path: Path
) -> None:
    """The client speaks with the VIP alone; the pod with the client's own address alone."""
    vip, backend = f"{addresses.services['default/web']}:80", f"{addresses.pods['default/web-2']}:8080"
    client_link = host_link(demo_lab.state, "clients/client")
    with (
        watch(demo_lab, demo_lab.node("n1"), client_link, tmp_path) as client_side,
        watch(demo_lab, demo_lab.pod("default/web-2"), "eth0", tmp_path) as pod_side,
    ):
        answers = dict(
            ask(demo_lab.pod("clients/client"), socket.SOCK_STREAM, addresses.services["default/web"], 80)
            for _ in range(_TRIES)
        )
        clients = {own for own, answer in answers.items() if answer["pod"] == "web-2"}
        before = client_side.eventually(lambda seen: {(own, vip, "FA") for own in answers} <= seen)
        behind = pod_side.eventually(lambda seen: {(own, backend, "FA") for own in clients} <= seen)

    assert {answer["source"] for answer in answers.values()} == {addresses.pods["clients/client"]}
    assert ends(before) == {vip, *answers}
    assert {(own, vip, "S") for own in answers} | {(vip, own, "SA") for own in answers} <= before
    assert clients
    assert ends(behind) == {backend, *clients}
    assert {(own, backend, "S") for own in clients} | {(backend, own, "SA") for own in clients} <= behind


def test_cluster_dns_is_a_service_too(demo_lab: LabUnderTest, addresses: Addresses, tmp_path: Path) -> None:
    """Datagrams are translated both ways: the client asks the VIP, a node's own address answers."""
    vip, web = addresses.services["kube-system/kube-dns"], addresses.services["default/web"]
    client_link = host_link(demo_lab.state, "clients/client")
    servers = {f"{addresses.nodes[node]}:53" for node in ("n2", "n3")}
    with (
        watch(demo_lab, demo_lab.node("n1"), client_link, tmp_path) as client_side,
        watch(demo_lab, demo_lab.node("n1"), "eth0", tmp_path) as uplink,
    ):
        answers = dict(look_up(demo_lab, vip, "web.default.svc.cluster.local") for _ in range(_TRIES))
        before = client_side.eventually(lambda seen: {(f"{vip}:53", own, "UDP") for own in answers} <= seen)
        behind = uplink.eventually(lambda seen: servers <= ends(seen))

    assert all(found == [web] for found in answers.values())
    assert ends(before) == {f"{vip}:53", *answers}
    assert ends(behind) & set(answers)
    assert f"{vip}:53" not in ends(behind)


def test_names_resolve_in_a_pod(demo_lab: LabUnderTest, addresses: Addresses) -> None:
    """Through the C library and the pod's own resolv.conf, by short names and by full ones."""
    for name in ("web.default", "web.default.svc.cluster.local"):
        found = demo_lab.execute("clients/client", "getent", "ahostsv4", name).stdout

        assert found.split()[0] == addresses.services["default/web"]


def look_up(lab: LabUnderTest, server: str, name: str) -> tuple[str, list[str] | None]:
    """Ask a server for a name from the client's pod; return the client's own end and the answer."""
    with open_socket(lab.pod("clients/client"), socket.SOCK_DGRAM) as client:
        client.connect((server, 53))
        client.send(build_query(7, name))
        return "{}:{}".format(*client.getsockname()), decode_addresses(7, client.recv(4096))


class Hairpin(NamedTuple):
    """A pod, where it runs, and a service that leads to it."""

    pod: str
    node: str
    service: str
    kind: socket.SocketKind
    port: int
    target: int


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(Hairpin("tools/echo", "n2", "tools/echo", socket.SOCK_DGRAM, 7, 7), id="UDP"),
        pytest.param(Hairpin("default/web-1", "n1", "default/web", socket.SOCK_STREAM, 80, 8080), id="TCP"),
    ],
)
def test_hairpin(case: Hairpin, demo_lab: LabUnderTest, addresses: Addresses, tmp_path: Path) -> None:
    """A pod that its own service leads back to itself meets its node as the client.

    Without source translation it would answer itself directly, past the node, which has to translate back.
    """
    pod, service = addresses.pods[case.pod], addresses.services[case.service]
    vip, backend = f"{service}:{case.port}", f"{pod}:{case.target}"
    with watch(demo_lab, demo_lab.pod(case.pod), "eth0", tmp_path) as side:
        asked = [ask(demo_lab.pod(case.pod), case.kind, service, case.port) for _ in range(_TRIES)]
        name = case.pod.partition("/")[2]
        own, answer = next((own, answer) for own, answer in asked if answer["pod"] == name)
        masked = f"{answer['source']}:{answer['sourcePort']}"
        there, back = {(own, vip), (masked, backend)}, {(backend, masked), (vip, own)}
        flows = side.eventually(lambda seen: back <= {flow[:2] for flow in seen})

    assert answer["source"] == addresses.nodes[case.node]
    assert there | back <= {flow[:2] for flow in flows}
    assert (own, backend) not in {flow[:2] for flow in flows}
    # Other pods are reached as who one is.
    others = {answer["source"] for _, answer in asked if answer["pod"] != name}
    assert others <= {pod}


@pytest.mark.parametrize(
    ("kind", "port"),
    [pytest.param(socket.SOCK_STREAM, 80, id="TCP"), pytest.param(socket.SOCK_DGRAM, 53, id="UDP")],
)
def test_reject(
    kind: socket.SocketKind, port: int, demo_lab: LabUnderTest, addresses: Addresses, tmp_path: Path
) -> None:
    """A service without endpoints refuses at once, by a reset or by ICMP port unreachable."""
    vip = addresses.services["default/nobody"]
    client_link = host_link(demo_lab.state, "clients/client")
    with watch(demo_lab, demo_lab.node("n1"), client_link, tmp_path) as side:
        with pytest.raises(ConnectionRefusedError):
            ask(demo_lab.pod("clients/client"), kind, vip, port)
        refusals = eventually(lambda: [text for packet in side.packets() if (text := _refusal(packet))], bool)

    expected = {f"ICMP port unreachable {vip}:{port}"}
    if kind is socket.SOCK_STREAM:
        expected.add(f"TCP reset {vip}:{port}")
    assert set(refusals) <= expected


def test_ruleset_prints(demo_lab: LabUnderTest) -> None:
    """Every rule is one that nft can print (nft 1.0.6 crashes on some that the kernel takes)."""
    for node in ("n1", "n2", "n3"):
        printed = demo_lab.execute(node, "nft", "list", "ruleset")

        assert "table ip nodeplane-kubeproxy {" in printed.stdout
        assert printed.stderr == ""


def ends(flows: set[Flow]) -> set[str]:
    """Return every address and port that flows name."""
    return {end for flow in flows for end in flow[:2]}


def _refusal(packet: Any) -> str:
    """Say what a packet refuses, nothing if it does not."""
    if TCP in packet and packet[TCP].flags.R:
        return f"TCP reset {packet.src}:{packet[TCP].sport}"
    # RFC 792: destination unreachable, port unreachable; the refused packet's head is inside.
    if ICMP in packet and (packet[ICMP].type, packet[ICMP].code) == (3, 3):
        refused = packet[ICMP].payload
        return f"ICMP port unreachable {refused.dst}:{refused.payload.dport}"
    return ""
