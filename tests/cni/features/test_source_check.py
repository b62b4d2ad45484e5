"""What a pod may send as, with packets that are really sent: who gets them, what is dropped and counted."""

import json
import socket
from collections.abc import Iterator
from functools import partial
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import ICMPv6MLReport2, ICMPv6ND_NS, ICMPv6ND_RS, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from cni.attachment import Attachment
from cni.features.feature import all_elements
from cni.features.node_table import NODE_TABLE
from cni.features.source_check import elements_of
from cni.features.source_rules import LINKS
from cni.features.source_state import Sender, list_names, read_loose, read_senders, write_sender
from cni.wiring.plan import link_local
from nodeplane.datapath import netns
from nodeplane.datapath.nft.kernel import KernelTable
from nodeplane.datapath.rtnl import open_rtnl
from nodeplane.datapath.sysctl import KernelSysctls
from tests.cni.conftest import WAYS, Answer
from tests.cni.features.test_host_ports_upkeep import running
from tests.cni.host_port_world import World, world
from tests.netns_fixture import answers, eventually, run_in

pytestmark = pytest.mark.netns

GATEWAY_MAC, FOREIGN_MAC = "ee:ee:ee:ee:ee:ee", "02:00:00:00:00:99"
FOREIGN = {4: "203.0.113.9", 6: "2001:db8:bad::9"}
ALLOWED = {4: "198.51.100.7", 6: "2001:db8:a::7"}
PREFIXES = json.dumps(["198.51.100.0/24", "198.51.100.128/25", "2001:db8:a::/64"])
ANNOTATED = {
    "runtimeConfig": {
        "io.kubernetes.cri.pod-annotations": {"cni.projectcalico.org/allowedSourcePrefixes": PREFIXES}
    }
}
LINK = Attachment("c1", "eth0", None, "default", "c1").host_link
PORT = 4242
NOWHERE = str(IPv4Address(0))


@pytest.fixture
def there(node: Any) -> Iterator[World]:
    with world(node) as built:
        yield built


@pytest.fixture
def way(request: pytest.FixtureRequest) -> str:
    kind: str = getattr(request, "param", WAYS[0])
    return kind


class Sending(NamedTuple):
    """The first pod's link, from which everything is sent, and the second pod, which receives."""

    there: World
    mac: str

    def own(self, version: int) -> str:
        return self.there.addresses["c1"][version]

    def frame(self, version: int, source: str, text: str, mac: str = "") -> Packet:
        """Build a datagram for the second pod."""
        target = self.there.addresses["c2"][version]
        network = IP(src=source, dst=target) if version == 4 else IPv6(src=source, dst=target)
        return Ether(src=mac or self.mac, dst=GATEWAY_MAC) / network / UDP(sport=1, dport=PORT) / Raw(text)

    def send(self, *frames: Packet) -> None:
        with netns.inside(self.there.pods["c1"]):
            sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        with sender:
            sender.bind(("eth0", 0))
            for frame in frames:
                sender.send(bytes(frame))

    def arrived(self, version: int, *frames: Packet) -> list[str]:
        """Send, and return what the second pod gets of it: all that is before a datagram that may pass."""
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        with netns.inside(self.there.pods["c2"]):
            receiver = socket.socket(family, socket.SOCK_DGRAM)
        with receiver:
            receiver.bind(("", PORT))
            receiver.settimeout(30)
            self.send(*frames, self.frame(version, self.own(version), "end"))
            found: list[str] = []
            while (text := receiver.recv(100).decode()) != "end":
                found.append(text)
        return found

    def dropped(self) -> int:
        """Return how many packets of the first pod were dropped."""
        with netns.inside(self.there.node.path), KernelTable("inet", "nodeplane-cni") as table:
            uses = {use.key.rstrip(b"\0").decode(): use.packets for use in table.read_uses(LINKS)}
        return uses[LINK]


def started(there: World, **config: Any) -> Sending:
    """Make both pods, and wait until the first reaches the second."""
    there.add("c1", **config)
    there.add("c2")
    with open_rtnl(there.pods["c1"]) as rtnl:
        sending = Sending(there, rtnl.link("eth0").mac)
    for version in (4, 6):
        # Neighbours are asked for once for all.
        eventually(partial(answers, there.pods["c1"], there.addresses["c2"][version]), bool)
    return sending


@pytest.mark.parametrize("way", WAYS, indirect=True)
def test_own_sources_pass_and_foreign_ones_are_dropped(there: World) -> None:
    sending = started(there)
    assert sending.dropped() == 0

    seen = {}
    for version in (4, 6):
        seen[version] = sending.arrived(
            version,
            sending.frame(version, sending.own(version), "own"),
            sending.frame(version, FOREIGN[version], "foreign address"),
            sending.frame(version, there.addresses["c2"][version], "the other pod's"),
            sending.frame(version, sending.own(version), "foreign MAC", FOREIGN_MAC),
            sending.frame(version, sending.own(version), "gateway's MAC", GATEWAY_MAC),
        )

    assert seen == {4: ["own"], 6: ["own"]}
    assert sending.dropped() == 8
    listing = run_in(there.node.path, "nft", "list", "set", "inet", "nodeplane-cni", LINKS).stdout
    assert f'"{LINK}" counter packets 8' in listing


def test_what_a_pod_says_without_an_address(there: World) -> None:
    """DHCP, detection of duplicates, groups and routers; from the link-local address anything."""
    sending = started(there)
    local = str(link_local(sending.mac))
    head, all_routers = Ether(src=sending.mac, dst=GATEWAY_MAC), "ff02::2"
    dhcp = UDP(sport=68, dport=67)
    sending.send(
        head / IP(src=NOWHERE, dst="255.255.255.255") / dhcp,
        head / IPv6(src="::", dst="ff02::1:ff00:5") / ICMPv6ND_NS(tgt="fe80::5"),
        head / IPv6(src="::", dst="ff02::16") / ICMPv6MLReport2(),
        head / IPv6(src="::", dst=all_routers) / ICMPv6ND_RS(),
        head / IPv6(src=local, dst=all_routers) / ICMPv6ND_RS(),
    )
    sending.arrived(4)
    sending.arrived(6)
    assert sending.dropped() == 0

    other = Ether(src=FOREIGN_MAC, dst=GATEWAY_MAC)
    forged = (
        other / IP(src=NOWHERE, dst="255.255.255.255") / dhcp,
        head / IP(src=NOWHERE, dst="255.255.255.255") / UDP(sport=67, dport=68),
        head / IP(src=NOWHERE, dst=there.addresses["c2"][4]) / UDP(sport=1, dport=PORT),
        other / IPv6(src="::", dst="ff02::1:ff00:5") / ICMPv6ND_NS(tgt="fe80::5"),
        head / IPv6(src="::", dst=there.addresses["c2"][6]) / UDP(sport=1, dport=PORT),
        head / IPv6(src="fe80::5", dst=all_routers) / ICMPv6ND_RS(),
        other / IPv6(src=local, dst=all_routers) / ICMPv6ND_RS(),
    )
    sending.send(*forged)
    assert (sending.arrived(4), sending.arrived(6)) == ([], [])
    assert sending.dropped() == len(forged)


def test_a_forged_arp_leads_nobody_astray(there: World) -> None:
    """The kernel asks for the route back of what ARP says (rp_filter), and has none through this link."""
    sending = started(there)
    victim = there.addresses["c2"][4]
    head = Ether(src=sending.mac, dst="ff:ff:ff:ff:ff:ff")
    sending.send(
        head / ARP(op="is-at", hwsrc=sending.mac, psrc=victim, pdst=victim),
        head / ARP(op="who-has", hwsrc=sending.mac, psrc=victim, pdst="169.254.1.1"),
    )
    sending.arrived(4)

    neighbours = run_in(there.node.path, "ip", "neigh", "show", "dev", LINK).stdout
    assert victim not in neighbours
    assert sending.own(4) in neighbours
    assert answers(there.node.path, victim)


def test_allowed_prefixes(there: World) -> None:
    """Calico's annotation: the kernel's own check is off then, ours holds all other sources."""
    sending = started(there, **ANNOTATED)
    seen = {
        version: sending.arrived(
            version,
            sending.frame(version, ALLOWED[version], "allowed"),
            sending.frame(version, FOREIGN[version], "foreign"),
            sending.frame(version, ALLOWED[version], "allowed, foreign MAC", FOREIGN_MAC),
        )
        for version in (4, 6)
    }

    assert seen == {4: ["allowed"], 6: ["allowed"]}
    assert sending.dropped() == 4
    assert rp_filter(there) == "0"
    result = there.call("ADD", "c1", **ANNOTATED)
    check = {"prevResult": result.body}
    assert there.call("CHECK", "c1", **ANNOTATED, **check) == Answer(0, None)
    # An ADD that allows no more takes it back.
    assert there.call("ADD", "c1").code == 0
    assert {
        version: sending.arrived(version, sending.frame(version, ALLOWED[version], "allowed"))
        for version in (4, 6)
    } == {4: [], 6: []}
    assert rp_filter(there) == "1"


def test_without_the_check(there: World, agent_socket: Path) -> None:
    sending = started(there, sourceCheck=False)

    assert sending.arrived(6, sending.frame(6, FOREIGN[6], "any", FOREIGN_MAC)) == ["any"]
    assert sending.arrived(4, sending.frame(4, FOREIGN[4], "any", FOREIGN_MAC)) == ["any"]
    assert rp_filter(there) == "0"
    assert read_loose(agent_socket.parent) == {LINK}
    # An ADD that asks for it again gets it, and the other way round.
    there.add("c1")
    assert sending.arrived(6, sending.frame(6, FOREIGN[6], "any")) == []
    there.add("c1", sourceCheck=False)
    assert sending.arrived(6, sending.frame(6, FOREIGN[6], "any")) == ["any"]


def rp_filter(there: World) -> str:
    return KernelSysctls(there.node.path).read(f"net.ipv4.conf.{LINK}.rp_filter")


def test_check_names_what_is_missing(there: World) -> None:
    result = there.add("c1")
    previous = {"prevResult": result}
    assert there.call("CHECK", "c1", **previous) == Answer(0, None)

    run_in(there.node.path, "nft", "flush", "set", "inet", "nodeplane-cni", "sources-ip6")

    answer = there.call("CHECK", "c1", **previous)
    assert (answer.code, answer.body["code"]) == (1, 102)
    assert answer.body["details"] == f"set sources-ip6 lacks 3 of 3 elements of {LINK}"
    assert there.call("CHECK", "c1", sourceCheck=False, **previous).body["code"] == 102
    assert there.call("ADD", "c1").body == result
    assert there.call("CHECK", "c1", **previous) == Answer(0, None)


def test_nothing_is_left(there: World, agent_socket: Path) -> None:
    """After a DEL, and after a GC of a pod whose DEL never came."""
    folder = agent_socket.parent
    for container in ("c1", "c2"):
        there.add(container)
    assert len(list_names(folder)) == 2

    assert there.call("DEL", "c1") == Answer(0, None)
    assert [sender.container_id for sender in read_senders(folder)] == ["c2"]
    assert there.call("GC", "c2", **{"cni.dev/valid-attachments": []}) == Answer(0, None)
    assert list_names(folder) == []
    with netns.inside(there.node.path), KernelTable("inet", "nodeplane-cni") as table:
        assert {name: table.read_uses(name) for name in (LINKS, "sources-ip", "sources-ip6")} == {
            LINKS: [],
            "sources-ip": [],
            "sources-ip6": [],
        }


@pytest.mark.parametrize("chosen", [{}, {"mac": "02:00:00:00:00:07"}], ids=["hashed MAC", "the pod's MAC"])
@pytest.mark.parametrize("is_checked", [True, False], ids=["checked", "unchecked"])
def test_a_late_del_leaves_the_next_sandbox_alone(
    there: World, agent_socket: Path, chosen: dict[str, str], is_checked: bool
) -> None:
    """The host's link has the same name: it is the pod's, and what the old one might send as is over."""
    args = "K8S_POD_NAMESPACE=default;K8S_POD_NAME=c1"
    node, folder = there.node, agent_socket.parent
    runtime = {"runtimeConfig": chosen}
    node.add(there.pods["c1"], container="old", args=args, config=runtime)
    (former,) = read_senders(folder)
    new = node.add(
        there.pods["c2"], container="new", args=args, config={**runtime, "sourceCheck": is_checked}
    )
    address = new["ips"][0]["address"].partition("/")[0]
    assert answers(node.path, address)
    # As a node has it that was updated meanwhile.
    write_sender(folder, former)

    assert node.call("DEL", "", container="old", args=args) == Answer(0, None)

    (sender,) = read_senders(folder)
    assert sender.container_id == "new"
    wanted = elements_of(sender)
    with netns.inside(node.path), KernelTable("inet", "nodeplane-cni") as table:
        found = {name: {use.key for use in table.read_uses(name)} for name in (LINKS, "sources-ip")}
    assert found == {name: set(wanted.get(name, ())) for name in found}
    assert answers(node.path, address)


def test_what_a_wipe_takes_is_known(there: World, agent_socket: Path) -> None:
    """For the agent, and for whoever makes the table again; links that are gone are left out."""
    sending = started(there)
    run_in(there.node.path, "nft", "delete", "table", "inet", "nodeplane-cni")
    assert sending.arrived(6, sending.frame(6, FOREIGN[6], "foreign")) == ["foreign"]

    with netns.inside(there.node.path):
        known = all_elements(agent_socket.parent)
    assert {key.rstrip(b"\0").decode() for key in known[LINKS]} == there.node.links()
    # Another pod's ADD makes the table, and with it all that was there.
    assert there.call("ADD", "c2").code == 0
    assert sending.arrived(6, sending.frame(6, FOREIGN[6], "foreign")) == []

    with open_rtnl(there.node.path) as rtnl:
        rtnl.delete_link(LINK)
    with netns.inside(there.node.path):
        assert len(all_elements(agent_socket.parent)[LINKS]) == 1


def sources(there: World) -> dict[str, dict[bytes, bytes]]:
    """Return the elements of the check, nothing while the table is not whole."""
    state = there.table()
    if state is None or not state.holds(NODE_TABLE):
        return {}
    return {name: part for name, part in state.elements.items() if name.startswith("source") and part}


@pytest.mark.parametrize(
    "damage",
    ["flush ruleset", f"flush set inet nodeplane-cni {LINKS}", "flush chain inet nodeplane-cni source-check"],
    ids=["all", "the links", "the rules"],
)
def test_the_agent_puts_it_back(there: World, tmp_path: Path, damage: str) -> None:
    """Without any call."""
    sending = started(there, **ANNOTATED)
    with running(there, tmp_path):
        before = eventually(partial(sources, there), lambda found: LINKS in found)
        run_in(there.node.path, "nft", *damage.split())
        eventually(partial(sources, there), lambda found: found == before)
        frames = sending.frame(6, FOREIGN[6], "foreign"), sending.frame(6, ALLOWED[6], "allowed")
        assert sending.arrived(6, *frames) == ["allowed"]
        # The agent's look at the link leaves a looser one loose.
        assert rp_filter(there) == "0"


def test_prefixes_that_are_none(there: World) -> None:
    annotation = {"cni.projectcalico.org/allowedSourcePrefixes": "10.0.0.0/8"}
    answer = there.call("ADD", "c1", runtimeConfig={"io.kubernetes.cri.pod-annotations": annotation})

    assert (answer.code, answer.body["code"]) == (1, 7)
    assert "allowedSourcePrefixes: expected a JSON list of prefixes" in json.dumps(answer.body)
    assert there.node.links() == set()


def test_elements_of_a_sender() -> None:
    sender = Sender("c1", "eth0", "net", "npl1", "02:00:00:00:00:07", ("10.0.0.5",), ("10.9.0.0/16",))
    name, mac = b"npl1".ljust(16, b"\0"), bytes.fromhex("0200000000070000")
    ends = ip_address("10.9.0.0").packed, ip_address("10.9.255.255").packed

    assert elements_of(sender) == {
        LINKS: {name: b""},
        "sources-ip": {name + mac + bytes(4): b"", name + mac + ip_address("10.0.0.5").packed: b""},
        "sources-ip6": {
            name + mac + bytes(16): b"",
            name + mac + ip_address("fe80::ff:fe00:7").packed: b"",
        },
        "source-prefixes-ip": {name + mac + ends[0] + name + mac + ends[1]: b""},
    }
