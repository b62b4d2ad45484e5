"""What can be found wrong in a datastore, and what would put it right: values."""

import msgspec

from ipam.model import Handle


class SettleAddress(msgspec.Struct, frozen=True, order=True, tag=True):
    """Make a block say of an address what its allocation says, or that it is free when it has none."""

    pool: str
    block: str
    address: str


class SettleHandle(msgspec.Struct, frozen=True, order=True, tag=True):
    """Make a handle list, of these and what it lists, the addresses that are allocated to it."""

    handle: Handle
    addresses: tuple[str, ...]


class SettleQueue(msgspec.Struct, frozen=True, order=True, tag=True):
    """Make a block's free addresses a list in which each is once, and in range."""

    pool: str
    block: str


class RestoreBlock(msgspec.Struct, frozen=True, order=True, tag=True):
    """Write a block that has allocations and is not there, all in use; what is not so is found next."""

    pool: str
    block: str
    node: str


class SettleEntry(msgspec.Struct, frozen=True, order=True, tag=True):
    """Write an index entry as the blocks have it, provided that it still is what was seen."""

    key: str
    seen: bytes | None
    expected: bytes | None


class SettlePlace(msgspec.Struct, frozen=True, order=True, tag=True):
    """Make an allocation name the block that its address lies in."""

    address: str
    pool: str
    block: str


class SettleKey(msgspec.Struct, frozen=True, order=True, tag=True):
    """Put right what lies under a key, from what others say, provided that it still is what was seen."""

    key: str
    seen: bytes


Fix = SettleKey | SettlePlace | SettleAddress | SettleHandle | SettleQueue | RestoreBlock | SettleEntry


class Finding(msgspec.Struct, frozen=True):
    """One contradiction: what it is about, what is wrong with it, and what would put it right."""

    subject: str
    problem: str
    fix: Fix | None = None
