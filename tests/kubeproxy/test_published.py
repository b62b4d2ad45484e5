"""What a table's elements publish."""

from ipaddress import IPv4Address, IPv6Address

from kubeproxy.published import Published, Remembered, count_remembered, read_published, read_remembered
from kubeproxy.rules import layout
from kubeproxy.rules.addresses import pack_address
from kubeproxy.rules.layout import Endpoint, Frontend, encode_value
from kubeproxy.rules.pool_value import DROP, REJECT, Kind, affine_value, member_value, plain_value, with_kind
from nodeplane.datapath.nft.table import ElementUse
from tests.kubeproxy.objects import at

PLAIN, AFFINE = plain_value(1, 3), affine_value(0, 1, 4)
MEMBER, GONE = encode_value(member_value(9, 4)), encode_value(member_value(8, 4))
WEB, WEB_KEY = (
    Frontend(IPv4Address("10.96.0.1"), "TCP", 80),
    layout.encode_frontend(pack_address("10.96.0.1"), "TCP", 80),
)
SLOTS = {layout.encode_slot(PLAIN, 1): at("10.244.0.2"), layout.encode_slot(PLAIN, 0): at("10.244.0.1")}


def endpoints(*numbers: int) -> tuple[Endpoint, ...]:
    return tuple(Endpoint(IPv4Address(f"10.244.0.{number}"), 8080) for number in numbers)


def test_pools_of_both_kinds() -> None:
    """Elements tell the whole story again, refused frontends and members that are gone included."""
    elements = {
        layout.FRONTENDS: {
            WEB_KEY: encode_value(PLAIN),
            layout.encode_frontend(pack_address("fd00::1"), "UDP", 53): encode_value(REJECT),
        },
        layout.NODE_PORTS: {
            layout.encode_node_port("TCP", 30080): encode_value(with_kind(AFFINE, Kind.EXTERNAL))
        },
        layout.SLOTS: SLOTS,
        layout.MEMBERS: {layout.encode_slot(AFFINE, 0): MEMBER, layout.encode_slot(AFFINE, 1): GONE},
        layout.MEMBER_ADDRESSES: {MEMBER: at("10.244.0.3")},
    }

    assert read_published(elements) == [
        Published(WEB, PLAIN, endpoints(1, 2)),
        Published(Frontend(None, "TCP", 30080), with_kind(AFFINE, Kind.EXTERNAL), endpoints(3)),
        Published(Frontend(IPv6Address("fd00::1"), "UDP", 53), REJECT, ()),
    ]


def test_policy_local() -> None:
    """This node and its pods reach all endpoints, others those here, or none."""
    value, local = with_kind(PLAIN, Kind.EXTERNAL_LOCAL), plain_value(0, 9)
    elements = {
        layout.FRONTENDS: {WEB_KEY: encode_value(value)},
        layout.SLOTS: {**SLOTS, layout.encode_slot(local, 0): at("10.244.0.2")},
    }
    inside = Published(WEB, value, endpoints(1, 2))

    assert read_published(elements | {layout.LOCAL_POOLS: {encode_value(PLAIN): encode_value(local)}}) == [
        inside,
        Published(WEB, with_kind(local, Kind.EXTERNAL_LOCAL), endpoints(2), is_outside=True),
    ]
    assert read_published(elements) == [
        inside,
        Published(WEB, with_kind(DROP, Kind.EXTERNAL_LOCAL), (), is_outside=True),
    ]


def test_remembered_clients() -> None:
    """By pool; a client whose endpoint is gone counts until the rules forget it, and leads nowhere."""
    clients = (("192.0.2.2", MEMBER, 7.5), ("192.0.2.1", MEMBER, 9.0), ("192.0.2.3", GONE, 1.0))
    uses = [
        ElementUse(pack_address(client) + encode_value(4), member, expires_s=seconds)
        for client, member, seconds in clients
    ]
    (endpoint,) = endpoints(3)

    assert count_remembered(uses) == {4: 3}
    assert read_remembered({layout.MEMBER_ADDRESSES: {MEMBER: at("10.244.0.3")}}, uses) == {
        4: [
            Remembered(IPv4Address("192.0.2.1"), endpoint, 9.0),
            Remembered(IPv4Address("192.0.2.2"), endpoint, 7.5),
        ]
    }
