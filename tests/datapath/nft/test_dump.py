"""Whatever the kernel says of a table, decoding gives a value."""

from hypothesis import given, settings
from hypothesis import strategies as st

from nodeplane.datapath.nft import netlink as nl
from nodeplane.datapath.nft.dump import (
    decode_comment,
    decode_elements,
    decode_hook,
    decode_rule,
    decode_shape,
)
from nodeplane.datapath.nft.table import Hook, MapShape

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


def test_odd_elements() -> None:
    """A catch-all, one with flags and one that runs out are counted, not mistaken for ours."""
    key = nl.nested(1, nl.attribute(1, b"key."))
    entries = [key, key + nl.u32(3, 1), nl.u32(3, 2), key + nl.attribute(4, bytes(8))]
    message = memoryview(nl.nested(3, *(nl.nested(1, entry) for entry in entries)))

    assert decode_elements(message) == ({b"key.": b""}, 3)
