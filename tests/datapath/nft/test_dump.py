"""Whatever the kernel says of a table, decoding gives a value."""

from hypothesis import given, settings
from hypothesis import strategies as st

from nodeplane.datapath.nft import netlink as nl
from nodeplane.datapath.nft.dump import (
    decode_comment,
    decode_elements,
    decode_hook,
    decode_ranges,
    decode_rule,
    decode_shape,
    decode_uses,
)
from nodeplane.datapath.nft.table import ElementUse, Hook, MapShape

# Attributes nested at random make deeper garbage than plain bytes do.
GARBAGE = st.recursive(
    st.binary(max_size=24),
    lambda inner: st.lists(st.tuples(st.integers(0, 12), inner), max_size=4).map(
        lambda pairs: b"".join(nl.attribute(kind, payload) for kind, payload in pairs)
    ),
    max_leaves=12,
)


@given(GARBAGE)
@settings(deadline=None)
def test_any_bytes(data: bytes) -> None:
    """Garbage is decoded to something, never to an exception."""
    view = memoryview(data)
    facts = nl.attribute_map(view)

    elements, odd = decode_elements(view)
    assert odd >= 0
    assert all(isinstance(key, bytes) for key in elements)
    assert isinstance(decode_hook(facts), Hook | None)
    assert isinstance(decode_shape(facts), MapShape)
    assert isinstance(decode_rule(facts)[0], str)
    assert isinstance(decode_comment(view), str)
    assert all(use.packets >= 0 and use.expires_s >= 0 for use in decode_uses(view))


def test_odd_elements() -> None:
    """A catch-all, one with flags and one that runs out are counted, not mistaken for ours."""
    key = nl.nested(1, nl.attribute(1, b"key."))
    entries = [key, key + nl.u32(3, 1), nl.u32(3, 2), key + nl.attribute(4, bytes(8))]
    message = memoryview(nl.nested(3, *(nl.nested(1, entry) for entry in entries)))

    assert decode_elements(message) == ({b"key.": b""}, 3)


def test_ranges() -> None:
    """A range is its first key and its last, wherever its borders are; what is none is counted."""
    keys = [nl.nested(1, nl.attribute(1, key)) for key in (b"key.", b"lay/")]
    begin, end = keys[0], keys[1] + nl.u32(3, 1)
    odd = [keys[0] + nl.u32(3, 1), nl.u32(3, 2), keys[0] + nl.attribute(4, bytes(8))]
    first, second, others = (
        memoryview(nl.nested(3, *(nl.nested(1, entry) for entry in part))) for part in ([end], [begin], odd)
    )

    assert decode_ranges([first, second]) == ({b"key.lay.": b""}, 0)
    assert decode_ranges([first, second, others]) == ({b"key.lay.": b""}, 3)


def test_uses() -> None:
    """What an element has counted and how long it lasts; what has no key is left out."""
    key, data = nl.nested(1, nl.attribute(1, b"key.")), nl.nested(2, nl.attribute(1, b"data"))
    counter = nl.nested(2, nl.attribute(1, bytes(7) + b"\xff"), nl.attribute(2, bytes(7) + b"\x03"))
    counted = key + data + nl.nested(7, nl.text(1, "counter"), counter)
    ending = (
        key
        + data
        + nl.attribute(4, (10_000).to_bytes(8, "big"))
        + nl.attribute(5, (2_500).to_bytes(8, "big"))
    )
    message = memoryview(nl.nested(3, *(nl.nested(1, entry) for entry in (counted, ending, key, data))))

    assert list(decode_uses(message)) == [
        ElementUse(b"key.", b"data", packets=3),
        ElementUse(b"key.", b"data", expires_s=2.5),
        ElementUse(b"key.", b""),
    ]


def test_shape() -> None:
    """Flags, types, lengths, the most elements, and whether each counts."""
    declared = [nl.u32(3, 0x28), nl.u32(4, 7), nl.u32(5, 4), nl.u32(6, 23), nl.u32(7, 4)]
    described = nl.nested(9, nl.u32(1, 100))
    counts = nl.nested(17, nl.text(1, "counter"))
    facts = nl.attribute_map(memoryview(b"".join((*declared, described, counts))))

    assert decode_shape(facts) == MapShape(0x28, 7, 4, 23, 4, size=100, counted=True)
