"""Real connections through the kernel: who answers, and what source the endpoint sees.

client ── node ── pod-a         node: 10.1.N.1 and fd00:1:N::1 toward each; the rest …2 and …::2
             └─── pod-b
"""

import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from kubeproxy.family_proxier import FamilyProxier
from kubeproxy.proxier import Proxier
from kubeproxy.rules.addresses import FAMILIES
from kubeproxy.rules.layout import TABLE
from nodeplane.datapath import netns
from nodeplane.datapath.nft.kernel import KernelTable
from nodeplane.kube.objects import EndpointPort, ServicePort
from tests.kubeproxy.matrix.echo import FAMILY, Place, echoing
from tests.kubeproxy.objects import additions, endpoint, endpoint_slice, service
from tests.netns_fixture import namespace, run_in

pytestmark = pytest.mark.netns

PORTS = (ServicePort(port=80, name="tcp"), ServicePort(port=80, name="udp", protocol="UDP"))
BACKING = (EndpointPort("tcp", "TCP", 8080), EndpointPort("udp", "UDP", 8080))
VIP = {4: "10.96.0.10", 6: "fd00:96::10"}
EMPTY_VIP = {4: "10.96.0.11", 6: "fd00:96::11"}
SITES = {"client": 1, "pod-a": 2, "pod-b": 3}
KINDS = {"TCP": socket.SOCK_STREAM, "UDP": socket.SOCK_DGRAM}


def address(site: str, version: int, *, end: int = 2) -> str:
    number = SITES[site]
    return f"10.1.{number}.{end}" if version == 4 else f"fd00:1:{number}::{end}"


@pytest.fixture(scope="module")
def sites() -> Iterator[dict[str, Path]]:
    """Build the namespaces, program the services, and let both pods answer with their names."""
    with ExitStack() as stack:
        sites = {name: stack.enter_context(namespace(name)) for name in ("node", *SITES)}
        node = sites["node"]
        commands = [
            "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.icmp_ratelimit=0",
            "sysctl -qw net.ipv6.icmp.ratelimit=0",
        ]
        for name in SITES:
            commands += [
                f"ip link add {name} type veth peer name eth0 netns {sites[name].name}",
                f"ip link set {name} up",
                f"ip address add {address(name, 4, end=1)}/24 dev {name}",
                f"ip address add {address(name, 6, end=1)}/64 dev {name} nodad",
            ]
        # Only so that the node's own connections to a VIP find a route at all.
        commands += ["ip route add default via 10.1.1.2", "ip -6 route add default via fd00:1:1::2"]
        for command in commands:
            _run(node, command)
        for name in SITES:
            for command in (
                "ip link set eth0 up",
                f"ip address add {address(name, 4)}/24 dev eth0",
                f"ip address add {address(name, 6)}/64 dev eth0 nodad",
                f"ip route add default via {address(name, 4, end=1)}",
                f"ip -6 route add default via {address(name, 6, end=1)}",
            ):
                _run(sites[name], command)
        for name in ("pod-a", "pod-b"):
            places = [Place(name, sites[name], version, address(name, version)) for version in (4, 6)]
            stack.enter_context(echoing(places))
        with netns.inside(node):
            edges = {family: stack.enter_context(KernelTable(family, TABLE)) for family in FAMILIES}
        proxier = Proxier("n1", [FamilyProxier(family, edge) for family, edge in edges.items()])
        pods = ("pod-a", "pod-b")
        proxier.take(
            additions(
                service("web", VIP[4], VIP[6], ports=PORTS),
                endpoint_slice(*(endpoint(address(pod, 4)) for pod in pods), ports=BACKING),
                endpoint_slice(
                    *(endpoint(address(pod, 6)) for pod in pods), ports=BACKING, name="web-6", family="IPv6"
                ),
                service("empty", EMPTY_VIP[4], EMPTY_VIP[6], ports=PORTS),
            )
        )
        proxier.sync(full=True)
        yield sites


def _run(ns: Path, command: str) -> None:
    done = run_in(ns, *command.split())
    assert done.returncode == 0, (command, done.stderr)


def _run_nft(ns: Path, command: str) -> None:
    done = run_in(ns, "nft", command)
    assert done.returncode == 0, (command, done.stderr)


def ask(ns: Path, protocol: str, host: str, version: int) -> tuple[str, str]:
    """Open one connection, or send one datagram, and return (who answered, the source it saw)."""
    with netns.inside(ns), socket.socket(FAMILY[version], KINDS[protocol]) as client:
        client.settimeout(20)
        client.connect((host, 80))
        if protocol == "UDP":
            # Refused on our own output path, send() fails with EPERM at once; the ICMP error waits behind it.
            with suppress(PermissionError):
                client.send(b"?")
        name, source = client.recv(64).decode().split()
        return name, source


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
@pytest.mark.parametrize("site", ["client", "node", "pod-a"])
def test_service_answers(sites: dict[str, Path], site: str, protocol: str, version: int) -> None:
    """Both endpoints answer, and see the client's address; a pod that reaches itself is masqueraded."""
    answers = Counter(ask(sites[site], protocol, VIP[version], version) for _ in range(40))

    sources = {
        "client": {"pod-a": address("client", version), "pod-b": address("client", version)},
        # The node's own connection is routed before it is translated: it has the default route's address.
        "node": dict.fromkeys(("pod-a", "pod-b"), address("client", version, end=1)),
        "pod-a": {"pod-a": address("pod-a", version, end=1), "pod-b": address("pod-a", version)},
    }
    assert set(answers) == set(sources[site].items())


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
@pytest.mark.parametrize("site", ["client", "node", "pod-a"])
def test_service_without_endpoints_refuses(
    sites: dict[str, Path], site: str, protocol: str, version: int
) -> None:
    """The client learns at once, by a reset or by ICMP port unreachable."""
    with pytest.raises(ConnectionRefusedError):
        ask(sites[site], protocol, EMPTY_VIP[version], version)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_node_without_default_route(sites: dict[str, Path], protocol: str, version: int) -> None:
    """For what it forwards, a node needs no route toward service addresses: not even to refuse."""
    flag = "-4" if version == 4 else "-6"
    via = address("client", version)
    _run(sites["node"], f"ip {flag} route delete default via {via}")
    try:
        assert ask(sites["client"], protocol, VIP[version], version)[1] == via
        with pytest.raises(ConnectionRefusedError):
            ask(sites["client"], protocol, EMPTY_VIP[version], version)
    finally:
        _run(sites["node"], f"ip {flag} route add default via {via}")


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("site", ["client", "node"])
def test_pool_does_not_reach_queues(sites: dict[str, Path], site: str, version: int) -> None:
    """A packet that leaves the node has no pool in its priority any more."""
    family = {4: "ip", 6: "ip6"}[version]
    chain = "type filter hook postrouting priority 300; meta priority != none counter"
    _run_nft(sites["node"], f"table {family} probe {{ chain last {{ {chain}; }}; }}")
    try:
        for _ in range(10):
            ask(sites[site], "TCP", VIP[version], version)
        listing = run_in(sites["node"], "nft", "list", "table", family, "probe").stdout
    finally:
        _run_nft(sites["node"], f"delete table {family} probe")

    assert "packets 0 " in listing


@pytest.mark.parametrize("version", [4, 6])
def test_direct_connections_are_untouched(sites: dict[str, Path], version: int) -> None:
    """Traffic to an endpoint's own address is not ours."""
    with netns.inside(sites["client"]), socket.socket(FAMILY[version]) as client:
        client.settimeout(20)
        client.connect((address("pod-a", version), 8080))

        assert client.recv(64).decode() == f"pod-a {address('client', version)}"
