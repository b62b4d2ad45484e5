"""Connections that stay open, in mode ipvs, while endpoints, Services and modes come and go."""

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from typing import Any, get_args

import pytest

from kubeproxy.desired.annotations import Scheduler
from kubeproxy.ipvs.layout import LINK
from kubeproxy.proxier import Proxier
from nodeplane.datapath import netns
from nodeplane.datapath.ipvs.remembered import read_remembered
from nodeplane.kube.objects import ClientIPConfig, Object, SessionAffinityConfig
from nodeplane.kube.store import diff_objects
from tests.kubeproxy.ipvs.world import (
    ADDRESSES,
    BALANCER_IP,
    CLIENT,
    GATEWAYS,
    NODE,
    PORT,
    TARGET,
    VIP,
    World,
    build,
    build_world,
    exchange,
    reset,
)
from tests.kubeproxy.objects import additions
from tests.netns_fixture import eventually

pytestmark = pytest.mark.ipvs

STICKY: dict[str, Any] = {
    "session_affinity": "ClientIP",
    "session_affinity_config": SessionAffinityConfig(ClientIPConfig(600)),
}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with build_world() as built:
        yield built


class Running:
    """A proxier that has been given objects, and is given others."""

    def __init__(self, proxier: Proxier, *items: Object) -> None:
        self.proxier = proxier
        self._items = {item.key: item for item in items}
        proxier.take(additions(*items))
        proxier.sync(full=True)

    def change(self, *items: Object) -> None:
        fresh = {item.key: item for item in items}
        self.proxier.take(diff_objects(self._items, fresh))
        self._items = fresh
        self.proxier.sync(full=False)
        asyncio.run(self.proxier.clean_flows())


@pytest.fixture
def running(world: World) -> Iterator[Running]:
    """A node in mode ipvs with both endpoints; afterwards nothing is left."""
    found = Running(world.proxier(), *build("one", "two"))
    yield found
    found.change()
    world.now_s += 10_000
    found.proxier.drain()
    assert world.run("ipvsadm", "-Sn") == ""
    assert "inet " not in world.run("ip", "address", "show", LINK)


def outcome(connection: socket.socket) -> str:
    """Say who answers, or what has become of a connection."""
    try:
        return exchange(connection)
    except ConnectionResetError:
        return "reset"


def test_a_restart_writes_nothing(world: World, running: Running) -> None:
    """Nor does a second look of the same process."""
    assert running.proxier.sync(full=True).elements == 0
    again = world.proxier()
    again.take(additions(*build("one", "two")))

    report = again.sync(full=True)
    assert (report.elements, report.transactions) == (0, 0)


def test_a_removed_endpoint_keeps_its_connections(world: World, running: Running) -> None:
    """Weight 0 until they have ended; a restart goes on waiting; back again, it is used as before."""
    connection = world.connect()
    name = exchange(connection)
    (other,) = {"one", "two"} - {name}
    running.change(*build(other))

    assert (world.weights(), exchange(connection)) == ({name: 0, other: 1}, name)
    assert {world.ask() for _ in range(4)} == {other}
    restarted = Running(world.proxier(), *build(other))
    restarted.proxier.drain()
    assert (world.weights(), exchange(connection)) == ({name: 0, other: 1}, name)
    restarted.change(*build("one", "two"))
    assert (world.weights(), exchange(connection)) == ({"one": 1, "two": 1}, name)

    restarted.change(*build(other))
    reset(connection)

    def drained() -> dict[str, int]:
        restarted.proxier.drain()
        return world.weights()

    assert eventually(drained, lambda weights: name not in weights, within_s=120, every_s=0.5) == {other: 1}
    running.proxier.sync(full=True)


def test_a_removed_endpoint_goes_when_its_time_is_up(world: World, running: Running) -> None:
    """And so do its connections: their client is not left without an answer."""
    connection = world.connect()
    name = exchange(connection)
    (other,) = {"one", "two"} - {name}
    running.change(*build(other))
    world.now_s += 99
    running.proxier.drain()
    assert world.weights() == {name: 0, other: 1}
    world.now_s += 2
    running.proxier.drain()

    assert world.weights() == {other: 1}
    assert eventually(lambda: outcome(connection), lambda found: found != name) == "reset"
    connection.close()


def test_a_service_that_is_gone_keeps_its_connections(world: World, running: Running) -> None:
    """And its address for as long: what is new there is refused, not left to the node's own sockets."""
    with netns.inside(world.paths["node"]):
        own = socket.create_server(("", 2222))
    connection = world.connect(BALANCER_IP)
    name = exchange(connection)
    running.change()

    assert BALANCER_IP in world.run("ip", "address", "show", LINK)
    with own:
        for port in (PORT, 2222):
            with pytest.raises(ConnectionRefusedError):
                world.connect(BALANCER_IP, port)
    assert exchange(connection) == name
    reset(connection)


def test_udp_goes_elsewhere_at_once(world: World, running: Running) -> None:
    """From one source port: what was led to an endpoint that is gone is led to another."""
    with world.connect(protocol=socket.SOCK_DGRAM) as flow:
        name = exchange(flow)
        (other,) = {"one", "two"} - {name}
        running.change(*build(other))
        flow.settimeout(2)

        def answer() -> str:
            # The one that finds the old flow is lost (ip_vs_in).
            try:
                return exchange(flow)
            except OSError:
                return ""

        assert eventually(answer, lambda found: found != "") == other
    running.change(*build("one", "two"))


def test_weights(world: World, running: Running) -> None:
    """Three to one, to the last connection: wrr draws no lots, so there is no chance to allow for."""
    annotations = {"nodeplane.io/weights": "one=3, two=1"}
    running.change(*build("one", "two", annotations=annotations))
    counts = Counter(world.ask() for _ in range(80))
    expected = {"one": 60, "two": 20}
    chi_square = sum((counts[name] - wanted) ** 2 / wanted for name, wanted in expected.items())

    # A hundredth of the connections off would be 0.05.
    assert chi_square < 0.05, counts


def test_persistence(world: World, running: Running) -> None:
    """A client is remembered, and comes back to its endpoint by all schedulers."""
    running.change(*build("one", "two", **STICKY))
    names = {world.ask() for _ in range(6)}
    with netns.inside(world.paths["node"]):
        remembered = [each for each in read_remembered() if each.key.protocol == socket.IPPROTO_TCP]

    assert len(names) == 1
    assert [(each.client, str(each.server)) for each in remembered] == [
        (socket.inet_aton(CLIENT), f"{ADDRESSES[names.pop()]}:{TARGET}")
    ]
    assert 500 < remembered[0].seconds <= 600


def test_every_scheduler_serves(world: World, running: Running) -> None:
    """Also while an endpoint drains: nobody is refused for it."""
    for scheduler in get_args(Scheduler):
        annotations = {"nodeplane.io/scheduler": scheduler}
        running.change(*build("one", "two", annotations=annotations))
        with world.connect() as connection:
            name = exchange(connection)
            (other,) = {"one", "two"} - {name}
            running.change(*build(other, annotations=annotations))

            assert f"-s {scheduler}" in world.run("ipvsadm", "-Sn")
            assert ({world.ask() for _ in range(3)}, scheduler) == ({other}, scheduler)


def test_switching_modes(world: World) -> None:
    """There and back with connections open: none is cut, and nothing of the other mode is left."""
    objects = build("one", "two")
    Running(world.proxier("nftables"), *objects)
    first = world.connect()
    names = [exchange(first)]
    Running(world.proxier(), *objects)
    second = world.connect()
    names.append(exchange(second))

    assert [exchange(first), exchange(second)] == names
    assert "map slots" not in world.run("nft", "list", "table", "ip", "nodeplane-kubeproxy")
    back = Running(world.proxier("nftables"), *objects)
    back.proxier.drain()
    third = world.connect()
    names.append(exchange(third))

    assert [exchange(each) for each in (first, second, third)] == names
    assert set(world.weights().values()) == {0}
    reset(second)

    def left() -> str:
        back.proxier.drain()
        return world.run("ipvsadm", "-Sn") + world.run("ip", "-o", "link")

    assert LINK not in eventually(left, lambda text: LINK not in text, within_s=120, every_s=0.5)
    assert [exchange(first), exchange(third)] == [names[0], names[2]]
    reset(first)
    reset(third)
    world.table.delete()


def test_captured(world: World, running: Running) -> None:
    """On the wire: who comes to the load balancer is masqueraded, who comes to the cluster IP is not.

    Both get their answers from the address that they have asked.
    """
    running.change(*build("one"))
    for host, seen in ((BALANCER_IP, GATEWAYS["one"]), (VIP, CLIENT)):
        with (
            Capture(world, "one") as away,
            Capture(world, "client") as near,
            world.connect(host) as connection,
        ):
            exchange(connection)
            assert (away.sources(TARGET), near.answers(PORT)) == ({seen}, {host})


def test_nothing_leaves_for_an_address_that_is_missing(world: World, running: Running) -> None:
    """Until the link has it, a client gets no answer and tries again: its packets are not routed onward."""
    world.run("ip", "address", "del", f"{VIP}/32", "dev", LINK)
    with netns.inside(world.paths["client"]):
        asker = socket.socket()
    with asker, Capture(world, "client") as near:
        asker.settimeout(1)
        with pytest.raises(TimeoutError):
            asker.connect((VIP, PORT))
        # The node's own way to anywhere else is back to the client.
        assert near.sources(PORT) == set()
    running.proxier.sync(full=True)

    assert world.ask() in ADDRESSES


def test_nobody_answers_arp_for_services(world: World, running: Running) -> None:
    """Not on any link: the load balancer's address is announced by others, or by nobody."""
    with netns.inside(world.paths["client"]):
        asker = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
    with asker:
        asker.bind(("eth0", 0x0806))
        asker.settimeout(2)
        mac = asker.getsockname()[4]
        answered = [address for address in (VIP, BALANCER_IP, NODE) if _answers_arp(asker, mac, address)]

    assert answered == [NODE]


def _answers_arp(asker: socket.socket, mac: bytes, address: str) -> bool:
    """Ask for an address (RFC 826) and say whether anybody answers."""
    head = b"\xff" * 6 + mac + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
    wanted = socket.inet_aton(address)
    asker.send(head + mac + socket.inet_aton(CLIENT) + bytes(6) + wanted)
    try:
        while True:
            frame = asker.recv(128)
            if frame[20:22] == b"\0\2" and frame[28:32] == wanted:
                return True
    except TimeoutError:
        return False


class Capture:
    """The IPv4 packets of a namespace's link, from when it is made."""

    def __init__(self, world: World, name: str) -> None:
        with netns.inside(world.paths[name]):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
        self._socket.bind(("eth0", 0x0800))
        self._socket.setblocking(False)
        self._packets: list[tuple[str, int, int]] = []

    def __enter__(self) -> "Capture":
        return self

    def __exit__(self, *_exc: object) -> None:
        self._socket.close()

    def sources(self, port: int) -> set[str]:
        """Return who sends to a port."""
        return {source for source, _, to in self._read() if to == port}

    def answers(self, port: int) -> set[str]:
        """Return who sends from a port."""
        return {source for source, sent_from, _ in self._read() if sent_from == port}

    def _read(self) -> list[tuple[str, int, int]]:
        try:
            while True:
                frame = self._socket.recv(2048)
                start = 14 + (frame[14] & 0xF) * 4
                ports = struct.unpack_from("!HH", frame, start)
                self._packets.append((socket.inet_ntoa(frame[26:30]), *ports))
        except BlockingIOError:
            return self._packets
