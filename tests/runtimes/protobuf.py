"""Protobuf messages by hand, as far as CRI needs them (protobuf.dev, "Encoding"): no generated stubs."""

from collections.abc import Iterator
from typing import TypeAlias

Value: TypeAlias = "int | str | Message"
Message: TypeAlias = "tuple[tuple[int, Value], ...]"
"""Fields in order: number and value; a field that repeats stands there once for each value."""

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


def encode(message: Message) -> bytes:
    """Encode a message; its numbers are unsigned or positive, its strings UTF-8."""
    return b"".join(_field(number, value) for number, value in message)


def decode(data: bytes) -> dict[int, list[int | bytes]]:
    """Decode one level of a message: its numbers, and its strings and messages as bytes."""
    fields: dict[int, list[int | bytes]] = {}
    for number, value in _fields(data):
        fields.setdefault(number, []).append(value)
    return fields


def _field(number: int, value: Value) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3 | _VARINT) + _varint(value)
    body = value.encode() if isinstance(value, str) else encode(value)
    return _varint(number << 3 | _LENGTH) + _varint(len(body)) + body


def _varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        kind = tag & 7
        if kind == _VARINT:
            number, at = _read_varint(data, at)
            yield tag >> 3, number
            continue
        length, at = (8 if kind == _FIXED64 else 4, at) if kind != _LENGTH else _read_varint(data, at)
        assert kind in {_FIXED64, _LENGTH, _FIXED32}, f"field {tag >> 3} of kind {kind}"
        yield tag >> 3, data[at : at + length]
        at += length


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
