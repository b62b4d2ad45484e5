"""A client that keeps its port, a node with our table, pods behind it, and what conntrack has of them."""

import asyncio
import select
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from msgspec.structs import replace

from kubeproxy.family_proxier import FamilyProxier
from kubeproxy.flows.flow_cleaner import FlowCleaner
from kubeproxy.proxier import Proxier
from kubeproxy.rules.layout import TABLE
from nodeplane.datapath import netns
from nodeplane.datapath.conntrack.table import KernelConntrack
from nodeplane.datapath.nft.expr import Family
from nodeplane.datapath.nft.kernel import KernelTable
from nodeplane.datapath.routing import KernelRouting
from nodeplane.kube.objects import EndpointPort, EndpointSlice, Object, ObjectKey, Service, ServicePort
from nodeplane.kube.store import diff_objects
from tests.kubeproxy.objects import DRAINING, READY, endpoint, endpoint_slice, service
from tests.netns_fixture import namespace, run_in

DNS = ServicePort(port=53, name="dns", protocol="UDP", node_port=30053)
HTTP = ServicePort(port=80, name="http", node_port=30080)
BACKING = (EndpointPort("dns", "UDP", 5353), EndpointPort("http", "TCP", 8080))

# The pods' namespace also has the services' addresses: what is not translated is answered by "nobody".
ADDRESSES: dict[Family, dict[str, str]] = {
    "ip": {
        "client": "192.0.2.2",
        "node": "192.0.2.1",
        "gateway": "10.244.0.254",
        "pod 1": "10.244.0.1",
        "pod 2": "10.244.0.2",
        "vip": "10.96.0.10",
        "other vip": "10.96.0.11",
    },
    "ip6": {
        "client": "2001:db8::2",
        "node": "2001:db8::1",
        "gateway": "fd44::fe",
        "pod 1": "fd44::1",
        "pod 2": "fd44::2",
        "vip": "fd96::10",
        "other vip": "fd96::11",
    },
}
BITS: dict[Family, tuple[int, int]] = {"ip": (24, 32), "ip6": (64, 128)}
TYPES: dict[Family, str] = {"ip": "IPv4", "ip6": "IPv6"}
SERVICES: dict[Family, str] = {"ip": "10.96.0.0/16", "ip6": "fd96::/112"}

_SETTINGS = {
    "ipv4/ip_forward": "1",
    "ipv6/conf/all/forwarding": "1",
    # A refusal that the limit swallows looks like a lost packet.
    "ipv4/icmp_ratelimit": "0",
    "ipv6/icmp/ratelimit": "0",
    # A link-local address that is still looked for twice can't ask for neighbours.
    "ipv6/conf/default/accept_dad": "0",
}


def dns(family: Family, name: str = "dns", vip: str = "vip", *, has_node_ports: bool = True) -> Service:
    ports = (DNS, HTTP) if has_node_ports else (replace(DNS, node_port=None), replace(HTTP, node_port=None))
    return service(name, ADDRESSES[family][vip], ports=ports)


def local(item: Service) -> Service:
    return replace(item, spec=replace(item.spec, external_traffic_policy="Local"))


class Net:
    """A client, a node and pods in three namespaces, and the proxier with its cleaner in the node's."""

    def __init__(self, family: Family, stack: ExitStack, *, terminate_removed: bool) -> None:
        self.family: Family = family
        self.addresses = ADDRESSES[family]
        self._stack = stack
        self.client_ns = stack.enter_context(namespace("client"))
        self.node_ns = stack.enter_context(namespace("node"))
        self._pods_ns = stack.enter_context(namespace("pods"))
        self._wire()
        self._servers: dict[socket.socket, str] = {}
        for name, port in (("pod 1", 5353), ("pod 2", 5353), ("vip", 53), ("other vip", 53)):
            self._serve(self._pods_ns, name, port, name if name.startswith("pod") else "nobody")
        self._objects: dict[ObjectKey, Object] = {}
        with netns.inside(self.node_ns):
            table = stack.enter_context(KernelTable(family, TABLE))
            self._family_proxier = FamilyProxier(family, table)
            self._proxier = Proxier("n1", [self._family_proxier])
            conntrack = stack.enter_context(KernelConntrack())
            routing = stack.enter_context(KernelRouting())
            self._cleaner = FlowCleaner(family, conntrack, routing, terminate_removed=terminate_removed)
        self._is_first = True

    def _wire(self) -> None:
        a, (bits, _) = self.addresses, BITS[self.family]
        flag = "-4" if self.family == "ip" else "-6"
        plain = "" if self.family == "ip" else "nodad"
        lines = {
            self.node_ns: [
                f"link add c0 type veth peer name eth0 netns {self.client_ns.name}",
                f"link add p0 type veth peer name eth0 netns {self._pods_ns.name}",
                *(f"link set {link} up" for link in ("c0", "p0")),
                f"addr add {a['node']}/{bits} dev c0 {plain}",
                f"addr add {a['gateway']}/{bits} dev p0 {plain}",
                f"route add {SERVICES[self.family]} via {a['pod 1']}",
            ],
            self.client_ns: [
                "link set eth0 up",
                f"addr add {a['client']}/{bits} dev eth0 {plain}",
                f"route add default via {a['node']}",
            ],
            self._pods_ns: [
                "link set eth0 up",
                *(f"addr add {a[pod]}/{bits} dev eth0 {plain}" for pod in ("pod 1", "pod 2")),
                *(f"addr add {a[vip]}/{BITS[self.family][1]} dev lo {plain}" for vip in ("vip", "other vip")),
                f"route add default via {a['gateway']}",
            ],
        }
        for ns in lines:
            with netns.inside(ns):
                for name, value in _SETTINGS.items():
                    Path("/proc/sys/net", name).write_text(value)
        for ns, commands in lines.items():
            done = run_in(ns, "ip", flag, "-batch", "-", stdin="\n".join(commands))
            assert done.returncode == 0, done.stderr

    def _socket(self, ns: Path, kind: int = socket.SOCK_DGRAM) -> socket.socket:
        family = socket.AF_INET if self.family == "ip" else socket.AF_INET6
        with netns.inside(ns):
            return self._stack.enter_context(socket.socket(family, kind))

    def _serve(self, ns: Path, address: str, port: int, name: str) -> None:
        server = self._socket(ns)
        server.bind((self.addresses[address], port))
        self._servers[server] = name

    def serve_on_node(self, port: int) -> None:
        """Answer as a process of the node's own."""
        self._serve(self.node_ns, "node", port, "the node's own")

    def udp_client(self, address: str = "vip", port: int = 53) -> Callable[[], str]:
        """Return a function that sends with one source port and says who answered."""
        client = self._socket(self.client_ns)
        client.connect((self.addresses[address], port))

        def ask() -> str:
            client.send(b"?")
            ready, _, _ = select.select([client, *self._servers], [], [], 20)
            assert ready, "the packet is lost"
            if ready == [client]:
                with pytest.raises(ConnectionRefusedError):
                    client.recv(100)
                return "refused"
            (server,) = ready
            _, sender = server.recvfrom(100)
            server.sendto(b"!", sender)
            client.settimeout(20)
            assert client.recv(100) == b"!"
            return self._servers[server]

        return ask

    def listen(self, pod: str) -> socket.socket:
        """Take TCP connections at a pod."""
        server = self._socket(self._pods_ns, socket.SOCK_STREAM)
        server.bind((self.addresses[pod], 8080))
        server.listen()
        return server

    def tcp_client(self, address: str = "vip", port: int = 80) -> socket.socket:
        """Connect from the client."""
        client = self._socket(self.client_ns, socket.SOCK_STREAM)
        client.settimeout(20)
        client.connect((self.addresses[address], port))
        return client

    def pods(self, *pods: str, draining: str = "", of: str = "dns") -> EndpointSlice:
        """Return a slice of pods; pod 1 is on this node, pod 2 on another."""
        return endpoint_slice(
            *(
                endpoint(
                    self.addresses[pod],
                    DRAINING if pod == draining else READY,
                    "n1" if pod == "pod 1" else "n2",
                )
                for pod in pods
            ),
            name=f"{of}-1",
            of=of,
            family=TYPES[self.family],
            ports=BACKING,
        )

    def show(self, *items: Object) -> int:
        """Let these be all objects; return how many flows went."""
        now = {item.key: item for item in items}
        self._proxier.take(diff_objects(self._objects, now))
        self._objects = now
        self._proxier.sync(full=self._is_first)
        self._is_first = False
        return asyncio.run(self._cleaner.clean(self._family_proxier.desired)).deleted

    def tracked(self) -> list[str]:
        """Return what `conntrack` says about translated UDP flows, their ids included."""
        family = "ipv4" if self.family == "ip" else "ipv6"
        done = run_in(self.node_ns, "conntrack", "-L", "-f", family, "-p", "udp", "-o", "id")
        assert done.returncode == 0, done.stderr
        return sorted(done.stdout.splitlines())


def another(pod: str) -> str:
    return {"pod 1": "pod 2", "pod 2": "pod 1"}[pod]


def ids(lines: list[str], *parts: str) -> set[str]:
    """Return the ids of the listed flows whose lines hold all parts."""
    return {line.rpartition("id=")[2] for line in lines if all(part in line for part in parts)}
