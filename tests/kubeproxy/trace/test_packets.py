"""What `trace` says, and what real packets do: they agree.

client ── node ── pod-a         node: 10.1.N.1 and fd00:1:N::1 toward each; the rest …2 and …::2
             └─── pod-b         pod-a and the node are endpoints on this node, pod-b one on another
"""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kubeproxy.family_proxier import FamilyProxier
from kubeproxy.proxier import Proxier
from kubeproxy.rules.addresses import FAMILIES
from kubeproxy.rules.layout import TABLE
from kubeproxy.rules.rule_options import RuleOptions, SourceNetwork
from kubeproxy.trace.packet import Packet
from kubeproxy.trace.result import Trace
from kubeproxy.trace.walk import trace
from nodeplane.datapath import netns
from nodeplane.datapath.nft.kernel import KernelTable
from nodeplane.datapath.routing import KernelRouting
from nodeplane.kube.objects import EndpointPort, EndpointSlice, Service, ServicePort
from tests.kubeproxy.matrix.echo import FAMILY, Place, echoing
from tests.kubeproxy.objects import additions, endpoint, endpoint_slice, service
from tests.netns_fixture import namespace, run_in

pytestmark = pytest.mark.netns

SITES = {"client": 1, "pod-a": 2, "pod-b": 3}
KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
SERVICES = {"web": 1, "empty": 2, "here": 3, "away": 4, "sticky": 5, "by-source": 6, "by-flow": 7, "host": 8}
OUTSIDE = 100
"""Added to a service's number, the last part of its external address; its node port is 30000 + the number."""

Answer = tuple[str, str] | str
"""Who answered and the source that it saw, or what came instead."""


def address(site: str, version: int, *, end: int = 2) -> str:
    """Return a site's address, or with `end=1` the node's toward it; the node's own is toward the client."""
    if site == "node":
        site, end = "client", 1
    number = SITES[site]
    return f"10.1.{number}.{end}" if version == 4 else f"fd00:1:{number}::{end}"


def vip(name: str, version: int, plus: int = 0) -> str:
    number = SERVICES[name] + plus
    return f"10.96.0.{number}" if version == 4 else f"fd00:96::{number}"


def build_service(name: str, **spec: Any) -> Service:
    """Build a Service of both families that is published everywhere."""
    number = SERVICES[name]
    ports = (
        ServicePort(port=80, name="tcp", node_port=30000 + number),
        ServicePort(port=80, name="udp", protocol="UDP", node_port=30000 + number),
    )
    built = service(name, vip(name, 4), vip(name, 6), ports=ports)
    external = (vip(name, 4, OUTSIDE), vip(name, 6, OUTSIDE))
    annotations = spec.pop("annotations", None)
    return msgspec.structs.replace(
        built,
        metadata=msgspec.structs.replace(built.metadata, annotations=annotations),
        spec=msgspec.structs.replace(built.spec, type="NodePort", raw_external_ips=external, **spec),
    )


def build_slices(name: str, pods: tuple[str, ...]) -> list[EndpointSlice]:
    backing = (EndpointPort("tcp", "TCP", 8080), EndpointPort("udp", "UDP", 8080))
    nodes = {"pod-a": "n1", "pod-b": "n2", "node": "n1"}
    return [
        endpoint_slice(
            *(endpoint(address(pod, version), node=nodes[pod]) for pod in pods),
            name=f"{name}-{version}",
            of=name,
            family=f"IPv{version}",
            ports=backing,
        )
        for version in (4, 6)
    ]


@pytest.fixture(scope="module")
def sites() -> Iterator[dict[str, Path]]:
    """Build the namespaces, program the services, and let both pods answer with their names."""
    with ExitStack() as stack:
        sites = {name: stack.enter_context(namespace(name)) for name in ("node", *SITES)}
        run_all(
            sites["node"],
            "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.icmp_ratelimit=0",
            "sysctl -qw net.ipv6.icmp.ratelimit=0",
        )
        for name in SITES:
            run_all(
                sites["node"],
                f"ip link add {name} type veth peer name eth0 netns {sites[name].name}",
                f"ip link set {name} up",
                f"ip address add {address(name, 4, end=1)}/24 dev {name}",
                f"ip address add {address(name, 6, end=1)}/64 dev {name} nodad",
            )
            run_all(
                sites[name],
                "ip link set eth0 up",
                f"ip address add {address(name, 4)}/24 dev eth0",
                f"ip address add {address(name, 6)}/64 dev eth0 nodad",
                f"ip route add default via {address(name, 4, end=1)}",
                f"ip -6 route add default via {address(name, 6, end=1)}",
            )
        run_all(sites["node"], "ip route add default via 10.1.1.2", "ip -6 route add default via fd00:1:1::2")
        for name in ("pod-a", "pod-b", "node"):
            places = [Place(name, sites[name], version, address(name, version)) for version in (4, 6)]
            stack.enter_context(echoing(places))
        with netns.inside(sites["node"]):
            edges = {family: stack.enter_context(KernelTable(family, TABLE)) for family in FAMILIES}
        options = {
            "ip": RuleOptions(local_detector=SourceNetwork(ip_network("10.1.2.0/23"))),
            "ip6": RuleOptions(local_detector=SourceNetwork(ip_network("fd00:1:2::/47"))),
        }
        proxier = Proxier(
            "n1", [FamilyProxier(family, edge, options[family]) for family, edge in edges.items()]
        )
        both = ("pod-a", "pod-b")
        proxier.take(
            additions(
                build_service("web"),
                *build_slices("web", both),
                build_service("empty"),
                build_service("here", external_traffic_policy="Local"),
                *build_slices("here", both),
                build_service("away", external_traffic_policy="Local"),
                *build_slices("away", ("pod-b",)),
                build_service("sticky", session_affinity="ClientIP"),
                *build_slices("sticky", both),
                build_service("by-source", annotations={"nodeplane.io/lb": "source-hash"}),
                *build_slices("by-source", both),
                build_service("by-flow", annotations={"nodeplane.io/lb": "maglev"}),
                *build_slices("by-flow", both),
                build_service("host"),
                *build_slices("host", ("node", "pod-b")),
            )
        )
        proxier.sync(full=True)
        yield sites


def run_all(ns: Path, *commands: str) -> None:
    for command in commands:
        done = run_in(ns, *command.split())
        assert done.returncode == 0, (command, done.stderr)


def ask(
    ns: Path, protocol: str, host: str, port: int, *, source_port: int = 0, patience_s: float = 20
) -> Answer:
    """Open one connection, or send one datagram, and return what comes of it."""
    family = FAMILY[ip_address(host).version]
    with netns.inside(ns), socket.socket(family, KINDS[protocol]) as client:
        client.settimeout(patience_s)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if source_port:
            client.bind(("", source_port))
        try:
            client.connect((host, port))
            if protocol == "udp":
                client.send(b"?")
            name, source = client.recv(64).decode().split()
        except ConnectionRefusedError:
            return "refused"
        except PermissionError:
            # On our own way out a refusal and a drop are EPERM for a datagram; only the first says more.
            return "refused" if client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) else "dropped"
        except TimeoutError:
            return "dropped"
        return name, source


def ask_all(ns: Path, protocol: str, host: str, port: int, expected: set[Answer]) -> set[Answer]:
    """Open connections until all that is expected has come, or something else, or that takes too long."""
    seen: set[Answer] = set()
    # Of two endpoints each is missed in a hundred connections once in 10^30 times.
    for _ in range(100):
        seen.add(ask(ns, protocol, host, port))
        if seen >= expected:
            break
    return seen


def predict(
    sites: dict[str, Path], site: str, protocol: str, host: str, port: int, *, source_port: int | None = None
) -> Trace:
    """Ask the walker, about what the kernel holds now."""
    version = ip_address(host).version
    link = None if site == "node" else site
    packet = Packet(ip_address(address(site, version)), protocol, ip_address(host), port, source_port, link)
    with netns.inside(sites["node"]), KernelTable(packet.family, TABLE) as table, KernelRouting() as routing:
        listing = table.read_listing()
        assert listing is not None
        return trace(listing, packet, routing)


def answers_of(told: Trace) -> set[Answer]:
    """Say which answers a trace allows."""
    assert sum(outcome.probability for outcome in told.outcomes) == 1
    names = {address(pod, version): pod for pod in ("pod-a", "pod-b", "node") for version in (4, 6)}
    words = {"reset": "refused", "unreachable": "refused", "drop": "dropped"}
    return {
        (names[str(outcome.address)], str(outcome.source))
        if outcome.kind == "endpoint"
        else words[outcome.kind]
        for outcome in told.outcomes
    }


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("site", ["client", "node", "pod-a"])
@pytest.mark.parametrize(
    ("name", "door"),
    [
        *(("web", "cluster"), ("web", "external"), ("web", "node")),
        *(("here", "external"), ("here", "node")),
        *(("host", "cluster"), ("host", "external"), ("host", "node")),
    ],
)
def test_who_answers(
    sites: dict[str, Path], *, name: str, door: str, site: str, protocol: str, version: int
) -> None:
    """The endpoints that answer, and the sources that they see, are those that were foretold."""
    host = {
        "cluster": vip(name, version),
        "external": vip(name, version, OUTSIDE),
        "node": address("node", version),
    }[door]
    port = 30000 + SERVICES[name] if door == "node" else 80
    expected = answers_of(predict(sites, site, protocol, host, port))

    assert ask_all(sites[site], protocol, host, port, expected) == expected


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("site", "host", "port", "protocol"),
    [
        pytest.param("client", "empty", 80, "tcp", id="no endpoint"),
        pytest.param("node", "empty", 80, "tcp", id="no endpoint, from the node"),
        pytest.param("pod-a", "empty", 80, "udp", id="no endpoint, UDP"),
        pytest.param("client", "web", 81, "tcp", id="unknown port"),
        pytest.param("client", "web", 81, "udp", id="unknown port, UDP"),
    ],
)
def test_refused(
    sites: dict[str, Path], *, site: str, host: str, port: int, protocol: str, version: int
) -> None:
    """Refusals are foretold."""
    target = vip(host, version)
    assert answers_of(predict(sites, site, protocol, target, port)) == {"refused"}
    assert ask(sites[site], protocol, target, port) == "refused"


@pytest.mark.parametrize("version", [4, 6])
def test_dropped(sites: dict[str, Path], version: int) -> None:
    """Under policy Local a client from outside finds silence, the node and its pods another's endpoint."""
    target = vip("away", version, OUTSIDE)
    told = predict(sites, "client", "tcp", target, 80)

    assert [(outcome.kind, outcome.reason) for outcome in told.outcomes] == [
        ("drop", "policy Local, and no endpoint on this node")
    ]
    assert ask(sites["client"], "tcp", target, 80, patience_s=0.5) == "dropped"
    for site in ("node", "pod-a"):
        expected = answers_of(predict(sites, site, "tcp", target, 80))
        assert {ask(sites[site], "tcp", target, 80)} == expected


@pytest.mark.parametrize("version", [4, 6])
def test_hairpin(sites: dict[str, Path], version: int) -> None:
    """Who is led to itself is told so, and nobody else."""
    told = predict(sites, "pod-a", "tcp", vip("web", version), 80)

    assert {outcome.is_hairpin: outcome.endpoint for outcome in told.outcomes} == {
        True: f"{address('pod-a', 4)}:8080" if version == 4 else f"[{address('pod-a', 6)}]:8080",
        False: f"{address('pod-b', 4)}:8080" if version == 4 else f"[{address('pod-b', 6)}]:8080",
    }
    assert all(outcome.is_masqueraded == outcome.is_hairpin for outcome in told.outcomes)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("site", ["client", "pod-a"])
def test_affinity(sites: dict[str, Path], site: str, version: int) -> None:
    """A new client may get any endpoint and will be remembered; one that is known gets its own."""
    target = vip("sticky", version)
    before = predict(sites, site, "tcp", target, 80)
    first = ask(sites[site], "tcp", target, 80)
    after = predict(sites, site, "tcp", target, 80)

    assert len(before.endpoints) == 2
    assert first in answers_of(before)
    assert {outcome.remembered_s for outcome in before.outcomes} == {10800.0}
    assert answers_of(after) == {first}
    assert any("s left" in text for step in after.steps for text in step.found)
    assert {ask(sites[site], "tcp", target, 80) for _ in range(10)} == {first}


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("site", ["client", "node", "pod-a"])
def test_source_hash(sites: dict[str, Path], site: str, version: int) -> None:
    """The hash of a client is known, so its endpoint is."""
    target = vip("by-source", version)
    expected = answers_of(predict(sites, site, "tcp", target, 80))

    assert len(expected) == 1
    assert {ask(sites[site], "tcp", target, 80) for _ in range(5)} == expected


@pytest.mark.parametrize("version", [4, 6])
def test_flow_hash(sites: dict[str, Path], version: int) -> None:
    """With the client's port its endpoint is known, without it any may be the one."""
    target = vip("by-flow", version)
    anything = answers_of(predict(sites, "client", "tcp", target, 80))
    expected, seen = [], []
    for source_port in range(20001, 20025):
        expected.append(answers_of(predict(sites, "client", "tcp", target, 80, source_port=source_port)))
        seen.append({ask(sites["client"], "tcp", target, 80, source_port=source_port)})

    assert len(anything) == 2
    assert seen == expected
    assert set.union(*seen) == anything


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        pytest.param("ip daddr 10.96.0.1 tcp dport 80 drop", {"drop"}, id="dropped"),
        pytest.param("ip daddr != 10.96.0.1 drop", {"endpoint"}, id="no match"),
        pytest.param("ip saddr { 10.1.0.0/24, 10.1.1.0/24 } reject", {"unreachable"}, id="a set of ranges"),
        pytest.param("ip saddr { 10.1.0.0/24, 10.1.2.0/24 } reject", {"endpoint"}, id="other ranges"),
        pytest.param("tcp dport 80 quota over 1 mbytes drop", {"unclear"}, id="a rule that is not read"),
        pytest.param("ip daddr 10.96.0.1 tcp dport 80 dnat to 10.1.3.2:8080", {"endpoint"}, id="elsewhere"),
        pytest.param("numgen random mod 2 vmap { 0 : drop, 1 : continue }", {"drop", "endpoint"}, id="half"),
    ],
)
def test_damaged_table(sites: dict[str, Path], rule: str, expected: set[str]) -> None:
    """What somebody else has put into the table counts as much as what is ours."""
    added = run_in(sites["node"], "nft", "-ae", "insert", "rule", "ip", TABLE, "services", *rule.split())
    assert added.returncode == 0, added.stderr
    handle = added.stdout.rpartition("# handle ")[2].strip()
    try:
        told = predict(sites, "client", "tcp", vip("web", 4), 80)
        answer = ask(sites["client"], "tcp", vip("web", 4), 80, patience_s=0.5)
    finally:
        run_all(sites["node"], f"nft delete rule ip {TABLE} services handle {handle}")

    assert {outcome.kind for outcome in told.outcomes} == expected
    if "unclear" not in expected:
        assert answer in answers_of(told)
