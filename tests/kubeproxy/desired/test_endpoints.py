"""Which endpoints are in use, for everybody and for those who must stay on this node."""

from typing import Literal

import msgspec
import pytest

from kubeproxy.desired.endpoints import Place, Usable, decode_slice, merge, select
from nodeplane.kube.objects import Endpoint, EndpointPort, EndpointSlice
from tests.kubeproxy.objects import DRAINING, DYING, READY, UNREADY, at, endpoint, endpoint_slice

A, B, C = "10.244.0.1", "10.244.0.2", "10.244.0.3"
HERE = Place("n1", "z1")
HTTP = ("http", "TCP")


def usable(
    cluster: str = "", local: str = "", spare: str = "", local_spare: str = "", idle: str = ""
) -> Usable:
    """Build what is expected: one letter for each endpoint."""
    addresses = {"A": A, "B": B, "C": C}
    parts = (cluster, local, spare, local_spare, idle)
    return Usable(*(tuple(at(addresses[each]) for each in part) for part in parts))


def select_from(*slices: EndpointSlice, place: Place = HERE) -> Usable:
    decoded = (decode_slice(piece) for piece in slices)
    return select(merge(piece.backends[HTTP] for piece in decoded if HTTP in piece.backends), place)


def hinted(address: str, *zones: str, nodes: tuple[str, ...] = ()) -> Endpoint:
    return endpoint(address, zones=zones, nodes=nodes)


@pytest.mark.parametrize(
    ("slices", "expected"),
    [
        pytest.param([], usable(), id="no slice"),
        pytest.param([endpoint_slice()], usable(), id="empty slice"),
        pytest.param(
            [endpoint_slice(endpoint(B), endpoint(A, node="n2"))],
            usable("AB", "B"),
            id="sorted, local by node",
        ),
        pytest.param([endpoint_slice(endpoint(A, node=None))], usable("A"), id="no node name is not here"),
        pytest.param(
            [endpoint_slice(endpoint(A), endpoint(B, UNREADY))], usable("A", "A", idle="B"), id="unready"
        ),
        pytest.param(
            [endpoint_slice(endpoint(A, DRAINING), endpoint(B))],
            usable("B", "B", spare="A", local_spare="A"),
            id="draining keeps what it has while one is ready",
        ),
        pytest.param(
            [endpoint_slice(endpoint(A, DRAINING), endpoint(B, node="n2"))],
            usable("B", "A", spare="A"),
            id="draining here, ready elsewhere: Local drains",
        ),
        pytest.param(
            [endpoint_slice(endpoint(A, DRAINING), endpoint(B, DYING), endpoint(C, UNREADY))],
            usable("A", "A", idle="BC"),
            id="draining is used when none is ready",
        ),
        pytest.param(
            [endpoint_slice(endpoint(A, UNREADY), endpoint(B, DYING))], usable(idle="AB"), id="none usable"
        ),
        pytest.param(
            [endpoint_slice(endpoint(A, node="n2", zones=("z1",)), endpoint(B, node="n2", zones=("z2",)))],
            usable("A", spare="B"),
            id="ready, and meant for others",
        ),
        pytest.param(
            [endpoint_slice(endpoint(A, DRAINING)), endpoint_slice(endpoint(A), name="web-2")],
            usable("A", "A"),
            id="in two slices: the ready one counts",
        ),
        pytest.param(
            [endpoint_slice(endpoint(A)), endpoint_slice(endpoint(A, UNREADY), name="web-2")],
            usable("A", "A"),
            id="in two slices: in either order",
        ),
        pytest.param(
            [endpoint_slice(endpoint(A), endpoint(A, DRAINING))],
            usable("A", "A"),
            id="twice in one slice: the ready one counts",
        ),
        pytest.param(
            [endpoint_slice(endpoint(A, UNREADY), endpoint(A, DRAINING))],
            usable("A", "A"),
            id="twice in one slice: draining before unready",
        ),
        pytest.param(
            [endpoint_slice(msgspec.structs.replace(endpoint(A), addresses=(A, B)))],
            usable("A", "A"),
            id="only the first address counts",
        ),
        *(
            pytest.param([endpoint_slice(endpoint(A), ports=ports)], usable(), id=name)
            for name, ports in {
                "another port": (EndpointPort("metrics", "TCP", 9090),),
                "another protocol": (EndpointPort("http", "UDP", 8080),),
                "port unknown": (EndpointPort("http", "TCP", None),),
                "no ports": (),
            }.items()
        ),
        pytest.param(
            [
                msgspec.structs.replace(
                    endpoint_slice(), address_type="FQDN", raw_endpoints=(endpoint("x.y"),)
                )
            ],
            usable(),
            id="names",
        ),
    ],
)
def test_conditions(slices: list[EndpointSlice], expected: Usable) -> None:
    """Ready ones, else those that drain; a policy Local looks at this node alone."""
    assert select_from(*slices) == expected


@pytest.mark.parametrize(
    ("endpoints", "expected"),
    [
        pytest.param([hinted(A, "z1"), hinted(B, "z2")], "A", id="zone"),
        pytest.param([hinted(A, "z1", "z2"), hinted(B, "z2")], "A", id="several zones"),
        pytest.param([hinted(A, "z2"), hinted(B, "z3")], "AB", id="none for this zone"),
        pytest.param([hinted(A, "z1"), hinted(B)], "AB", id="one without hints"),
        pytest.param(
            [hinted(A, "z1"), hinted(B, "z2"), endpoint(C, UNREADY)], "A", id="an unready one needs no hints"
        ),
        pytest.param([hinted(A, nodes=("n1",)), hinted(B, nodes=("n2",))], "A", id="node"),
        pytest.param([hinted(A, nodes=("n3",)), hinted(B, nodes=("n2",))], "AB", id="none for this node"),
        pytest.param(
            [hinted(A, "z1", nodes=("n3",)), hinted(B, "z2", nodes=("n1",))], "B", id="node before zone"
        ),
        pytest.param(
            [hinted(A, "z1", nodes=("n3",)), hinted(B, "z2", nodes=("n2",))], "A", id="else the zone"
        ),
        pytest.param(
            [hinted(A, "z1", nodes=("n1",)), hinted(B, "z2")], "A", id="one without node hints: the zone"
        ),
        pytest.param(
            [endpoint(A, DRAINING, zones=("z2",)), endpoint(B, DRAINING, zones=("z1",))],
            "AB",
            id="who drains is not chosen by hints",
        ),
    ],
)
def test_hints(endpoints: list[Endpoint], expected: str) -> None:
    """Hints count where all ready endpoints have them and one is for here; policies Local ignore them."""
    found = select_from(endpoint_slice(*endpoints))

    assert (found.cluster, found.local) == (usable(expected).cluster, usable("AB").cluster)


def test_without_zone() -> None:
    """A node without a zone has the endpoints of all."""
    piece = endpoint_slice(endpoint(A, zones=("z1",)), endpoint(B, zones=("",)))

    assert select_from(piece, place=Place("n1")) == usable("AB", "AB")


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_order_of_slices(order: tuple[int, ...]) -> None:
    """Of entries of more or less use the best one counts, whichever slice it is in."""
    slices = [endpoint_slice(endpoint(A, each)) for each in (READY, DRAINING, UNREADY)]

    assert select_from(*(slices[index] for index in order)) == usable("A", "A")


def test_several_ports() -> None:
    """Each port of a slice has endpoints of its own; one without a name has the empty name."""
    ports = (EndpointPort(None, "TCP", 80), EndpointPort("dns", "UDP", 53))
    decoded = decode_slice(endpoint_slice(endpoint(A), ports=ports))

    assert {key: [*backends] for key, backends in decoded.backends.items()} == {
        ("", "TCP"): [at(A, 80)],
        ("dns", "UDP"): [at(A, 53)],
    }


@pytest.mark.parametrize(
    ("family", "addresses", "expected"),
    [
        pytest.param("IPv4", ((A,), ()), [at(A)], id="no address"),
        pytest.param("IPv4", ((A,), ("fd00::1",)), [at(A)], id="IPv6 among IPv4"),
        pytest.param("IPv6", ((A,), ("fd00::1",)), [at("fd00::1")], id="IPv4 among IPv6"),
    ],
)
def test_wrong_addresses(
    family: Literal["IPv4", "IPv6"], addresses: tuple[tuple[str, ...], ...], expected: list[bytes]
) -> None:
    """An endpoint whose address is none of its slice's family is left out, the others are in use."""
    piece = endpoint_slice(*(Endpoint(each) for each in addresses), family=family)

    assert [*decode_slice(piece).backends[HTTP]] == expected
