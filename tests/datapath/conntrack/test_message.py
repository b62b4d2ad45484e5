"""Conntrack's messages: what the kernel writes is read, and garbage is no error."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeplane.datapath import netlink as nl
from nodeplane.datapath.conntrack.flow import UDP, Flow
from nodeplane.datapath.conntrack.message import decode_flows

# Of `conntrack -I -s fd00::1 -d fd00::101 -p udp --sport 1 --dport 53` as kernel 6.18 dumps it.
SAMPLE = bytes.fromhex(
    "0a000000"
    "4c0001802c00018014000300fd00000000000000000000000000000114000400fd000000000000000000000000000101"
    "1c0002800500010011000000060002000001000006000300003500004c0002802c00018014000300fd00000000000000"
    "000000000000010114000400fd0000000000000000000000000000011c00028005000100110000000600020000350000"
    "06000300000100000800030000000008080008000000000008000c00102b3fa608000b00000000010800070000000063"
    "1c001880080001000000000008000200000000000800030000000000"
)
FLOW = Flow(
    protocol=UDP,
    source=bytes.fromhex("fd000000000000000000000000000001"),
    source_port=1,
    destination=bytes.fromhex("fd000000000000000000000000000101"),
    destination_port=53,
    reply_source=bytes.fromhex("fd000000000000000000000000000101"),
    reply_source_port=53,
    id=0x102B3FA6,
)
ICMP = bytes.fromhex(
    "02000000"
    "3c000180140001800800010001010101080002000202020224000280050001000100000006000400123400000500050008000000"
    "0500060000000000"
)


def messages(*payloads: bytes, kind: int = 0x100) -> bytes:
    return b"".join(nl.NLMSG.pack(16 + len(part), kind, 2, 1, 0) + part for part in payloads)


def without_marks(payload: bytes) -> bytes:
    """Write attributes as a kernel would that does not mark nested ones: another layout of the same facts."""
    for header in ("4c0001", "4c0002", "2c0001", "1c0002"):
        payload = payload.replace(bytes.fromhex(header + "80"), bytes.fromhex(header + "00"))
    return payload


@pytest.mark.parametrize(
    ("datagram", "expected"),
    [
        pytest.param(messages(SAMPLE), [FLOW], id="as the kernel writes it"),
        pytest.param(messages(SAMPLE, SAMPLE), [FLOW, FLOW], id="two"),
        pytest.param(messages(without_marks(SAMPLE)), [FLOW], id="laid out otherwise"),
        pytest.param(messages(SAMPLE[:-4] + nl.attribute(99, b"new")), [FLOW], id="unknown attribute"),
        pytest.param(messages(ICMP, SAMPLE), [FLOW], id="beside one without ports"),
        pytest.param(messages(SAMPLE, kind=0x102), [], id="another message"),
        pytest.param(messages(SAMPLE[:156]), [], id="without an id"),
        pytest.param(b"", [], id="nothing"),
    ],
)
def test_decode(datagram: bytes, expected: list[Flow]) -> None:
    """Flows with ports and an id are read, whatever stands around them."""
    assert list(decode_flows(datagram)) == expected


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_garbage(payload: bytes) -> None:
    """No bytes make the decoder fail."""
    list(decode_flows(payload))
    list(decode_flows(messages(payload)))


@given(st.integers(0, len(SAMPLE) - 1), st.binary(min_size=1, max_size=8), st.booleans())
@settings(deadline=None)
def test_damage(place: int, bytes_: bytes, is_marked: bool) -> None:
    """Nor does a message of which a part is damaged or cut off."""
    whole = SAMPLE if is_marked else without_marks(SAMPLE)
    list(decode_flows(messages(whole[:place] + bytes_ + whole[place + len(bytes_) :])))
    list(decode_flows(messages(whole)[:place]))
