"""What `show` and `plan` print."""

from ipaddress import IPv4Address, ip_address, ip_network

import pytest

from kubeproxy.element_rows import describe_change
from kubeproxy.family_proxier import FamilyChange
from kubeproxy.published import Published, Remembered
from kubeproxy.report import describe_clients, describe_services
from kubeproxy.rules import layout
from kubeproxy.rules.addresses import pack_address
from kubeproxy.rules.layout import Endpoint, Frontend, encode_value
from kubeproxy.rules.pool_value import DROP, REJECT, Kind, affine_value, plain_value, with_kind
from nodeplane.datapath.nft.table import ElementChange
from nodeplane.runtime.output import Row
from tests.kubeproxy.objects import at

VIP = Frontend(ip_address("10.96.0.1"), "TCP", 80)
ONE = Endpoint(ip_address("10.244.0.1"), 8080)
POOL = plain_value(2, 7)


@pytest.mark.parametrize(
    ("value", "endpoints", "expected"),
    [
        pytest.param(
            POOL,
            [ONE],
            {"kind": "cluster-ip", "pool": "80:7", "choice": "random of 3", "endpoints": ["10.244.0.1:8080"]},
            id="pool",
        ),
        pytest.param(
            with_kind(affine_value(26, 4, 7), Kind.RESTRICTED_LOCAL),
            [ONE],
            {
                "kind": "restricted-local",
                "pool": "8d10:7",
                "choice": "random of 6, kept 43200 s",
                "remembered": 5,
                "endpoints": ["10.244.0.1:8080"],
            },
            id="affinity",
        ),
        pytest.param(
            with_kind(REJECT, Kind.EXTERNAL),
            [],
            {"kind": "external", "pool": "", "choice": "", "endpoints": ["rejected: no endpoint"]},
            id="rejected",
        ),
        pytest.param(
            DROP,
            [],
            {
                "kind": "cluster-ip",
                "pool": "",
                "choice": "",
                "endpoints": ["dropped: no endpoint on this node"],
            },
            id="dropped",
        ),
        pytest.param(
            0x7FC00001,
            [],
            {"kind": "7000:0", "pool": "fc0:1", "choice": "reject", "endpoints": []},
            id="somebody else's writing",
        ),
    ],
)
def test_services(value: int, endpoints: list[Endpoint], expected: Row) -> None:
    """A row says what a frontend does, in words; whatever the kernel holds is a row."""
    rows = describe_services([Published(VIP, value, tuple(endpoints))], {VIP: 7}, {7: 5})

    assert [{name: row[name] for name in expected} for row in rows] == [expected]
    assert [(row["connections"], row["client"]) for row in rows] == [(7, "anywhere")]


def test_policy_local() -> None:
    """A frontend of policy Local has a row for this node, and one for clients from elsewhere."""
    inside = Published(VIP, with_kind(POOL, Kind.EXTERNAL_LOCAL), (ONE,))
    outside = Published(VIP, with_kind(DROP, Kind.EXTERNAL_LOCAL), (), is_outside=True)

    assert [(row["client"], row["endpoints"]) for row in describe_services([inside, outside], {})] == [
        ("this node", ["10.244.0.1:8080"]),
        ("elsewhere", ["dropped: no endpoint on this node"]),
    ]


def test_clients() -> None:
    """Who is remembered, where it goes, for how long, and at which frontends."""
    remembered = {
        7: [Remembered(IPv4Address("192.0.2.1"), ONE, 9.6)],
        8: [Remembered(IPv4Address("192.0.2.2"), ONE, 1)],
    }
    published = [Published(VIP, with_kind(affine_value(26, 4, 7), Kind.EXTERNAL), (ONE,))]

    assert describe_clients(published, remembered) == [
        {"client": "192.0.2.1", "endpoint": "10.244.0.1:8080", "seconds": 10, "frontends": [str(VIP)]},
        {"client": "192.0.2.2", "endpoint": "10.244.0.1:8080", "seconds": 1, "frontends": []},
    ]


FRONTEND = layout.encode_frontend(pack_address("10.96.0.1"), "TCP", 80)
FRONTEND6 = layout.encode_frontend(pack_address("fd00::1"), "TCP", 80)
VALUE = encode_value(POOL)


ELEMENTS = [
    (layout.FRONTENDS, FRONTEND, VALUE, "TCP 10.96.0.1:80 -> 80:7"),
    (layout.NODE_PORTS, layout.encode_node_port("UDP", 30080), VALUE, "UDP node port 30080 -> 80:7"),
    (layout.LOCAL_POOLS, VALUE, VALUE, "80:7 -> 80:7"),
    (layout.SLOTS, layout.encode_slot(POOL, 3), at("10.244.0.1"), "80:7[3] -> 10.244.0.1:8080"),
    (layout.MEMBERS, layout.encode_slot(POOL, 65536), VALUE, "80:7[65536] -> 80:7"),
    (layout.MEMBER_ADDRESSES, VALUE, at("fd00::1"), "80:7 -> [fd00::1]:8080"),
    (layout.MEMBERS_ALIVE, VALUE, b"", "80:7"),
    (layout.AFFINE_POOLS, encode_value(7), VALUE, "0:7 -> 80:7"),
    (
        layout.SOURCE_RANGES,
        layout.encode_source_range(FRONTEND, ip_network("10.0.0.0/8")),
        b"",
        "TCP 10.96.0.1:80 from 10.0.0.0-10.255.255.255",
    ),
    (
        layout.SOURCE_RANGES,
        layout.encode_source_range(FRONTEND6, ip_network("fd00::/127")),
        b"",
        "TCP [fd00::1]:80 from fd00::-fd00::1",
    ),
    (layout.CLUSTER_IPS, pack_address("fd00::1"), b"", "fd00::1"),
    (
        layout.SERVICE_CIDRS,
        layout.encode_service_cidr(ip_network("10.96.0.0/16")),
        b"",
        "10.96.0.0-10.96.255.255",
    ),
    (layout.HAIRPINS, layout.encode_hairpin(pack_address("10.244.0.1")), b"", "10.244.0.1"),
    (layout.NODE_PORT_IPS, pack_address("172.30.0.1"), b"", "172.30.0.1"),
]


@pytest.mark.parametrize(("map_name", "key", "data", "expected"), ELEMENTS)
def test_plan(map_name: str, key: bytes, data: bytes, expected: str) -> None:
    """Each element of each map can be read, whether it goes or comes."""
    rows = describe_change("ip", {map_name: ElementChange([key], {key: data})})

    assert rows == [
        {"family": "ip", "change": "remove", "map": map_name, "element": expected.partition(" -> ")[0]},
        {"family": "ip", "change": "add", "map": map_name, "element": expected},
    ]


def test_whole_table() -> None:
    """A table that is written whole says so first."""
    assert FamilyChange("ip6", replace=True, changes={}).rows() == [
        {"family": "ip6", "change": "write", "map": "table", "element": "the whole table"}
    ]


def test_no_map_is_missing() -> None:
    """Each map of service state has a row above."""
    assert {map_name for map_name, *_ in ELEMENTS} == set(layout.STATE_MAPS)
