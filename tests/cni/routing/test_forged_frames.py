"""VXLAN frames from whoever is not a node: dropped, whatever the packet inside says."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_interface, ip_network
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet

from cni.routing.guard_rules import NAME
from cni.routing.vxlan import build_mac
from nodeplane.datapath import netns
from nodeplane.datapath.rtnl import Route, open_rtnl
from nodeplane.datapath.sysctl import KernelSysctls
from tests.cni.routing.racks import ADDRESSES, Racks, racks
from tests.netns_fixture import eventually, namespace, run_in

pytestmark = pytest.mark.netns

PORT = 7777
POD, OTHER_POD = "10.244.200.9", "10.244.200.10"
STRANGER, STRANGER_6 = "198.51.100.77", "2001:db8:2::77"
VNI = 4096
_LIMIT_S = 30.0
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Racks]:
    """Yield three nodes with tunnels; n1 has a pod in a namespace of its own."""
    with ExitStack() as stack:
        built = stack.enter_context(racks(tmp_path_factory.mktemp("forged")))
        built.set_mode("vxlan")
        for node in ADDRESSES:
            built.assign(node)
            built.run_agent(node)
        built.converge("vxlan", *ADDRESSES)
        for name, address in (("pod", POD), ("other", OTHER_POD)):
            built.paths[name] = stack.enter_context(namespace(name))
            add_pod(built, name, address)
        for text in (f"{STRANGER}/32", f"{STRANGER_6}/128"):
            built.rtnl("n3").add_address("eth0", ip_interface(text))
        # As natOutgoing does: what leaves the cluster carries the node's address.
        rules = (
            "add table ip m; add chain ip m out { type nat hook postrouting priority 100; }; "
            f"add rule ip m out ip saddr {POD} ip daddr != 10.244.0.0/16 masquerade"
        )
        assert run_in(built.paths["n1"], "nft", rules).returncode == 0
        yield built


def add_pod(nodes: Racks, name: str, address: str) -> None:
    """Join a namespace to n1 as a pod."""
    host, link = nodes.rtnl("n1"), f"npl-{name}"
    host.add_veth(link, "eth0", nodes.paths[name])
    host.set_up(link)
    host.add_route(Route(ip_network(address), link=link, scope="link"))
    sysctls = KernelSysctls(nodes.paths["n1"])
    sysctls.write(f"net.ipv4.conf.{link}.proxy_arp", 1)
    sysctls.write(f"net.ipv4.neigh.{link}.proxy_delay", 0)
    with open_rtnl(nodes.paths[name]) as rtnl:
        rtnl.set_up("eth0")
        rtnl.add_address("eth0", ip_interface(address))
        rtnl.add_route(Route(ip_network("0.0.0.0/0"), link="eth0", scope="link"))


class Victim:
    """A socket at a pod's address on a node, and what comes to it."""

    def __init__(self, nodes: Racks, node: str, version: int) -> None:
        self.node, self.version = node, version
        [block] = [each.network for each in nodes.blocks(node) if each.network.version == version]
        held = nodes.rtnl(node).addresses("lo", 4 if version == 4 else 6)
        self.address = next(str(item.ip) for item in held if item.ip in block)
        with netns.inside(nodes.paths[node]):
            self.socket = socket.socket(FAMILIES[version], socket.SOCK_DGRAM)
        self.socket.bind((self.address, PORT))
        self.socket.settimeout(_LIMIT_S)

    def forged(self) -> bytes:
        """Return what is written into a tunnel to the node: a packet of a pod that is elsewhere."""
        if self.version == 4:
            inner: Packet = IP(src="10.244.99.99", dst=self.address)
        else:
            inner = IPv6(src="fd00:10:244::9999", dst=self.address)
        frame = Ether(dst=build_mac(self.node), src=build_mac("n3")) / inner / UDP(sport=9, dport=PORT)
        return bytes(VXLAN(vni=VNI, flags=0x08) / frame / b"forged")

    def received(self, place: Path) -> list[bytes]:
        """Return what has come before an honest datagram from the same place."""
        with sender(place, self.version) as honest:
            honest.sendto(b"honest", (self.address, PORT))
        found = [self.socket.recv(64)]
        while found[-1] != b"honest":
            found.append(self.socket.recv(64))
        return found[:-1]


@contextmanager
def sender(place: Path, version: int, source: str = "") -> Iterator[socket.socket]:
    with netns.inside(place):
        opened = socket.socket(FAMILIES[version], socket.SOCK_DGRAM)
    with opened:
        if source:
            opened.bind((source, 0))
        yield opened


@pytest.mark.parametrize(
    ("place", "source", "node", "version"),
    [
        pytest.param("pod", POD, "n2", 4, id="a pod, masqueraded as its node"),
        pytest.param("pod", POD, "n1", 4, id="a pod, to its own node"),
        pytest.param("n3", STRANGER, "n2", 4, id="a host beside the nodes"),
        pytest.param("n3", STRANGER_6, "n2", 6, id="a host beside the nodes, IPv6"),
        pytest.param("n1", "", "n1", 4, id="a process of the node, to itself"),
    ],
)
def test_nobody_but_another_node(nodes: Racks, place: str, source: str, node: str, version: int) -> None:
    victim = Victim(nodes, node, version)
    target = ADDRESSES[node][version == 6]
    with victim.socket, sender(nodes.paths[place], version, source) as forger:
        forger.sendto(victim.forged(), (target, 4789))

        assert victim.received(nodes.paths[place]) == []


def test_a_frame_in_pieces(nodes: Racks) -> None:
    """The first piece ends before the network's number, which so can't be asked for."""
    victim = Victim(nodes, "n2", 4)
    target = ADDRESSES["n2"][0]
    datagram = bytes(UDP(sport=9, dport=4789) / victim.forged())
    with victim.socket, netns.inside(nodes.paths["n3"]):
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        with raw:
            for start, end in ((0, 8), (8, len(datagram))):
                head = IP(
                    src=STRANGER, dst=target, id=77, proto=17, frag=start // 8, flags="MF" * (not start)
                )
                raw.sendto(bytes(head / datagram[start:end]), (target, 0))

        assert victim.received(nodes.paths["n3"]) == []


def test_another_network_is_left_alone(nodes: Racks) -> None:
    """A VXLAN link of somebody else's on the same port hears its peers, whoever they are."""
    group = [
        "ip link add theirs type vxlan id 7 dstport 4789 nolearning",
        "ip link set theirs up",
        "ip addr add 203.0.113.2/24 dev theirs",
    ]
    for command in group:
        done = run_in(nodes.paths["n2"], *command.split())
        assert done.returncode == 0, (command, done.stderr)
    mac = nodes.rtnl("n2").link("theirs").mac
    inner = IP(src="203.0.113.3", dst="203.0.113.2") / UDP(sport=9, dport=PORT) / b"theirs"
    frame = bytes(VXLAN(vni=7, flags=0x08) / Ether(dst=mac, src="02:00:00:00:00:33") / inner)
    with netns.inside(nodes.paths["n2"]):
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with receiver, sender(nodes.paths["n3"], 4, STRANGER) as stranger:
        receiver.bind(("203.0.113.2", PORT))
        receiver.settimeout(_LIMIT_S)
        stranger.sendto(frame, (ADDRESSES["n2"][0], 4789))

        assert receiver.recv(64) == b"theirs"
    run_in(nodes.paths["n2"], "ip", "link", "del", "theirs")


def test_a_pod_may_send_to_a_pods_port(nodes: Racks) -> None:
    """Overlays inside of pods are theirs: what goes from pod to pod is no tunnel of ours."""
    with netns.inside(nodes.paths["other"]):
        other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with other, sender(nodes.paths["pod"], 4) as pod:
        other.bind((OTHER_POD, 4789))
        other.settimeout(_LIMIT_S)
        pod.sendto(b"theirs", (OTHER_POD, 4789))

        assert other.recv(64) == b"theirs"


def test_a_wiped_guard_returns(nodes: Racks) -> None:
    run_in(nodes.paths["n2"], "nft", "delete", "table", "inet", NAME)

    listed = ("nft", "list", "table", "inet", NAME)
    eventually(lambda: run_in(nodes.paths["n2"], *listed).stdout, lambda text: "198.51.100.3" in text)


def test_it_follows_the_nodes_and_goes_with_the_tunnels(nodes: Racks) -> None:
    """The last of this module's: it takes the tunnels away."""

    def guard() -> str:
        return run_in(nodes.paths["n1"], "nft", "list", "table", "inet", NAME).stdout

    assert "192.0.2.1" not in guard().replace("192.0.2.1/", "")
    nodes.write_nodes({**ADDRESSES, "n4": ("192.0.2.44",)})
    eventually(guard, lambda text: "192.0.2.44" in text)
    nodes.write_nodes(ADDRESSES)
    eventually(guard, lambda text: "192.0.2.44" not in text)

    nodes.set_mode("direct")

    eventually(guard, lambda text: not text)
