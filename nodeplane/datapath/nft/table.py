"""A table as a value: its chains, maps and rules, which never change, and the elements, which do."""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from operator import itemgetter

import msgspec

from nodeplane.datapath.nft.expr import Family

# Data types as `nft list` names them (nftables datatype.h); a concatenation packs them six bits each.
TYPES = {
    "ipv4_addr": 7,
    "ipv6_addr": 8,
    "inet_proto": 12,
    "inet_service": 13,
    "mark": 19,
    "classid": 23,
}
_TYPE_BYTES = {"ipv4_addr": 4, "ipv6_addr": 16, "inet_proto": 1, "inet_service": 2, "mark": 4, "classid": 4}
HOST_ENDIAN = {"mark", "classid"}
VERDICT_TYPE = 0xFFFFFF00  # NFT_DATA_VERDICT

Elements = Mapping[str, Mapping[bytes, bytes]]
"""Elements by map name: encoded key to encoded data (empty for a set)."""


class ElementChange(msgspec.Struct, frozen=True):
    """What changes in one map; a key whose data changes is both removed and added, in that order."""

    remove: Collection[bytes] = ()
    add: Mapping[bytes, bytes] = {}


class Hook(msgspec.Struct, frozen=True):
    """Where a base chain is attached: type `filter` or `nat`, netfilter hook number, priority."""

    kind: str
    number: int
    priority: int


class Chain(msgspec.Struct, frozen=True):
    """A chain; with a hook it is a base chain, policy accept."""

    name: str
    comment: str
    hook: Hook | None = None


class Map(msgspec.Struct, frozen=True):
    """A map, or a set if it has no data. `data` is a tuple of types or the word `verdict`."""

    name: str
    comment: str
    key: tuple[str, ...]
    data: tuple[str, ...] | str = ()

    @property
    def key_bytes(self) -> int:
        """Length of an encoded key: each field is padded to four bytes when there are several."""
        return _length(self.key)

    @property
    def data_bytes(self) -> int:
        """Length of encoded data."""
        return _length(self.data) if isinstance(self.data, tuple) else 0


class Rule(msgspec.Struct, frozen=True):
    """A rule: encoded expressions, and the comment that `nft list` shows."""

    chain: str
    expressions: bytes
    comment: str = ""


class Table(msgspec.Struct, frozen=True):
    """The constant part of a table. `fixed` holds elements that belong to it, such as verdicts."""

    family: Family
    name: str
    comment: str
    chains: tuple[Chain, ...]
    maps: tuple[Map, ...]
    rules: tuple[Rule, ...]
    fixed: Elements

    @property
    def signature(self) -> str:
        """The comment that the kernel keeps for us: what this is, and a digest of all of it."""
        digest = hashlib.sha256(msgspec.msgpack.encode(self)).hexdigest()[:16]
        return f"{self.comment} {digest}"


class TableState(msgspec.Struct, frozen=True):
    """A table as the kernel holds it."""

    signature: str
    use: int
    rules: tuple[tuple[str, bytes], ...]
    elements: dict[str, dict[bytes, bytes]]

    def holds(self, table: Table) -> bool:
        """Say whether the constant part is exactly `table`, whatever its dynamic elements are."""
        return (
            self.signature == table.signature
            # The kernel counts chains and maps of a table: one too many is somebody else's.
            and self.use == len(table.chains) + len(table.maps)
            and _by_chain(self.rules) == _by_chain((rule.chain, rule.expressions) for rule in table.rules)
            and all(self.elements.get(name) == dict(content) for name, content in table.fixed.items())
        )


def _by_chain(rules: Iterable[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """Order rules by chain; the sort is stable, so their order inside a chain still counts."""
    return sorted(rules, key=itemgetter(0))


def _length(types: tuple[str, ...]) -> int:
    sizes = [_TYPE_BYTES[name] for name in types]
    return sizes[0] if len(sizes) == 1 else sum(size + (-size % 4) for size in sizes)


def type_number(types: tuple[str, ...]) -> int:
    """Pack data types into the number that `nft list` reads them back from."""
    number = 0
    for name in types:
        number = number << 6 | TYPES[name]
    return number
