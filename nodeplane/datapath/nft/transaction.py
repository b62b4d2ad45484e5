"""Values to one atomic batch: create a table, repair it, delete it, change its elements.

A batch is begin, messages, end, sent in one piece; the kernel applies all of it or nothing
(nfnetlink_rcv_batch). Its last message asks for the acknowledgement.
"""

import struct
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from nodeplane.datapath.nft import netlink as nl
from nodeplane.datapath.nft.borders import is_open, split_range
from nodeplane.datapath.nft.expr import NFPROTO, TableFamily
from nodeplane.datapath.nft.table import (
    ACCEPT,
    HOST_ENDIAN,
    VERDICT_TYPE,
    Chain,
    ElementChange,
    Elements,
    Hook,
    Map,
    Rule,
    Table,
    TableParts,
    rules_by_chain,
    type_number,
)

# The list of a message is one attribute, whose length field has 16 bits.
_LIST_BYTES = 60_000
_NOWHERE = Hook("", 0, 0)
_INTERVAL_END = 1  # enum nft_set_elem_flags
_OWNER = 2  # NFT_TABLE_F_OWNER
# User data by which nft knows a range that is never over (libnftnl udata.h: type, length, value).
_OPEN = nl.attribute(6, bytes((1, 4)) + struct.pack("=I", 1))

Request = tuple[int, int, bytes]
"""Operation, flags, payload."""


def encode_batch(family: TableFamily, requests: Iterable[Request]) -> tuple[bytes, int]:
    """Encode a transaction; return its bytes and the number of its last message, which gets acknowledged.

    Messages are numbered from 1 (the begin mark is 0), so an error's sequence number names its message.
    """
    parts = [nl.batch_mark(nl.NFNL_MSG_BATCH_BEGIN, 0)]
    pending = list(requests)
    number = 0
    for number, (operation, flags, payload) in enumerate(pending, start=1):
        ack = nl.NLM_F_ACK if number == len(pending) else 0
        parts.append(nl.message(operation, flags | ack, number, NFPROTO[family], payload))
    parts.append(nl.batch_mark(nl.NFNL_MSG_BATCH_END, number + 1))
    return b"".join(parts), number


def delete_table(name: str) -> Request:
    """Ask for the table to go, with all that is in it."""
    return nl.DELTABLE, 0, nl.text(1, name)


def clear_flags(name: str) -> Request:
    """Ask for a table to be dormant no more; the kernel takes no other changes of chains beside this one."""
    return nl.NEWTABLE, 0, nl.text(1, name) + nl.u32(2, 0)


def create_table(
    table: Table, elements: Elements, *, is_new: bool = False, is_owned: bool = False
) -> Iterator[Request]:
    """Ask for a whole table: what is constant, then the elements; with `is_new` only if there is none yet.

    One that `is_owned` is the socket's: nobody else may change it, and it ends with the socket (kernel 5.12).
    """
    comment = nl.comment_userdata(0, table.signature)
    flags = nl.NLM_F_CREATE | (nl.NLM_F_EXCL if is_new else 0)
    kind = nl.u32(2, _OWNER if is_owned else 0)
    yield nl.NEWTABLE, flags, nl.text(1, table.name) + kind + nl.attribute(6, comment)
    yield from _create_constant_part(table)
    yield from change_elements(table, {name: ElementChange(add=part) for name, part in elements.items()})


def repair_table(table: Table, found: TableParts, emptied: Collection[str]) -> Iterator[Request]:
    """Ask for all that is constant to be as in `table`, whatever stands there now, but for the table's flags.

    Other elements stay. Maps that are there must have the right shape; those in `emptied` lose all.
    What is right is left alone: for the first rule of a chain with some map the kernel looks at all of the
    map's elements (nf_tables_bind_set), a second for all rules and 30,000 services.
    """
    mine = nl.text(1, table.name)
    wanted = {declared.name for declared in table.maps}
    rules = rules_by_chain((rule.chain, rule.expressions, rule.comment) for rule in table.rules)
    kept = {chain.name for chain in table.chains if found.chains.get(chain.name, _NOWHERE) == chain.hook}
    right = {name for name in kept if [*found.rules.get(name, ())] == rules.get(name, [])}
    for name in found.chains:
        if name not in right:
            yield nl.DELRULE, 0, mine + nl.text(2, name)
    # What refers to a chain has to go before it, be it in maps that go themselves.
    for name in found.maps:
        if name in table.fixed or name in emptied or name not in wanted:
            yield nl.DELSETELEM, 0, mine + nl.text(2, name)
    for name in found.maps:
        if name not in wanted:
            yield nl.DELSET, 0, mine + nl.text(2, name)
    for name in found.chains:
        if name not in kept:
            yield nl.DELCHAIN, 0, mine + nl.text(3, name)
    for name, kind in found.objects:
        yield nl.DELOBJ, 0, mine + nl.text(2, name) + nl.u32(3, kind)
    for name in found.flowtables:
        yield nl.DELFLOWTABLE, 0, mine + nl.text(2, name)
    for chain in table.chains:
        if chain.name in kept and chain.hook:
            policy = nl.u32(5, ACCEPT)
            yield nl.NEWCHAIN, 0, mine + nl.text(3, chain.name) + policy
    yield from _create_constant_part(table, found.maps, kept, right)


def _create_constant_part(
    table: Table, maps: Collection[str] = (), chains: Collection[str] = (), ruled: Collection[str] = ()
) -> Iterator[Request]:
    """Ask for all but the maps and chains that are there, and the rules of chains that have them."""
    create = nl.NLM_F_CREATE
    for number, declared in enumerate(table.maps, start=1):
        if declared.name not in maps:
            yield nl.NEWSET, create, _encode_map(table.name, declared, number)
    for chain in table.chains:
        if chain.name not in chains:
            yield nl.NEWCHAIN, create, _encode_chain(table.name, chain)
    for rule in table.rules:
        if rule.chain not in ruled:
            yield nl.NEWRULE, create | nl.NLM_F_APPEND, _encode_rule(table.name, rule)
    yield from change_elements(table, {name: ElementChange(add=part) for name, part in table.fixed.items()})


def change_elements(
    table: Table, changes: Mapping[str, ElementChange], packets: Mapping[str, Mapping[bytes, int]] = {}
) -> Iterator[Request]:
    """Ask for elements to go and to come; all that go, go first.

    `packets` says, by map and key, with how many packets an element of a counted map begins.
    """
    maps = {declared.name: declared for declared in table.maps}
    for name, change in changes.items():
        yield from _encode_elements(
            nl.DELSETELEM, 0, table.name, maps[name], [(key, None) for key in change.remove]
        )
    for name, change in changes.items():
        # EXCL: an element that is there although we believe it is not means that our memory is wrong.
        flags = nl.NLM_F_CREATE | nl.NLM_F_EXCL
        counted = packets.get(name, {})
        plain = [entry for entry in change.add.items() if entry[0] not in counted] if counted else None
        fresh = list(change.add.items()) if plain is None else plain
        yield from _encode_elements(nl.NEWSETELEM, flags, table.name, maps[name], fresh)
        yield from _encode_counted(flags, table.name, name, change.add, counted)


def _encode_chain(table: str, chain: Chain) -> bytes:
    encoded = nl.text(1, table) + nl.text(3, chain.name)
    if chain.hook:
        priority = struct.unpack("I", struct.pack("i", chain.hook.priority))[0]
        encoded += nl.nested(4, nl.u32(1, chain.hook.number), nl.u32(2, priority))
        encoded += nl.u32(5, ACCEPT) + nl.text(7, chain.hook.kind)
    return encoded + nl.attribute(12, nl.comment_userdata(0, chain.comment))


def _encode_map(table: str, declared: Map, number: int) -> bytes:
    """Encode a map's declaration; `number` is its id within the batch (NFTA_SET_ID)."""
    described = b""
    if declared.remembers:
        described += nl.u32(1, declared.remembers)
    encoded = nl.text(1, table) + nl.text(2, declared.name)
    encoded += nl.u32(4, type_number(declared.key_types)) + nl.u32(5, declared.key_bytes)
    # What `nft list` needs to print it right (libnftnl udata.h): the byte orders, and a comment.
    userdata = _byte_order(0, declared.key_types)
    if declared.data == "verdict":
        encoded += nl.u32(6, VERDICT_TYPE)
    elif isinstance(declared.data, tuple) and declared.data:
        encoded += nl.u32(6, type_number(declared.data)) + nl.u32(7, declared.data_bytes)
        userdata += _byte_order(1, declared.data)
    userdata += nl.comment_userdata(7, declared.comment)
    encoded += nl.u32(3, declared.shape.flags) + nl.u32(10, number) + nl.attribute(13, userdata)
    if described:
        encoded += nl.attribute(9, described)
    return encoded + (nl.nested(17, nl.text(1, "counter")) if declared.counted else b"")


def _byte_order(kind: int, types: tuple[str, ...]) -> bytes:
    """Encode the user data that tells a host-endian number from a network-endian one."""
    if len(types) != 1:
        return b""
    return bytes((kind, 4)) + struct.pack("=I", 1 if types[0] in HOST_ENDIAN else 2)


def _encode_rule(table: str, rule: Rule) -> bytes:
    encoded = nl.text(1, table) + nl.text(2, rule.chain) + nl.attribute(4, rule.expressions)
    return encoded + (nl.attribute(7, nl.comment_userdata(0, rule.comment)) if rule.comment else b"")


def _encode_elements(
    operation: int, flags: int, table: str, declared: Map, elements: Sequence[tuple[bytes, bytes | None]]
) -> Iterator[Request]:
    """Encode elements into as few messages as their length allows.

    All keys of a map have one length and so has their data, so each element is its key and data between
    constant bytes: this is the hot path of a full load.
    """
    if not elements:
        return
    data_kind = 2 if declared.data == "verdict" else 1
    head = nl.text(1, table) + nl.text(2, declared.name)
    encoded: list[bytes] = []
    if declared.ranges:
        for key, _ in elements:
            note = _OPEN if is_open(key) else b""
            encoded += [
                nl.nested(
                    1,
                    nl.nested(1, nl.attribute(1, border.key)),
                    note if border.is_first else nl.u32(3, _INTERVAL_END),
                )
                for border in split_range(key)
            ]
    elif declared.data == "verdict" or not declared.data or elements[0][1] is None:
        for key, data in elements:
            value = nl.nested(2, nl.attribute(data_kind, data)) if data else b""
            encoded.append(nl.nested(1, nl.nested(1, nl.attribute(1, key)), value))
    else:
        empty = nl.nested(
            1,
            nl.nested(1, nl.attribute(1, bytes(declared.key_bytes))),
            nl.nested(2, nl.attribute(1, bytes(declared.data_bytes))),
        )
        # Headers of list element, key and value, 4 bytes each; the key; headers of data and value; the data.
        key_end = 12 + declared.key_bytes
        before, between = empty[:12], empty[key_end : key_end + 8]
        after = b"\0" * (len(empty) - key_end - 8 - declared.data_bytes)
        encoded = [before + key + between + data + after for key, data in elements if data is not None]
    per_message = _LIST_BYTES // max(map(len, encoded))
    for start in range(0, len(encoded), per_message):
        yield operation, flags, head + nl.attribute(3, b"".join(encoded[start : start + per_message]))


def _encode_counted(
    flags: int, table: str, map_name: str, added: Mapping[bytes, bytes], packets: Mapping[bytes, int]
) -> Iterator[Request]:
    """Encode elements that go on counting where those that they replace have stopped."""
    for key, count in packets.items():
        counter = nl.nested(2, nl.attribute(1, bytes(8)), nl.attribute(2, struct.pack(">Q", count)))
        element = nl.nested(
            1,
            nl.nested(1, nl.attribute(1, key)),
            nl.nested(2, nl.attribute(1, added[key])),
            nl.nested(7, nl.text(1, "counter"), counter),
        )
        yield nl.NEWSETELEM, flags, nl.text(1, table) + nl.text(2, map_name) + nl.nested(3, element)
