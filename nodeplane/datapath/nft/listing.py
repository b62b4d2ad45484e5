"""A table as it stands in the kernel, whoever wrote it: chains with their rules, maps with their elements.

`TableState` compares what there is with what was asked for; a listing is for whoever wants to know what the
table will do, and so has all chains and maps, in order, and the elements that rules write.
"""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from nodeplane.datapath.nft import netlink as nl
from nodeplane.datapath.nft.borders import Border, join_borders
from nodeplane.datapath.nft.dump import Facts, decode_comment, decode_hook
from nodeplane.datapath.nft.expr import TableFamily
from nodeplane.datapath.nft.table import ACCEPT, TYPES, Elements, Hook, Map, Table

_NOTHING = memoryview(b"")
_INTERVAL_END, _CATCH_ALL = 1, 2  # enum nft_set_elem_flags
_INTERVAL, _CONCATENATED = 0x4, 0x80
_VERDICT = 0xFFFFFF00
_TYPE_NAMES = {number: name for name, number in TYPES.items()}


class ListedRule(msgspec.Struct, frozen=True):
    """A rule: encoded expressions and its comment."""

    expressions: bytes
    comment: str = ""


class ListedChain(msgspec.Struct, frozen=True):
    """A chain; with a hook it is a base chain, and `is_open` says that its policy is accept."""

    rules: tuple[ListedRule, ...] = ()
    hook: Hook | None = None
    is_open: bool = True


class ListedMap(msgspec.Struct, frozen=True):
    """A map or set.

    Attributes:
        key: Types of the key's fields by name, a number for one that is not known.
        data: The same for the data; `verdict` for a verdict map.
        key_bytes: Length of an encoded key.
        data_bytes: Length of encoded data; 0 for verdicts.
        field_bytes: Lengths of a range's fields; empty for a map without ranges.
        elements: Encoded key to encoded data; a range's key is its first key and its last put together.
        expires_s: The seconds that elements have left, of those that end.
        catch_all: The data for every other key, None if there is no such element.
        size: At most so many elements; 0 for no limit.
    """

    key: tuple[str, ...]
    data: tuple[str, ...] = ()
    key_bytes: int = 0
    data_bytes: int = 0
    field_bytes: tuple[int, ...] = ()
    elements: Mapping[bytes, bytes] = {}
    expires_s: Mapping[bytes, float] = {}
    catch_all: bytes | None = None
    size: int = 0


class TableListing(msgspec.Struct, frozen=True):
    """A whole table."""

    family: TableFamily
    chains: Mapping[str, ListedChain]
    maps: Mapping[str, ListedMap]


def build_listing(table: Table, elements: Elements) -> TableListing:
    """Build the listing of a table that has just been written."""
    rules: dict[str, list[ListedRule]] = {}
    for rule in table.rules:
        rules.setdefault(rule.chain, []).append(ListedRule(rule.expressions, rule.comment))
    return TableListing(
        family=table.family,
        chains={
            chain.name: ListedChain(tuple(rules.get(chain.name, ())), chain.hook) for chain in table.chains
        },
        maps={
            declared.name: _build_map(
                declared, {**table.fixed.get(declared.name, {}), **elements.get(declared.name, {})}
            )
            for declared in table.maps
        },
    )


def decode_listing(
    family: TableFamily,
    chains: Iterable[Facts],
    rules: Iterable[Facts],
    maps: Mapping[str, tuple[Facts, Iterable[memoryview]]],
) -> TableListing:
    """Decode dumps: messages of chains, of rules in order, and of each map's declaration and elements."""
    by_chain: dict[str, list[ListedRule]] = {}
    for rule in rules:
        listed = ListedRule(bytes(rule.get(4, _NOTHING)), decode_comment(rule.get(7, _NOTHING)))
        by_chain.setdefault(nl.read_text(rule.get(2, _NOTHING)), []).append(listed)
    listed_chains = {}
    for chain in chains:
        name = nl.read_text(chain.get(3, _NOTHING))
        is_open = nl.read_u32(chain[5]) == ACCEPT if 5 in chain else True
        listed_chains[name] = ListedChain(tuple(by_chain.get(name, ())), decode_hook(chain), is_open)
    return TableListing(
        family, listed_chains, {name: _decode_map(declared, dump) for name, (declared, dump) in maps.items()}
    )


def _build_map(declared: Map, elements: Mapping[bytes, bytes]) -> ListedMap:
    return ListedMap(
        key=declared.key_types,
        data=("verdict",) if declared.data == "verdict" else tuple(declared.data),
        key_bytes=declared.key_bytes,
        data_bytes=declared.data_bytes,
        field_bytes=(declared.key_bytes,) if declared.ranges else (),
        elements=elements,
        size=declared.remembers,
    )


def _decode_map(declared: Facts, dump: Iterable[memoryview]) -> ListedMap:
    flags, key_type, key_bytes, data_type, data_bytes = (
        nl.read_u32(declared.get(kind, _NOTHING)) for kind in (3, 4, 5, 6, 7)
    )
    is_verdict = data_type == _VERDICT
    described = nl.attribute_map(declared.get(9, _NOTHING))
    fields = tuple(
        nl.read_u32(nl.attribute_map(field).get(1, _NOTHING))
        for _, field in nl.attributes(described.get(2, _NOTHING))
    )
    has_ends = bool(flags & _INTERVAL) and not flags & _CONCATENATED
    elements: dict[bytes, bytes] = {}
    expires_s: dict[bytes, float] = {}
    catch_all = None
    borders: list[Border] = []
    for entry in _entries(dump):
        data = _first(entry[2]) if 2 in entry else b""
        entry_flags = nl.read_u32(entry.get(3, _NOTHING))
        if entry_flags & _CATCH_ALL:
            catch_all = data
        elif 1 in entry and has_ends:
            borders.append(Border(_first(entry[1]), not entry_flags & _INTERVAL_END, data))
        elif 1 in entry:
            key = _first(entry[1])
            if flags & _INTERVAL:
                key += _first(entry[10]) if 10 in entry else key
            elements[key] = data
            if 5 in entry:
                expires_s[key] = int.from_bytes(entry[5], "big") / 1000
    return ListedMap(
        key=_type_names(key_type),
        data=("verdict",) if is_verdict else _type_names(data_type),
        key_bytes=key_bytes,
        data_bytes=0 if is_verdict else data_bytes,
        field_bytes=(key_bytes,) if has_ends else fields if flags & _INTERVAL else (),
        elements=join_borders(borders)[0] if has_ends else elements,
        expires_s=expires_s,
        catch_all=catch_all,
        size=nl.read_u32(described.get(1, _NOTHING)),
    )


def _entries(dump: Iterable[memoryview]) -> Iterator[Facts]:
    for message in dump:
        for kind, entries in nl.attributes(message):
            if kind == 3:
                for _, entry in nl.attributes(entries):
                    yield nl.attribute_map(entry)


def _type_names(number: int) -> tuple[str, ...]:
    """Unpack the types that `type_number` packs."""
    names: list[str] = []
    while number > 0:
        names.insert(0, _TYPE_NAMES.get(number & 0x3F, str(number & 0x3F)))
        number >>= 6
    return tuple(names)


def _first(data: memoryview) -> bytes:
    return bytes(next((payload for _, payload in nl.attributes(data)), b""))
