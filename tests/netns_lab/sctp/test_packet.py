"""SCTP packets, against another codec; and any bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.sctp import SCTP, SCTPChunkData, SCTPChunkInit

from netns_lab.sctp.packet import (
    DATA,
    INIT,
    INIT_ACK,
    Chunk,
    Init,
    Packet,
    data_chunk,
    decode,
    encode,
    init_chunk,
    read_data,
    read_init,
)

PORTS = (1000, 7)


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(Packet(*PORTS, 0, (init_chunk(INIT, Init(5, 6)),)), id="INIT"),
        pytest.param(Packet(*PORTS, 9, (data_chunk(6, 0, b"abc"), Chunk(11, 0, b""))), id="padded chunks"),
        pytest.param(Packet(*PORTS, 9, ()), id="no chunks"),
    ],
)
def test_round_trip(packet: Packet) -> None:
    assert decode(encode(packet)) == packet


def test_as_scapy_reads_it() -> None:
    """Its checksum too: scapy renders the same bytes."""
    data = encode(Packet(*PORTS, 9, (data_chunk(6, 0, b"abcd"),)))
    init = encode(Packet(*PORTS, 0, (init_chunk(INIT, Init(5, 6)),)))

    for rendered, chunk in ((data, SCTPChunkData), (init, SCTPChunkInit)):
        read = SCTP(rendered)
        assert (read.sport, read.dport, chunk in read) == (*PORTS, True)
        del read.chksum
        assert bytes(read) == rendered


def test_cookie() -> None:
    chunk = init_chunk(INIT_ACK, Init(5, 6, b"cookie"))

    assert read_init(chunk) == Init(5, 6, b"cookie")


@pytest.mark.parametrize("flipped", range(24))
def test_damaged(flipped: int) -> None:
    data = bytearray(encode(Packet(*PORTS, 9, (data_chunk(6, 0, b"abc"),))))
    data[flipped] ^= 1

    assert decode(bytes(data)) is None


@given(st.binary(max_size=64), st.sampled_from([DATA, INIT]))
def test_any_bytes(body: bytes, kind: int) -> None:
    """They are a packet or none; what is cut short has nothing to say."""
    decode(body)
    chunk = Chunk(kind, 3, body)

    assert (read_data(chunk) is None) == (len(body) < 12)
    init = read_init(chunk)
    assert init is None or len(body) >= 16
