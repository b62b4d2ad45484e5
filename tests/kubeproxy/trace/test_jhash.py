"""Bob Jenkins' lookup3, by his own vectors (lookup3.c, driver5) and against real packets in test_packets."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubeproxy.trace.jhash import choose, jhash

SCORE = b"Four score and seven years ago"


@pytest.mark.parametrize(
    ("key", "seed", "expected"),
    [(b"", 0, 0xDEADBEEF), (b"", 0xDEADBEEF, 0xBD5B7DDE), (SCORE, 0, 0x17770551), (SCORE, 1, 0xCD628161)],
)
def test_vectors(key: bytes, seed: int, expected: int) -> None:
    assert jhash(key, seed) == expected


@given(st.binary(max_size=64), st.integers(0, 0xFFFFFFFF), st.integers(1, 0xFFFFFFFF))
@settings(deadline=None)
def test_choice_is_below_the_modulus(key: bytes, seed: int, modulus: int) -> None:
    """Any key, seed and modulus."""
    assert 0 <= choose(key, seed, modulus) < modulus
