"""What portMappings says, who has what, and what becomes of it in the table: pure."""

import json
from collections.abc import Iterable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni.features.host_port import Claim, HostPort, decode_host_ports, find_conflicts, find_places
from cni.features.host_port_elements import build_elements, subtract
from cni.features.host_port_flows import find_and_delete, is_misled, leads_to
from cni.features.host_port_ledger import changing, read_claims, write_claims
from cni.features.masquerade_rules import build_pool_elements, widen
from ipam.model import Pool
from nodeplane.datapath.conntrack.fake import FakeConntrack
from nodeplane.datapath.conntrack.flow import UDP, Flow
from nodeplane.datapath.routing import LOCAL, UNICAST, FoundRoute
from nodeplane.errors import ConfigError
from tests.ipam.values import network

ANY4 = str(IPv4Address(0))


def config(*entries: Any) -> bytes:
    return json.dumps({"name": "n", "runtimeConfig": {"portMappings": list(entries)}}).encode()


@pytest.mark.parametrize(
    ("given_config", "expected"),
    [
        pytest.param(b"{}", (), id="nothing"),
        pytest.param(b'{"runtimeConfig": {"portMappings": null}}', (), id="null"),
        pytest.param(b'{"capabilities": {"portMappings": true}}', (), id="only the capability"),
        pytest.param(
            config({"hostPort": 80, "containerPort": 8080}), (HostPort("tcp", 80, 8080),), id="tcp by default"
        ),
        pytest.param(
            config({"hostPort": 80, "containerPort": 81, "protocol": "UDP", "hostIP": "FD00::0:1"}),
            (HostPort("udp", 80, 81, "fd00::1"),),
            id="in any spelling",
        ),
        pytest.param(config({"hostPort": 0, "containerPort": 81}), (), id="no host port"),
        pytest.param(config({"containerPort": 81}), (), id="no host port, left out"),
        pytest.param(
            config(*[{"hostPort": 80, "containerPort": 81}] * 2),
            (HostPort("tcp", 80, 81),),
            id="twice the same",
        ),
        pytest.param(
            config({"HostPort": 80, "ContainerPort": 81, "Protocol": "sctp", "HostIP": ""}),
            (HostPort("sctp", 80, 81),),
            id="as containerd writes it",
        ),
    ],
)
def test_decode(given_config: bytes, expected: tuple[HostPort, ...]) -> None:
    assert decode_host_ports(given_config) == expected


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"hostPort": 70000, "containerPort": 1}, "[0].hostPort: expected a port from 1 to 65535, got 70000"),
        ({"hostPort": -1, "containerPort": 1}, "[0].hostPort: expected a port from 1 to 65535, got -1"),
        ({"hostPort": 1, "containerPort": 0}, "[0].containerPort: expected a port from 1 to 65535, got 0"),
        (
            {"hostPort": 1, "containerPort": 1, "protocol": "icmp"},
            "[0].protocol: expected tcp, udp, sctp, got 'icmp'",
        ),
        (
            {"hostPort": 1, "containerPort": 1, "hostIP": "x"},
            "[0].hostIP: expected an address: 'x' does not appear to be an IPv4 or IPv6 address",
        ),
        (
            {"hostPort": 1, "containerPort": 1, "hostIP": "::1"},
            "[0].hostIP: expected another address: ::1 can't be led to a pod",
        ),
        ({"hostPort": "1", "containerPort": 1}, "[0].hostPort: expected `int`, got `str`"),
        ({"hostPort": 1}, "[0].containerPort: expected, but missing"),
    ],
)
def test_wrong_entries(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode_host_ports(config(entry))

    assert str(caught.value) == f"network configuration: runtimeConfig.portMappings{message}"


@pytest.mark.parametrize("host_ip", ["", ANY4, "::"], ids=["all", "IPv4", "IPv6"])
def test_one_port_for_two(host_ip: str) -> None:
    entries = [
        {"hostPort": 80, "containerPort": 1},
        {"hostPort": 80, "containerPort": 2, "hostIP": host_ip},
    ]

    with pytest.raises(ConfigError, match=r"portMappings: expected each host port once, got 80/tcp twice"):
        decode_host_ports(config(*entries))


def claim(name: str, *ports: HostPort, addresses: Iterable[str] = ("10.0.0.5", "fd00::5")) -> Claim:
    return Claim(name, "eth0", "n", "npl1", tuple(addresses), ports)


@pytest.mark.parametrize(
    ("mine", "others", "expected"),
    [
        pytest.param("", "", "*:80/tcp", id="any and any"),
        pytest.param("", "192.0.2.1", "192.0.2.1:80/tcp", id="any and one"),
        pytest.param("fd00::1", "", "*:80/tcp", id="one and any"),
        pytest.param("fd00::1", "fd00::1", "[fd00::1]:80/tcp", id="one and the same"),
        pytest.param("fd00::1", "fd00::2", None, id="one and another"),
        pytest.param(ANY4, "::", None, id="any of one family, any of the other"),
        pytest.param("192.0.2.1", "::", None, id="one of IPv4, any of IPv6"),
    ],
)
def test_conflicts(mine: str, others: str, expected: str | None) -> None:
    holder = claim("c2", HostPort("tcp", 80, 1, others))

    found = list(find_conflicts(claim("c1", HostPort("tcp", 80, 2, mine)), [holder]))

    assert [(who.container_id, str(place)) for who, place in found] == (
        [("c2", expected)] if expected else []
    )
    # It is in nobody's way on another port, by another protocol, or by itself.
    for harmless in (
        claim("c1", HostPort("tcp", 81, 2, mine)),
        claim("c1", HostPort("udp", 80, 2, mine)),
        claim("c2", HostPort("tcp", 80, 2, mine)),
    ):
        assert list(find_conflicts(harmless, [holder])) == []


def test_a_family_that_the_pod_lacks() -> None:
    only_4 = claim("c1", HostPort("tcp", 80, 1), HostPort("tcp", 81, 1, "::"), addresses=["10.0.0.5"])

    assert [(place.version, place.port) for place in find_places(only_4)] == [(4, 80)]


def test_elements() -> None:
    """Fields are padded to four bytes, ports are in network order."""
    asked = claim("c1", HostPort("sctp", 80, 8080, "192.0.2.1"), HostPort("udp", 53, 54, ANY4))
    pod = bytes((10, 0, 0, 5))

    elements = build_elements([asked])

    assert elements == {
        "host-ports-ip": {b"\xc0\0\2\1\x84\0\0\0\0\x50\0\0": pod + b"\x1f\x90\0\0"},
        "host-ports-any-ip": {b"\x11\0\0\0\0\x35\0\0": pod + b"\0\x36\0\0"},
        "host-port-pods-ip": {pod + pod: b""},
    }
    fewer = build_elements([claim("c1", HostPort("udp", 53, 55))])
    assert subtract(elements, fewer) == {
        "host-ports-ip": elements["host-ports-ip"],
        "host-ports-any-ip": elements["host-ports-any-ip"],
        "host-port-pods-ip": {},
    }


def test_the_ledger(tmp_path: Path) -> None:
    claims = (claim("c1", HostPort("tcp", 80, 1)), claim("c2", HostPort("udp", 80, 1, "::")))
    assert read_claims(tmp_path) == ()

    with changing(tmp_path) as before:
        assert before == ()
        write_claims(tmp_path, claims)
    assert read_claims(tmp_path) == claims
    for damage in (b"", b"{", b"[1]", b"\xff"):
        (tmp_path / "host-ports.json").write_bytes(damage)
        assert read_claims(tmp_path) == ()
    write_claims(tmp_path, ())
    assert not (tmp_path / "host-ports.json").exists()


class Routes:
    """All of 192.0.2.1 is the node's own."""

    def find(self, destination: bytes) -> FoundRoute | None:
        return FoundRoute(LOCAL if destination == bytes((192, 0, 2, 1)) else UNICAST, "eth0")

    def source_addresses(self) -> list[Any]:
        return []


def flow(
    source_port: int, to: tuple[int, int, int, int], answered_by: tuple[int, int, int, int, int]
) -> Flow:
    *host, port = answered_by
    return Flow(UDP, bytes((192, 0, 2, 9)), source_port, bytes(to), 53, bytes(host), port)


OWN = flow(1, (192, 0, 2, 1), (192, 0, 2, 1, 53))
AWAY = flow(2, (8, 8, 8, 8), (8, 8, 8, 8, 53))
TO_POD = flow(3, (192, 0, 2, 1), (10, 0, 0, 5, 54))
TO_ANOTHER = flow(4, (192, 0, 2, 1), (10, 0, 0, 6, 54))


def left(conntrack: FakeConntrack) -> set[int]:
    return {each.source_port for each in conntrack._flows.values()}


def test_stale_flows() -> None:
    """At an ADD those that go to the node itself, at a DEL those that go to the pod; nobody else's."""
    (place,) = find_places(claim("c1", HostPort("udp", 53, 54), addresses=["10.0.0.5"]))
    for judge, expected in (
        (lambda _, each: is_misled(each, Routes()), {2, 3, 4}),
        (leads_to, {1, 2, 4}),
    ):
        conntrack = FakeConntrack()
        for each in (OWN, AWAY, TO_POD, TO_ANOTHER):
            conntrack.add(each)

        find_and_delete(conntrack, [place], judge)

        assert left(conntrack) == expected


def test_pool_elements() -> None:
    """Ranges of neighbours are one: the kernel takes no overlaps."""
    pools = [
        Pool("a", network("10.0.0.0/25"), 26, nat_outgoing=True),
        Pool("b", network("10.0.0.128/25"), 26),
        Pool("c", network("fd00::/112"), 122, disabled=True, nat_outgoing=True),
    ]

    assert build_pool_elements(pools) == {
        "pools-ip": {b"\x0a\0\0\0\x0a\0\0\xff": b""},
        "masqueraded-ip": {b"\x0a\0\0\0\x0a\0\0\x7f": b""},
        "pools-ip6": {b"\xfd" + bytes(15) + b"\xfd" + bytes(13) + b"\xff\xff": b""},
        "masqueraded-ip6": {b"\xfd" + bytes(15) + b"\xfd" + bytes(13) + b"\xff\xff": b""},
    }


RANGES = st.tuples(st.integers(0, 60), st.integers(0, 8)).map(lambda each: bytes((each[0], sum(each))))


def covered(ranges: Iterable[bytes]) -> set[int]:
    return {number for first, last in ranges for number in range(first, last + 1)}


@given(st.lists(RANGES), st.lists(RANGES))
def test_widen_covers_both_and_has_no_overlaps(one: list[bytes], other: list[bytes]) -> None:
    there = set(widen((), one).add)

    change = widen(there, other)

    after = (there - set(change.remove)) | change.add.keys()
    assert covered(after) == covered(one) | covered(other)
    assert sum(last - first + 1 for first, last in after) == len(covered(after))
    assert not change.add.keys() & there
