"""What the kernel says of a table: attributes of dumped messages to values. Pure; any bytes give a value.

Whatever others have put into our table is decoded too, or counted as odd: a stranger's element must not be
able to stop us from putting the table right.
"""

import struct
from collections.abc import Mapping

from nodeplane.datapath.nft import netlink as nl
from nodeplane.datapath.nft.table import Hook, MapShape

Facts = Mapping[int, memoryview]
"""Attributes of one message by type."""

_NOTHING = memoryview(b"")


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
    return MapShape(flags, key_type, key_length, data_type, data_length)


def decode_rule(rule: Facts) -> tuple[str, bytes]:
    """Return a rule's chain and its expressions."""
    return nl.read_text(rule.get(2, _NOTHING)), bytes(rule.get(4, _NOTHING))


def decode_elements(message: memoryview) -> tuple[dict[bytes, bytes], int]:
    """Return the elements of a message, and how many more there are that no map of ours has.

    Odd are a catch-all (no key), one with flags, and one that runs out.
    """
    elements: dict[bytes, bytes] = {}
    odd = 0
    for kind, entries in nl.attributes(message):
        if kind != 3:
            continue
        for _, entry in nl.attributes(entries):
            facts = nl.attribute_map(entry)
            if 1 not in facts or _is_odd(facts):
                odd += 1
                continue
            elements[_first(facts[1])] = _first(facts[2]) if 2 in facts else b""
    return elements, odd


def _is_odd(facts: Facts) -> bool:
    # NFTA_SET_ELEM_FLAGS, _TIMEOUT, _EXPRESSIONS and _KEY_END.
    return bool(nl.read_u32(facts.get(3, _NOTHING))) or any(kind in facts for kind in (4, 7, 10, 11))


def _first(data: memoryview) -> bytes:
    """Return the payload of the only attribute inside: a value or a verdict."""
    return bytes(next((payload for _, payload in nl.attributes(data)), b""))
