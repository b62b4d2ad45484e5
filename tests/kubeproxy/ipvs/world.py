"""A node with a client and two endpoints, each in a namespace of its own, and connections that stay open.

client ── node ─┬─ one        echo servers: each word is answered with the server's name
                └─ two
"""

import selectors
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from kubeproxy.family_proxier import FamilyProxier
from kubeproxy.flows.flow_cleaner import FlowCleaner
from kubeproxy.ipvs.address_link import AddressLink
from kubeproxy.ipvs.balancer import Balancer
from kubeproxy.ipvs.drain import Drain
from kubeproxy.ipvs.family import IpvsFamily
from kubeproxy.ipvs.kernel_settings import apply_settings
from kubeproxy.ipvs.leftover import Leftover
from kubeproxy.proxier import Proxier
from kubeproxy.rules.layout import TABLE
from nodeplane.datapath import netns
from nodeplane.datapath.conntrack.table import KernelConntrack
from nodeplane.datapath.ipvs.service import Timeouts
from nodeplane.datapath.ipvs.table import KernelIpvs
from nodeplane.datapath.nft.kernel import KernelTable
from nodeplane.datapath.routing import KernelRouting
from nodeplane.datapath.rtnl import open_rtnl
from nodeplane.datapath.sysctl import KernelSysctls
from nodeplane.kube.objects import EndpointPort, Object, Protocol, ServicePort
from tests.kubeproxy.objects import endpoint, endpoint_slice, service, service_cidr
from tests.netns_fixture import add_default_route, namespace, run_in, veth_pair

VIP, BALANCER_IP = "10.96.0.1", "198.51.100.7"
CLIENT, NODE = "203.0.113.2", "203.0.113.1"
ADDRESSES = {"one": "10.244.1.2", "two": "10.244.2.2"}
GATEWAYS = {"one": "10.244.1.1", "two": "10.244.2.1"}
PORT, TARGET = 80, 8080
PATIENCE_S = 60


class World:
    """The namespaces, and what programs the node."""

    def __init__(self, paths: dict[str, Path], stack: ExitStack) -> None:
        self.paths = paths
        self.now_s = 0.0
        with netns.inside(paths["node"]):
            self.ipvs = stack.enter_context(KernelIpvs())
            self._rtnl = stack.enter_context(open_rtnl())
            self.table = stack.enter_context(KernelTable("ip", TABLE))
            self._conntrack = stack.enter_context(KernelConntrack())
            self._routing = stack.enter_context(KernelRouting())
            apply_settings(KernelSysctls(), "6.1")
        # So that a connection that was closed is forgotten soon.
        self.ipvs.set_timeouts(Timeouts(0, 2, 0))

    def proxier(self, mode: str = "ipvs") -> Proxier:
        """Build a proxier that knows nothing yet, as a program that starts."""
        cleaner = FlowCleaner("ip", self._conntrack, self._routing)
        if mode == "nftables":
            left = Leftover([self._balancer()], self._link(), clock=lambda: self.now_s)
            return Proxier("n1", [FamilyProxier("ip", self.table, cleaner=cleaner)], leftover=left)
        balancer = self._balancer()
        family = IpvsFamily("ip", self.table, balancer, cleaner=cleaner, clock=lambda: self.now_s)
        return Proxier("n1", [family])

    def ask(self, words: str = "?", *, protocol: int = socket.SOCK_STREAM, client: str = "client") -> str:
        """Open a connection, or send a datagram, and return who answers."""
        with self.connect(protocol=protocol, client=client) as connection:
            return exchange(connection, words)

    def connect(
        self,
        host: str = VIP,
        port: int = PORT,
        *,
        protocol: int = socket.SOCK_STREAM,
        client: str = "client",
    ) -> socket.socket:
        """Open a connection, which stays open."""
        with netns.inside(self.paths[client]):
            connection = socket.socket(socket.AF_INET, protocol)
        connection.settimeout(PATIENCE_S)
        connection.connect((host, port))
        return connection

    def run(self, *command: str) -> str:
        """Run a command on the node and return what it prints."""
        done = run_in(self.paths["node"], *command)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def weights(self) -> dict[str, int]:
        """Return the weights of the real servers of the Service's TCP port, by name."""
        names = {f"{address}:{TARGET}": name for name, address in ADDRESSES.items()}
        lines = [line.split() for line in self.run("ipvsadm", "-Sn").splitlines()]
        return {names[line[4]]: int(line[-1]) for line in lines if line[:3] == ["-a", "-t", f"{VIP}:{PORT}"]}

    def _balancer(self) -> Balancer:
        return Balancer("ip", self.ipvs, self._link(), drain=Drain(100))

    def _link(self) -> AddressLink:
        return AddressLink("ip", self._rtnl)


def exchange(connection: socket.socket, words: str = "?") -> str:
    """Say something on an open connection and return who answers."""
    connection.send(words.encode())
    return connection.recv(64).decode()


def reset(connection: socket.socket) -> None:
    """End a connection at once, so that nothing of it lingers."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def build(*names: str, annotations: dict[str, str] | None = None, **spec: Any) -> list[Object]:
    """Build the Service with some of the endpoints."""
    protocols: tuple[Protocol, ...] = ("TCP", "UDP")
    ports = tuple(ServicePort(PORT, protocol.lower(), protocol) for protocol in protocols)
    targets = tuple(EndpointPort(protocol.lower(), protocol, TARGET) for protocol in protocols)
    return [
        service("web", VIP, ports=ports, annotations=annotations, ingress=(BALANCER_IP,), **spec),
        endpoint_slice(*(endpoint(ADDRESSES[name], pod=name) for name in names), ports=targets),
        service_cidr("kubernetes", "10.96.0.0/16"),
    ]


@contextmanager
def build_world() -> Iterator[World]:
    """Build everything; nothing is programmed yet."""
    with ExitStack() as stack:
        paths = {name: stack.enter_context(namespace(name)) for name in ("node", "client", *ADDRESSES)}
        for name, here, there in (
            ("client", NODE, CLIENT),
            *((name, GATEWAYS[name], ADDRESSES[name]) for name in ADDRESSES),
        ):
            stack.enter_context(
                veth_pair(
                    *(paths["node"], f"to-{name}", paths[name], "eth0"),
                    address_a=f"{here}/24",
                    address_b=f"{there}/24",
                )
            )
            add_default_route(paths[name], here)
        add_default_route(paths["node"], CLIENT)
        stack.enter_context(_servers(paths))
        yield World(paths, stack)


@contextmanager
def _servers(paths: dict[str, Path]) -> Iterator[None]:
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        wake, waker = socket.socketpair()
        stack.enter_context(wake)
        stack.enter_context(waker)
        selector.register(wake, selectors.EVENT_READ)
        for name, address in ADDRESSES.items():
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with netns.inside(paths[name]):
                    server = stack.enter_context(socket.socket(socket.AF_INET, kind))
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                server.bind((address, TARGET))
                if kind == socket.SOCK_STREAM:
                    server.listen(64)
                selector.register(server, selectors.EVENT_READ, name)
        thread = threading.Thread(target=_serve, args=(selector, stack), daemon=True)
        thread.start()
        try:
            yield
        finally:
            waker.send(b"stop")
            thread.join(30)


def _serve(selector: selectors.BaseSelector, stack: ExitStack) -> None:
    while True:
        for key, _ in selector.select():
            if key.data is None:
                return
            assert isinstance(key.fileobj, socket.socket)
            with suppress(OSError):
                _answer(selector, stack, key.fileobj, key.data)


def _answer(selector: selectors.BaseSelector, stack: ExitStack, ready: socket.socket, name: str) -> None:
    if ready.type == socket.SOCK_DGRAM:
        _, peer = ready.recvfrom(64)
        ready.sendto(name.encode(), peer)
    elif ready.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        connection = stack.enter_context(ready.accept()[0])
        selector.register(connection, selectors.EVENT_READ, name)
    elif ready.recv(64):
        ready.send(name.encode())
    else:
        selector.unregister(ready)
        ready.close()
