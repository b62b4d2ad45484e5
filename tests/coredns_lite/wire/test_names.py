"""Domain names on the wire; dnspython is the independent reading of every one."""

import dns.exception
import dns.name
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coredns_lite.wire.names import (
    ROOT,
    NameFormatError,
    decode_name,
    encode_label,
    encode_name,
    label_offsets,
    lower_name,
    read_name,
    skip_name,
)

LABEL_63 = b"\x3f" + b"a" * 63
# 3 x 64 + 62 + 1: as long as a name can be.
NAME_255 = LABEL_63 * 3 + b"\x3d" + b"b" * 61 + ROOT


@st.composite
def wire_names(draw: st.DrawFn) -> bytes:
    """Draw any name that fits 255 bytes."""
    labels = draw(st.lists(st.binary(min_size=1, max_size=63), max_size=127))
    name = b""
    for label in labels:
        if len(name) + 1 + len(label) < 255:
            name += bytes([len(label)]) + label
    return name + ROOT


@pytest.mark.parametrize(
    ("text", "wire"),
    [
        pytest.param(".", b"\0", id="root"),
        pytest.param("a.example.", b"\x01a\x07example\0", id="absolute"),
        pytest.param("a.example", b"\x01a\x07example\0", id="without the final dot"),
        pytest.param("A.eXample", b"\x01A\x07eXample\0", id="case is kept"),
        pytest.param(r"a\.b.c", b"\x03a.b\x01c\0", id="escaped dot"),
        pytest.param(r"a\000\255.", b"\x03a\x00\xff\0", id="decimal escapes"),
        pytest.param(".".join(["a" * 63] * 3 + ["b" * 61]), NAME_255, id="255 bytes"),
    ],
)
def test_encode(text: str, wire: bytes) -> None:
    assert encode_name(text) == wire == dns.name.from_text(text).to_wire()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("a..b", id="empty label"),
        pytest.param(".a", id="leading dot"),
        pytest.param("..", id="two dots"),
        pytest.param("a" * 64, id="label of 64 bytes"),
        pytest.param(".".join(["a" * 63] * 3 + ["b" * 62]), id="256 bytes"),
        pytest.param("a\\", id="nothing after the backslash"),
        pytest.param(r"a\25", id="two digits"),
        pytest.param(r"a\256", id="more than a byte"),
        pytest.param("caf\N{LATIN SMALL LETTER E WITH ACUTE}", id="not ASCII"),
    ],
)
def test_encode_refuses(text: str) -> None:
    with pytest.raises(NameFormatError):
        encode_name(text)


@pytest.mark.parametrize("label", [pytest.param(b"", id="empty"), pytest.param(b"a" * 64, id="64 bytes")])
def test_encode_label_refuses(label: bytes) -> None:
    with pytest.raises(NameFormatError):
        encode_label(label)


@given(wire_names())
@settings(deadline=None)
def test_text_round_trip(wire: bytes) -> None:
    assert encode_name(decode_name(wire)) == wire
    assert dns.name.from_text(decode_name(wire)).to_wire() == wire


@given(wire_names(), st.binary(max_size=20), st.binary(max_size=20))
@settings(deadline=None)
def test_wire_round_trip(wire: bytes, before: bytes, after: bytes) -> None:
    message = before + wire + after

    assert read_name(message, len(before)) == (wire, len(before) + len(wire))
    assert skip_name(message, len(before)) == len(before) + len(wire)


@given(st.text())
@settings(deadline=None)
def test_any_text(text: str) -> None:
    try:
        wire = encode_name(text)
    except NameFormatError:
        return
    assert read_name(wire, 0) == (wire, len(wire))


@pytest.mark.parametrize(
    ("message", "start", "name", "end"),
    [
        pytest.param(b"\x01a\0" + b"\x01b\xc0\x00" + b"!", 3, b"\x01b\x01a\0", 7, id="pointer"),
        pytest.param(b"\x01a\0\xc0\x00\xc0\x03", 5, b"\x01a\0", 7, id="pointer to a pointer"),
        pytest.param(NAME_255 + b"\xc0\x00", 255, NAME_255, 257, id="pointer to 255 bytes"),
        pytest.param(
            b"\0" + b"".join(bytes([0xC0, max(0, 2 * n - 1)]) for n in range(16)),
            31,
            b"\0",
            33,
            id="16 pointers",
        ),
    ],
)
def test_read(message: bytes, start: int, name: bytes, end: int) -> None:
    assert read_name(message, start) == (name, end)
    assert skip_name(message, start) == end


@pytest.mark.parametrize(
    ("message", "start"),
    [
        pytest.param(b"\xc0\x00", 0, id="pointer to itself"),
        pytest.param(b"\x01a\xc0\x00", 0, id="pointer to its own label"),
        pytest.param(b"\xc0\x02\xc0\x00", 0, id="pointers to one another"),
        pytest.param(b"\xc0\x03\x00\x00", 0, id="pointer forwards"),
        pytest.param(b"\x02\0\xc0\0\0", 2, id="pointer to what overlaps it"),
        pytest.param(
            b"\0" + b"".join(bytes([0xC0, max(0, 2 * n - 1)]) for n in range(17)), 33, id="17 pointers"
        ),
        pytest.param(b"\x40a\0", 0, id="label type 01"),
        pytest.param(b"\x80a\0", 0, id="label type 10"),
        pytest.param(b"\x05ab", 0, id="label runs off"),
        pytest.param(b"\x02ab", 0, id="no root"),
        pytest.param(b"\xc0", 0, id="half a pointer"),
        pytest.param(b"", 0, id="nothing"),
        pytest.param(b"\x01" + NAME_255, 0, id="256 bytes and more"),
        pytest.param(NAME_255 + b"\x01a\xc0\x00", 255, id="256 bytes through a pointer"),
    ],
)
def test_read_refuses(message: bytes, start: int) -> None:
    with pytest.raises(NameFormatError):
        read_name(message, start)


@given(
    st.binary(max_size=300)
    | st.lists(st.sampled_from([b"\x01a", b"\xc0", b"\0", b"\x02", b"\x3f"])).map(b"".join)
)
@settings(deadline=None)
def test_read_agrees_with_dnspython(message: bytes) -> None:
    """The same names are read, the same bytes refused."""
    for start in range(min(len(message), 40)):
        try:
            name, used = dns.name.from_wire(message, start)
            expected: object = (name.to_wire(), start + used)
        except dns.exception.DNSException:
            expected = NameFormatError
        try:
            found: object = read_name(message, start)
        except NameFormatError:
            found = NameFormatError
        assert found == expected


def test_label_offsets_and_case() -> None:
    name = b"\x01A\x03BcD\0"

    assert [name[at:] for at in label_offsets(name)] == [b"\x01A\x03BcD\0", b"\x03BcD\0"]
    assert lower_name(name) == b"\x01a\x03bcd\0"
