"""The 32-bit number that leads a new connection from its frontend to an endpoint.

It is the data of `frontends`, travels from rule to rule in the packet's `meta priority`, and is the first
field of a slot's key. Host-endian, from the top bit down:

    0 | kind 3 | class 6             | pool 22      a pool without session affinity
    1 | kind 3 | timeout 5 | size 5  | pool 18      a pool with it
    0 | member 13                    | pool 18      one endpoint of a pool with session affinity

The *kind* is a frontend's: what is to be done about the client's address. Once that is done it is cleared, so
that all frontends of a service port share one pool. A *class* is a way to choose: one of so many slots, by
chance or by a hash, or none at all. A *member* keeps its pool's number, so that the rules find back to the
pool when the member is gone.
"""

from enum import IntEnum

from kubeproxy.rules.sizes import AFFINITY_SIZES, AFFINITY_TIMEOUTS_S, BALANCE_SIZES, HASH_SIZES


class Kind(IntEnum):
    """What a frontend does about the client's address, and whom it lets in."""

    CLUSTER_IP = 0
    EXTERNAL = 1
    EXTERNAL_LOCAL = 2
    RESTRICTED = 3
    RESTRICTED_LOCAL = 4


LOCAL_KINDS = frozenset({Kind.EXTERNAL_LOCAL, Kind.RESTRICTED_LOCAL})
RESTRICTED_KINDS = frozenset({Kind.RESTRICTED, Kind.RESTRICTED_LOCAL})


KIND_SHIFT = 28
KIND_MASK = 0x7 << KIND_SHIFT
WITHOUT_KIND = 0xFFFFFFFF & ~KIND_MASK

CLASS_SHIFT = PLAIN_POOL_BITS = 22
CLASS_MASK = 0xFFFFFFFF & ~((1 << PLAIN_POOL_BITS) - 1)

AFFINE = 1 << 31
TIMEOUT_SHIFT = 23
TIMEOUT_MASK = 0x1F << TIMEOUT_SHIFT
SIZE_SHIFT = MEMBER_SHIFT = AFFINE_POOL_BITS = 18
SIZE_MASK = 0x1F << SIZE_SHIFT
AFFINE_POOL_MASK = (1 << AFFINE_POOL_BITS) - 1
MEMBER_BITS = 13

# Classes: drawn by chance, hashed by client, hashed by client and port, refused.
FIRST_SOURCE_HASH = len(BALANCE_SIZES)
FIRST_FLOW_HASH = FIRST_SOURCE_HASH + len(HASH_SIZES)
CLASS_DROP, CLASS_REJECT = 62, 63

DROP = CLASS_DROP << CLASS_SHIFT
REJECT = CLASS_REJECT << CLASS_SHIFT


def plain_value(class_: int, number: int) -> int:
    """Return the value of a pool without session affinity."""
    return class_ << CLASS_SHIFT | number


def affine_value(timeout: int, size: int, number: int) -> int:
    """Return the value of a pool with session affinity; `timeout` and `size` are places in their ladders."""
    return AFFINE | timeout << TIMEOUT_SHIFT | size << SIZE_SHIFT | number


def member_value(member: int, number: int) -> int:
    """Return the value of one endpoint of a pool with session affinity."""
    return member << MEMBER_SHIFT | number


def with_kind(value: int, kind: Kind) -> int:
    """Return the value as a frontend of this kind has it."""
    return value | kind << KIND_SHIFT


def kind_of(value: int) -> Kind:
    """Return the kind of a frontend's value."""
    return Kind((value & KIND_MASK) >> KIND_SHIFT)


def describe(value: int) -> str:
    """Say in words how a value chooses; numbers that no pool of ours has are given as they are."""
    value &= WITHOUT_KIND
    if value & AFFINE:
        timeout, size = (value & TIMEOUT_MASK) >> TIMEOUT_SHIFT, (value & SIZE_MASK) >> SIZE_SHIFT
        if timeout < len(AFFINITY_TIMEOUTS_S) and size < len(AFFINITY_SIZES):
            return f"random of {AFFINITY_SIZES[size]}, kept {AFFINITY_TIMEOUTS_S[timeout]} s"
        return f"{value:#x}"
    class_ = value >> CLASS_SHIFT
    if class_ < FIRST_SOURCE_HASH:
        return f"random of {BALANCE_SIZES[class_]}"
    if class_ < FIRST_FLOW_HASH:
        return f"hash of the client, {HASH_SIZES[class_ - FIRST_SOURCE_HASH]} slots"
    if class_ < FIRST_FLOW_HASH + len(HASH_SIZES):
        return f"hash of client and port, {HASH_SIZES[class_ - FIRST_FLOW_HASH]} slots"
    return {CLASS_DROP: "drop", CLASS_REJECT: "reject"}.get(class_, f"{value:#x}")


def as_classid(value: int) -> str:
    """Write a value as `nft list` does: a class id, both halves in hexadecimal."""
    return f"{value >> 16:x}:{value & 0xFFFF:x}"
