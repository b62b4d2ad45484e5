"""A table as a value: its chains, maps and rules, which never change, and the elements, which do."""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import itemgetter

import msgspec

from nodeplane.datapath.nft.expr import TableFamily

# Data types as `nft list` names them (nftables datatype.h); a concatenation packs them six bits each.
TYPES = {
    "ll_addr": 6,
    "ipv4_addr": 7,
    "ipv6_addr": 8,
    "ether_addr": 9,
    "inet_proto": 12,
    "inet_service": 13,
    "mark": 19,
    "classid": 23,
    "ifname": 41,
}
_TYPE_BYTES = {
    "ipv4_addr": 4,
    "ipv6_addr": 16,
    "ether_addr": 6,
    "inet_proto": 1,
    "inet_service": 2,
    "mark": 4,
    "classid": 4,
    "ifname": 16,
}
HOST_ENDIAN = {"mark", "classid", "ifname"}
VERDICT_TYPE = 0xFFFFFF00  # NFT_DATA_VERDICT
_VERDICT_BYTES = 16  # struct nft_verdict, as the kernel reports it
# enum nft_set_flags
_INTERVAL, _IS_MAP, _TIMEOUT, _FROM_RULES = 0x4, 0x8, 0x10, 0x20
_DORMANT = 0x1  # enum nft_table_flags
ACCEPT = 1  # NF_ACCEPT

Elements = Mapping[str, Mapping[bytes, bytes]]
"""Elements by map name: encoded key to encoded data (empty for a set)."""


class ElementChange(msgspec.Struct, frozen=True):
    """What changes in one map; a key whose data changes is both removed and added, in that order."""

    remove: Collection[bytes] = ()
    add: Mapping[bytes, bytes] = {}


class ElementUse(msgspec.Struct, frozen=True):
    """An element as it is in use: `packets` of a counted map, `expires_s` of one that forgets, else 0."""

    key: bytes
    data: bytes
    packets: int = 0
    expires_s: float = 0.0


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
    """A map, or a set if it has no data.

    Attributes:
        key: Types of the key's fields.
        data: Types of the data's fields, or the word `verdict`.
        counted: Each element counts the packets that found it.
        ranges: Each key is a range: the first key and the last one put together, compared as a whole, so that
            all fields but the last are the same in both. Ranges must not overlap. Of several fields nft is
            told as of one, in hexadecimal (see `borders`).
        remembers: At most so many elements, which rules write and time takes away. They are no state of
            ours: they are not read back, compared or repaired, but a new table begins without them.
    """

    name: str
    comment: str
    key: tuple[str, ...]
    data: tuple[str, ...] | str = ()
    counted: bool = False
    ranges: bool = False
    remembers: int = 0

    @property
    def key_bytes(self) -> int:
        """Length of an encoded key: each field is padded to four bytes when there are several."""
        return _length(self.key)

    @property
    def key_types(self) -> tuple[str, ...]:
        """Types of the key as the kernel has them to tell nft."""
        return ("ll_addr",) if self.ranges and len(self.key) > 1 else self.key

    @property
    def data_bytes(self) -> int:
        """Length of encoded data."""
        return _length(self.data) if isinstance(self.data, tuple) else 0

    @property
    def shape(self) -> "MapShape":
        """What the kernel will know of it."""
        is_verdict = self.data == "verdict"
        return MapShape(
            flags=(_IS_MAP if self.data else 0)
            | (_INTERVAL if self.ranges else 0)
            | (_TIMEOUT | _FROM_RULES if self.remembers else 0),
            key_type=type_number(self.key_types),
            key_length=self.key_bytes,
            data_type=VERDICT_TYPE if is_verdict else type_number(tuple(self.data)),
            data_length=_VERDICT_BYTES if is_verdict else self.data_bytes,
            size=self.remembers,
            counted=self.counted,
        )


class TableParts(msgspec.Struct, frozen=True):
    """What stands in a table beside elements, whoever put it there.

    Attributes:
        chains: Where each is attached.
        rules: Expressions and comments of each chain's rules, in order.
        maps: Names of maps and sets.
        objects: Names and types of counters, quotas and the like.
        flowtables: Their names.
    """

    chains: Mapping[str, Hook | None] = {}
    rules: Mapping[str, Sequence[tuple[bytes, str]]] = {}
    maps: tuple[str, ...] = ()
    objects: tuple[tuple[str, int], ...] = ()
    flowtables: tuple[str, ...] = ()


class Rule(msgspec.Struct, frozen=True):
    """A rule: encoded expressions, and the comment that `nft list` shows."""

    chain: str
    expressions: bytes
    comment: str = ""


def rules_by_chain(rules: Iterable[tuple[str, bytes, str]]) -> dict[str, list[tuple[bytes, str]]]:
    """Group chain, expressions and comment by chain."""
    found: dict[str, list[tuple[bytes, str]]] = {}
    for chain, expressions, comment in rules:
        found.setdefault(chain, []).append((expressions, comment))
    return found


class Table(msgspec.Struct, frozen=True):
    """The constant part of a table. `fixed` holds elements that belong to it, such as verdicts."""

    family: TableFamily
    name: str
    comment: str
    chains: tuple[Chain, ...]
    maps: tuple[Map, ...]
    rules: tuple[Rule, ...]
    fixed: Elements

    @property
    def signature(self) -> str:
        """The comment that the kernel keeps for us: what this is, and a digest of its maps.

        The kernel never changes a table's comment. Rules are compared as they are, and may be written anew in
        a table that stays; one with other maps takes the place of the whole.
        """
        maps = msgspec.msgpack.encode((self.family, self.name, self.comment, self.maps))
        return f"{self.comment} {hashlib.sha256(maps).hexdigest()[:16]}"

    def asleep(self) -> "Table":
        """Return the same table without the rules of its base chains: nothing in it is reached.

        A dormant table would do no better: without any chain of type nat in the namespace the kernel stops
        translating established connections too (nf_nat_unregister_fn).
        """
        hooked = {chain.name for chain in self.chains if chain.hook}
        return msgspec.structs.replace(
            self, rules=tuple(rule for rule in self.rules if rule.chain not in hooked)
        )


class MapShape(msgspec.Struct, frozen=True):
    """What the kernel knows of a map beside its elements; lengths in bytes, a size of 0 is unlimited."""

    flags: int
    key_type: int
    key_length: int
    data_type: int
    data_length: int
    size: int = 0
    counted: bool = False


class TableState(msgspec.Struct, frozen=True):
    """A table as the kernel holds it: its chains and maps are those that were asked for and are there.

    `policies` are the base chains', `use` is the kernel's own count of chains, maps and other objects, and
    `odd_maps` have elements that no map of ours ever has, such as a catch-all.
    """

    signature: str
    flags: int
    use: int
    hooks: dict[str, Hook | None]
    policies: dict[str, int]
    shapes: dict[str, MapShape]
    rules: tuple[tuple[str, bytes, str], ...]
    elements: dict[str, dict[bytes, bytes]]
    odd_maps: frozenset[str] = frozenset()

    def holds(self, table: Table) -> bool:
        """Say whether the constant part is exactly `table`, whatever its dynamic elements are."""
        fixed = {name: dict(content) for name, content in table.fixed.items()}
        return self._constant_part() == build_state(table, {})._constant_part() and (
            {name: self.elements.get(name) for name in fixed} == fixed and not self.odd_maps
        )

    def can_be_repaired(self, table: Table) -> bool:
        """Say whether the constant part can be put right without writing elements that are right."""
        return self.signature == table.signature and all(
            self.shapes[declared.name] == declared.shape
            for declared in table.maps
            if declared.name in self.shapes
        )

    @property
    def is_asleep(self) -> bool:
        """Say whether no packet reaches a rule."""
        hooked = {name for name, hook in self.hooks.items() if hook}
        return bool(self.flags & _DORMANT) or not any(chain in hooked for chain, _, _ in self.rules)

    @property
    def elements_to_keep(self) -> dict[str, dict[bytes, bytes]]:
        """The elements but for those of odd maps, which a repair empties."""
        return {name: part for name, part in self.elements.items() if name not in self.odd_maps}

    def _constant_part(self) -> tuple[object, ...]:
        # The sort is stable, so the order of rules inside a chain still counts.
        rules = sorted(self.rules, key=itemgetter(0))
        return self.signature, self.flags, self.use, self.hooks, self.policies, self.shapes, rules


def build_state(table: Table, elements: Elements) -> TableState:
    """Build the state of a table that has just been written."""
    content: dict[str, dict[bytes, bytes]] = {
        declared.name: {} for declared in table.maps if not declared.remembers
    }
    for name, part in (*table.fixed.items(), *elements.items()):
        content[name].update(part)
    return TableState(
        signature=table.signature,
        flags=0,
        use=len(table.chains) + len(table.maps),
        hooks={chain.name: chain.hook for chain in table.chains},
        policies={chain.name: ACCEPT for chain in table.chains if chain.hook},
        shapes={declared.name: declared.shape for declared in table.maps},
        rules=tuple((rule.chain, rule.expressions, rule.comment) for rule in table.rules),
        elements=content,
    )


def _length(types: tuple[str, ...]) -> int:
    sizes = [_TYPE_BYTES[name] for name in types]
    return sizes[0] if len(sizes) == 1 else sum(size + (-size % 4) for size in sizes)


def type_number(types: tuple[str, ...]) -> int:
    """Pack data types into the number that `nft list` reads them back from."""
    number = 0
    for name in types:
        number = number << 6 | TYPES[name]
    return number
