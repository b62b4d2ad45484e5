"""IPVS's messages: what is sent, byte for byte, and what the kernel writes is read."""

import struct
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeplane.datapath import netlink as nl
from nodeplane.datapath.ipvs.answer import decode_servers, decode_services, decode_timeouts
from nodeplane.datapath.ipvs.message import (
    encode_change,
    encode_end,
    encode_servers_query,
    encode_services_query,
    encode_timeouts,
)
from nodeplane.datapath.ipvs.service import (
    WHOLE_ADDRESS,
    Change,
    DeleteServer,
    DeleteService,
    Method,
    NewServer,
    NewServers,
    NewService,
    RealServer,
    ServerKey,
    ServerUse,
    ServiceFlags,
    ServiceKey,
    ServiceOptions,
    SetServer,
    SetService,
    Timeouts,
    describe,
    pack_server,
)

FAMILY = 0x22


def packed(text: str) -> bytes:
    return ip_address(text).packed


WEB = ServiceKey("ip", 6, packed("10.96.0.1"), 80)
WEB_6 = ServiceKey("ip6", 17, packed("fd00:96::1"), 53)
MARKED = ServiceKey("ip", mark=0x6E400007)
RR = ServiceOptions("rr")
STICKY_6 = ServiceOptions("mh", ServiceFlags.PERSISTENT | ServiceFlags.BY_PORT, 10800, WHOLE_ADDRESS["ip6"])
POD = ServerKey(packed("10.244.1.2"), 8080)
POD_6 = ServerKey(packed("fd00:244::2"), 8053)
POD_OF_WEB = "10.244.1.2:8080 of TCP 10.96.0.1:80"

WEB_NAME = (
    "06000100 0200 0000  06000200 0600 0000  14000300 0a600001 000000000000000000000000  06000400 0050 0000"
)
WEB_6_NAME = (
    "06000100 0a00 0000  06000200 1100 0000  14000300 fd000096000000000000000000000001  06000400 0035 0000"
)
MARKED_NAME = "06000100 0200 0000  08000500 0700406e"
POD_NAME = "14000100 0af40102 000000000000000000000000  06000200 1f90 0000"
POD_6_NAME = "14000100 fd000244000000000000000000000002  06000200 1f75 0000"
USE = "08000300 {method:02x}000000  08000400 {weight:02x}000000  08000500 00000000  08000600 00000000"


def nested(kind: int, *parts: str) -> str:
    body = "".join(parts).replace(" ", "")
    return struct.pack("=HH", 4 + len(body) // 2, kind).hex() + body


@pytest.mark.parametrize(
    ("change", "command", "body"),
    [
        pytest.param(
            NewService(WEB, RR),
            1,
            nested(
                1,
                WEB_NAME,
                "07000600 727200 00  0c000700 00000000 ffffffff  08000800 00000000  08000900 ffffffff",
            ),
            id="a service",
        ),
        pytest.param(
            SetService(WEB_6, STICKY_6),
            2,
            nested(
                1,
                WEB_6_NAME,
                "07000600 6d6800 00  0c000700 11000000 ffffffff  08000800 302a0000  08000900 80000000",
            ),
            id="remembered clients, IPv6",
        ),
        pytest.param(DeleteService(MARKED), 3, nested(1, MARKED_NAME), id="a mark"),
        pytest.param(
            NewServer(WEB, POD, RealServer(3)),
            5,
            nested(1, WEB_NAME) + nested(2, POD_NAME, USE.format(method=0, weight=3), "06000b00 0200 0000"),
            id="a real server is masqueraded",
        ),
        pytest.param(
            SetServer(WEB_6, POD_6, RealServer(0, Method.ROUTE)),
            6,
            nested(1, WEB_6_NAME)
            + nested(2, POD_6_NAME, USE.format(method=3, weight=0), "06000b00 0a00 0000"),
            id="a real server, IPv6",
        ),
        pytest.param(
            DeleteServer(MARKED, POD),
            7,
            nested(1, MARKED_NAME) + nested(2, POD_NAME, "06000b00 0200 0000"),
            id="a real server goes",
        ),
    ],
)
def test_encode(change: Change, command: int, body: str) -> None:
    """Each change is one message of its number; what ends them is a question, which is acknowledged."""
    payload = bytes((command, 1, 0, 0)) + bytes.fromhex(body)

    assert (
        encode_change(FAMILY, 7, change).hex()
        == (nl.NLMSG.pack(16 + len(payload), FAMILY, 0x1, 7, 0) + payload).hex()
    )
    assert encode_end(FAMILY, 8) == nl.NLMSG.pack(20, FAMILY, 0x5, 8, 0) + bytes.fromhex("0d010000")


@pytest.mark.parametrize(("key", "server"), [(WEB, POD), (WEB_6, POD_6), (MARKED, POD)])
def test_several_servers_are_as_many_messages(key: ServiceKey, server: ServerKey) -> None:
    """What is encoded quickly is what is encoded one by one."""
    weights = (1, 0, 256)
    many = NewServers(key, tuple(pack_server(server, each) for each in weights))
    singly = [encode_change(FAMILY, 7, NewServer(key, server, RealServer(each))) for each in weights]

    assert encode_change(FAMILY, 7, many) == b"".join(singly)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        pytest.param(encode_services_query(FAMILY), "04010000", id="services"),
        pytest.param(encode_servers_query(FAMILY, MARKED), "08010000" + nested(1, MARKED_NAME), id="servers"),
        pytest.param(
            encode_timeouts(FAMILY, Timeouts(900, 0, 300)),
            "0c010000 08000400 84030000 08000500 00000000 08000600 2c010000",
            id="time-outs",
        ),
    ],
)
def test_encode_questions(request_: bytes, expected: str) -> None:
    assert request_[16:] == bytes.fromhex(expected)


# As kernel 6.1 dumps them, without their statistics.
SERVICE_DUMP = bytes.fromhex(
    "01010000"
    + nested(
        1, WEB_NAME, "07000600 727200 00  0c000700 02000000 ffffffff  08000800 00000000  08000900 ffffffff"
    )
)
MARKED_DUMP = bytes.fromhex(
    "01010000"
    + nested(
        1,
        "06000100 0a00 0000  08000500 0700406e  07000600 6d6800 00",
        "0c000700 13000000 ffffffff  08000800 302a0000  08000900 80000000",
    )
)
SERVER_DUMP = bytes.fromhex(
    "05010000"
    + nested(
        2,
        POD_NAME,
        # The kernel's own bits beside the method: NOOUTPUT and the like.
        "08000300 00010000  08000400 03000000  08000500 00000000  08000600 00000000",
        "08000700 02000000  08000800 05000000  08000900 01000000  06000b00 0200 0000",
    )
)


def test_decode() -> None:
    """The kernel's own flag and bits are not ours to compare."""
    services = dict(decode_services(map(memoryview, (SERVICE_DUMP, MARKED_DUMP))))
    servers = dict(decode_servers("ip", [memoryview(SERVER_DUMP)]))

    assert services == {WEB: RR, ServiceKey("ip6", mark=0x6E400007): STICKY_6}
    assert servers == {POD: ServerUse(RealServer(3), 2, 5, 1)}
    assert decode_timeouts(
        memoryview(bytes.fromhex("0d010000 08000400 84030000 08000500 78000000 08000600 2c010000"))
    ) == Timeouts(900, 120, 300)


RR_TEXT = "07000600 727200 00"
NUMBERS = ("0c000700 02000000 ffffffff", "08000800 00000000", "08000900 ffffffff")
STATISTICS = nested(10, "08000100 05000000")


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param((WEB_NAME, RR_TEXT, *NUMBERS, STATISTICS), id="as Linux 6.1"),
        pytest.param((RR_TEXT, *NUMBERS, WEB_NAME), id="in another order"),
        pytest.param((WEB_NAME, RR_TEXT, nested(11, "73697000"), *NUMBERS), id="with a persistence engine"),
        pytest.param((WEB_NAME, *NUMBERS, RR_TEXT), id="the scheduler last"),
    ],
)
def test_the_layout_does_not_matter(parts: tuple[str, ...]) -> None:
    """What is read at its usual place is what is found by looking for it."""
    dump = bytes.fromhex("01010000" + nested(1, *parts))

    assert dict(decode_services([memoryview(dump)])) == {WEB: RR}


def test_an_unknown_family_is_left_out() -> None:
    assert list(decode_services([memoryview(SERVICE_DUMP.replace(b"\6\0\1\0\2\0", b"\6\0\1\0\7\0"))])) == []


@given(st.binary(max_size=200), st.sampled_from((SERVICE_DUMP, SERVER_DUMP)), st.integers(0, 100))
@settings(deadline=None)
def test_garbage(garbage: bytes, whole: bytes, place: int) -> None:
    """No bytes make the decoder fail."""
    for payload in (garbage, whole[:place], whole[:place] + garbage + whole[place + len(garbage) :]):
        list(decode_services([memoryview(payload)]))
        list(decode_servers("ip", [memoryview(payload)]))
        decode_timeouts(memoryview(payload))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (NewService(WEB, RR), "add virtual service TCP 10.96.0.1:80 with scheduler rr"),
        (SetService(WEB_6, STICKY_6), "set virtual service UDP [fd00:96::1]:53 with scheduler mh"),
        (DeleteService(MARKED), "delete virtual service ip mark 0x6e400007"),
        (
            NewServer(WEB, POD, RealServer(3)),
            "add real server 10.244.1.2:8080 of TCP 10.96.0.1:80 with weight 3",
        ),
        (
            SetServer(WEB, POD, RealServer(0)),
            "set real server 10.244.1.2:8080 of TCP 10.96.0.1:80 with weight 0",
        ),
        (NewServers(WEB, (pack_server(POD, 1),)), "add real servers of TCP 10.96.0.1:80: 10.244.1.2:8080"),
        (DeleteServer(WEB, POD), "delete real server 10.244.1.2:8080 of TCP 10.96.0.1:80"),
    ],
)
def test_describe(change: Change, text: str) -> None:
    assert describe(change) == text
