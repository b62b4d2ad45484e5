"""What the kernel says of a table: attributes of dumped messages to values. Pure; any bytes give a value.

Whatever others have put into our table is decoded too, or counted as odd: a stranger's element must not be
able to stop us from putting the table right.
"""

import struct
import sys
from collections.abc import Iterable, Iterator, Mapping

from nodeplane.datapath.nft import netlink as nl
from nodeplane.datapath.nft.borders import Border, join_borders
from nodeplane.datapath.nft.table import ElementUse, Hook, MapShape

Facts = Mapping[int, memoryview]
"""Attributes of one message by type."""

_NOTHING = memoryview(b"")
_INTERVAL, _TIMEOUT = 0x4, 0x10  # enum nft_set_flags
_INTERVAL_END = 1  # enum nft_set_elem_flags


def decode_comment(userdata: memoryview) -> str:
    """Return the first comment of user data (libnftnl udata.h: type, length, value)."""
    return nl.read_text(userdata[2 : 2 + userdata[1]]) if len(userdata) > 2 else ""


def decode_hook(chain: Facts) -> Hook | None:
    """Return where a chain is attached; None for one that is not a base chain."""
    if 4 not in chain:
        return None
    facts = nl.attribute_map(chain[4])
    (priority,) = struct.unpack(">i", bytes(facts.get(2, _NOTHING)).rjust(4, b"\0")[:4])
    return Hook(
        kind=nl.read_text(chain.get(7, _NOTHING)),
        number=nl.read_u32(facts.get(1, _NOTHING)),
        priority=priority,
    )


def decode_shape(declared: Facts) -> MapShape:
    """Return what the kernel knows of a map."""
    flags, key_type, key_length, data_type, data_length = (
        nl.read_u32(declared.get(kind, _NOTHING)) for kind in (3, 4, 5, 6, 7)
    )
    described = nl.attribute_map(declared.get(9, _NOTHING))
    counts = _first_text(declared.get(17, _NOTHING)) == "counter"
    size = nl.read_u32(described.get(1, _NOTHING))
    return MapShape(flags, key_type, key_length, data_type, data_length, size, counts)


def decode_count(declared: Facts) -> int:
    """Return how many elements a dump of a map has to have; 0 if that is not known.

    The kernel's count (NFTA_SET_COUNT) is another one for ranges, and has elements whose time is over.
    """
    is_steady = not nl.read_u32(declared.get(3, _NOTHING)) & (_INTERVAL | _TIMEOUT)
    return nl.read_u32(declared.get(20, _NOTHING)) if is_steady else 0


def distinct_keys(message: memoryview) -> Iterator[bytes]:
    """Yield what tells each element of a message from others: its first attribute, the key."""
    for kind, entries in nl.attributes(message):
        if kind == 3:
            for _, entry in nl.attributes(entries):
                yield bytes(entry[: int.from_bytes(entry[:2], sys.byteorder)])


def decode_rule(rule: Facts) -> tuple[str, bytes, str]:
    """Return a rule's chain, its expressions and its comment."""
    return (
        nl.read_text(rule.get(2, _NOTHING)),
        bytes(rule.get(4, _NOTHING)),
        decode_comment(rule.get(7, _NOTHING)),
    )


def decode_elements(message: memoryview) -> tuple[dict[bytes, bytes], int]:
    """Return the elements of a message, and how many more there are that no map of ours has.

    Odd are a catch-all (no key), one with flags or a time-out, and one that runs out.
    """
    elements: dict[bytes, bytes] = {}
    odd = 0
    for facts in _entries(message):
        if 1 not in facts or nl.read_u32(facts.get(3, _NOTHING)) or 4 in facts:
            odd += 1
            continue
        elements[_first(facts[1])] = _first(facts[2]) if 2 in facts else b""
    return elements, odd


def decode_ranges(messages: Iterable[memoryview]) -> tuple[dict[bytes, bytes], int]:
    """Return the ranges of a map, and how many elements there are that no map of ours has."""
    borders = []
    odd = 0
    for message in messages:
        for facts in _entries(message):
            flags = nl.read_u32(facts.get(3, _NOTHING))
            if 1 not in facts or flags & ~_INTERVAL_END or 4 in facts:
                odd += 1
                continue
            data = _first(facts[2]) if 2 in facts else b""
            borders.append(Border(_first(facts[1]), not flags, data))
    ranges, odd_borders = join_borders(borders)
    return ranges, odd + odd_borders


def decode_uses(message: memoryview) -> Iterator[ElementUse]:
    """Yield the elements of a message with what the kernel has noted of their use."""
    for facts in _entries(message):
        if 1 in facts:
            expires_ms = int.from_bytes(facts.get(5, _NOTHING), "big")
            data = _first(facts[2]) if 2 in facts else b""
            yield ElementUse(_first(facts[1]), data, _packets(facts.get(7, _NOTHING)), expires_ms / 1000)


def _entries(message: memoryview) -> Iterator[Facts]:
    for kind, entries in nl.attributes(message):
        if kind == 3:
            for _, entry in nl.attributes(entries):
                yield nl.attribute_map(entry)


def _packets(expression: memoryview) -> int:
    """Return the packets of an element's counter (nft_counter: bytes, packets)."""
    counter = nl.attribute_map(nl.attribute_map(expression).get(2, _NOTHING))
    return int.from_bytes(counter.get(2, _NOTHING), "big")


def _first_text(expression: memoryview) -> str:
    return nl.read_text(nl.attribute_map(expression).get(1, _NOTHING))


def _first(data: memoryview) -> bytes:
    """Return the payload of the only attribute inside: a value or a verdict."""
    return bytes(next((payload for _, payload in nl.attributes(data)), b""))
