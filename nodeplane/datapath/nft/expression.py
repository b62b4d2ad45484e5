"""A rule's expressions as values; `decode` makes them from the kernel's bytes."""

from typing import Literal, TypeAlias

import msgspec

VERDICT_REGISTER = -1
"""Where verdicts go; other registers count 32-bit words from 0."""
REGISTERS = 16

BaseHeader = Literal["network", "transport"]


class LoadPayload(msgspec.Struct, frozen=True):
    """Bytes of a header."""

    header: BaseHeader
    offset: int
    length: int
    register: int


class LoadMeta(msgspec.Struct, frozen=True):
    """A property of the packet, by its number in enum nft_meta_keys."""

    key: int
    register: int


class StoreMeta(msgspec.Struct, frozen=True):
    """The same, written."""

    key: int
    register: int


class LoadCt(msgspec.Struct, frozen=True):
    """A property of the connection, by its number in enum nft_ct_keys."""

    key: int
    register: int


class LoadAddressType(msgspec.Struct, frozen=True):
    """What the routing tables say of the packet's address."""

    field: Literal["saddr", "daddr"]
    register: int


class LoadConstant(msgspec.Struct, frozen=True):
    """A constant."""

    value: bytes
    register: int


class Verdict(msgspec.Struct, frozen=True):
    """The end of a rule; `name` is accept, drop, jump, goto, return or continue."""

    name: str
    chain: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.chain}".rstrip()


class Mask(msgspec.Struct, frozen=True):
    """Keep the bits of `mask`, then turn those of `flip` over."""

    source: int
    register: int
    mask: bytes
    flip: bytes


class Compare(msgspec.Struct, frozen=True):
    """Go on only if the register's first bytes compare so."""

    operator: str
    value: bytes
    register: int


class Lookup(msgspec.Struct, frozen=True):
    """Find a key; `value` is the register for its data, None for a set."""

    map_name: str
    key: int
    value: int | None
    is_inverted: bool


class LoadNumber(msgspec.Struct, frozen=True):
    """A number below `modulus`, plus `offset`: by chance, or each in turn."""

    register: int
    modulus: int
    offset: int
    is_random: bool


class LoadHash(msgspec.Struct, frozen=True):
    """A hash of `length` bytes of registers, below `modulus`, plus `offset`."""

    source: int
    register: int
    length: int
    modulus: int
    seed: int
    offset: int


class ChangeElement(msgspec.Struct, frozen=True):
    """Change a dynamic map: add, update or delete."""

    operation: str
    map_name: str
    key: int
    data: int | None
    timeout_s: float


class Translate(msgspec.Struct, frozen=True):
    """Translate the connection's destination, or its source."""

    kind: Literal["dnat", "snat"]
    address: int | None
    port: int | None


class Masquerade(msgspec.Struct, frozen=True):
    """Translate the source to an address of the outgoing interface."""


class Reject(msgspec.Struct, frozen=True):
    """Answer and drop: with a TCP reset, or with an ICMP error."""

    with_reset: bool


class Passive(msgspec.Struct, frozen=True):
    """What leaves the packet as it is, such as a counter."""

    name: str


class Unknown(msgspec.Struct, frozen=True):
    """An expression that is not read."""

    name: str


Expression: TypeAlias = (
    LoadPayload
    | LoadMeta
    | StoreMeta
    | LoadCt
    | LoadAddressType
    | LoadConstant
    | Verdict
    | Mask
    | Compare
    | Lookup
    | LoadNumber
    | LoadHash
    | ChangeElement
    | Translate
    | Masquerade
    | Reject
    | Passive
    | Unknown
)
