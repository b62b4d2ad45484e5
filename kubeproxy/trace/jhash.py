"""The hash of nft's `jhash` (linux/jhash.h: Bob Jenkins' lookup3), as nft_hash.c takes it into a modulus."""

import struct

_START = 0xDEADBEEF
_BITS = 0xFFFFFFFF


def choose(key: bytes, seed: int, modulus: int) -> int:
    """Return the number below `modulus` that the kernel chooses for a key (nft_jhash_eval)."""
    # reciprocal_scale(), not a remainder.
    return jhash(key, seed) * modulus >> 32


def jhash(key: bytes, seed: int) -> int:
    """Hash bytes of any length."""
    a = b = c = (_START + len(key) + seed) & _BITS
    while len(key) > 12:
        x, y, z = struct.unpack_from("=III", key)
        a, b, c = _mix((a + x) & _BITS, (b + y) & _BITS, (c + z) & _BITS)
        key = key[12:]
    if not key:
        return c
    # The last bytes are added as little-endian words, whatever the machine; the words before are its own.
    x, y, z = struct.unpack("<III", key.ljust(12, b"\0"))
    return _finish((a + x) & _BITS, (b + y) & _BITS, (c + z) & _BITS)


def _turn(word: int, by: int) -> int:
    return (word << by | word >> (32 - by)) & _BITS


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for by in (4, 6, 8, 16, 19, 4):
        a = (a - c) & _BITS ^ _turn(c, by)
        c = (c + b) & _BITS
        a, b, c = b, c, a
    return a, b, c


def _finish(a: int, b: int, c: int) -> int:
    for by in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _turn(b, by)) & _BITS
        a, b, c = b, c, a
    return b
