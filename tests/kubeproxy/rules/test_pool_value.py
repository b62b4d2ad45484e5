"""Values: their fields are apart from one another, and words for each."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeproxy.rules import pool_value as pv
from kubeproxy.rules.pool_value import DROP, REJECT, Kind, affine_value, describe, member_value, plain_value
from kubeproxy.rules.sizes import AFFINITY_SIZES, AFFINITY_TIMEOUTS_S, BALANCE_SIZES, HASH_SIZES, MAX_MEMBERS

CLASSES = len(BALANCE_SIZES) + 2 * len(HASH_SIZES)
KINDS = st.sampled_from(Kind)


@given(st.integers(0, CLASSES - 1), st.integers(0, 2**pv.PLAIN_POOL_BITS - 1), KINDS)
def test_plain(class_: int, number: int, kind: Kind) -> None:
    """A value without session affinity says class, pool and kind."""
    value = pv.with_kind(plain_value(class_, number), kind)

    assert value < pv.AFFINE
    assert value & pv.CLASS_MASK & pv.WITHOUT_KIND == class_ << pv.CLASS_SHIFT
    assert value & (2**pv.PLAIN_POOL_BITS - 1) == number
    assert pv.kind_of(value) == kind
    assert value & pv.WITHOUT_KIND == plain_value(class_, number)
    assert value & pv.WITHOUT_KIND not in {DROP, REJECT}


@given(
    st.integers(0, len(AFFINITY_TIMEOUTS_S) - 1),
    st.integers(0, len(AFFINITY_SIZES) - 1),
    st.integers(0, 2**pv.AFFINE_POOL_BITS - 1),
    KINDS,
)
def test_affine(timeout: int, size: int, number: int, kind: Kind) -> None:
    """A value with it says time-out, size, pool and kind."""
    value = pv.with_kind(affine_value(timeout, size, number), kind)

    assert pv.AFFINE <= value < 2**32
    assert value & pv.TIMEOUT_MASK == timeout << pv.TIMEOUT_SHIFT
    assert value & pv.SIZE_MASK == size << pv.SIZE_SHIFT
    assert value & pv.AFFINE_POOL_MASK == number
    assert pv.kind_of(value) == kind


@given(st.integers(0, MAX_MEMBERS - 1), st.integers(0, 2**pv.AFFINE_POOL_BITS - 1))
def test_member(member: int, number: int) -> None:
    """A member says its pool, and is told from a pool by the first bit."""
    value = member_value(member, number)

    assert value < pv.AFFINE
    assert (value >> pv.MEMBER_SHIFT, value & pv.AFFINE_POOL_MASK) == (member, number)


def test_there_is_room() -> None:
    """Every class, time-out, size and member has a number in its field."""
    assert CLASSES <= pv.CLASS_DROP
    assert len(AFFINITY_TIMEOUTS_S) <= 32
    assert len(AFFINITY_SIZES) <= 32
    assert AFFINITY_SIZES[-1] <= 2**pv.MEMBER_BITS


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(plain_value(2, 7), "random of 3", id="random"),
        pytest.param(pv.with_kind(plain_value(2, 7), Kind.EXTERNAL), "random of 3", id="of any kind"),
        pytest.param(
            plain_value(pv.FIRST_SOURCE_HASH, 7), "hash of the client, 4093 slots", id="source-hash"
        ),
        pytest.param(
            plain_value(pv.FIRST_FLOW_HASH + 2, 7), "hash of client and port, 65521 slots", id="maglev"
        ),
        pytest.param(affine_value(26, 4, 7), "random of 6, kept 43200 s", id="affinity"),
        pytest.param(affine_value(31, 4, 7), "0x8f900007", id="unknown time-out"),
        pytest.param(plain_value(60, 7), "0xf000007", id="unknown class"),
        pytest.param(DROP, "drop", id="drop"),
        pytest.param(REJECT, "reject", id="reject"),
    ],
)
def test_describe(value: int, expected: str) -> None:
    """A value in words; what nobody of ours writes is given as it is."""
    assert describe(value) == expected


@pytest.mark.parametrize(("value", "expected"), [(0, "0:0"), (0x12FF0007, "12ff:7"), (REJECT, "fc0:0")])
def test_as_classid(value: int, expected: str) -> None:
    """Numbers as `nft list` has them."""
    assert pv.as_classid(value) == expected
