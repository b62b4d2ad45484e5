"""One table read from the kernel: which requests it takes, and what to do when it changes meanwhile.

What the answers mean is `dump`'s and `listing`'s.
"""

import errno
from collections.abc import Collection
from typing import TYPE_CHECKING

from nodeplane.datapath.netlink_socket import read_at_rest
from nodeplane.datapath.nft import netlink as nl
from nodeplane.datapath.nft.dump import (
    Facts,
    decode_comment,
    decode_count,
    decode_elements,
    decode_hook,
    decode_ranges,
    decode_rule,
    decode_shape,
    decode_uses,
    distinct_keys,
)
from nodeplane.datapath.nft.table import ElementUse, Map, Table, TableParts, TableState, rules_by_chain
from nodeplane.datapath.nft.table_socket import TableSocket
from nodeplane.errors import KernelError

if TYPE_CHECKING:
    from nodeplane.datapath.nft.listing import TableListing

_CHAIN_BINDING = 0x4  # enum nft_chain_flags
_ANONYMOUS = 0x1  # enum nft_set_flags
_LISTING_ATTEMPTS = 5
_RESIZE_ATTEMPTS = 20


class TableReader:
    """Reads the table that a socket is for."""

    def __init__(self, socket: TableSocket) -> None:
        self._socket = socket
        self._mine = nl.text(1, socket.name)

    def exists(self) -> bool:
        """Say whether there is such a table."""
        return self._socket.find(nl.GETTABLE, self._mine) is not None

    def is_whole(self, table: Table) -> bool:
        """Say by the table's own message whether all that is constant is there.

        Raises:
            KernelNotFoundError: there is no such table.
        """
        facts = nl.attribute_map(self._socket.ask(nl.GETTABLE, self._mine))
        return (
            decode_comment(facts.get(6, memoryview(b""))) == table.signature
            and nl.read_u32(facts[2]) == 0
            and nl.read_u32(facts[3]) == len(table.chains) + len(table.maps)
        )

    def find(self, map_name: str, keys: Collection[bytes]) -> dict[bytes, bytes]:
        """Return those of some elements that are there; not for maps of ranges."""
        found = {}
        for key in keys:
            answer = self._find_element(map_name, key)
            if answer is not None:
                found.update(decode_elements(answer)[0])
        return found

    def generation(self) -> int:
        """Return the generation of the namespace's ruleset."""
        return nl.read_u32(nl.attribute_map(self._socket.ask(nl.GETGEN, b""))[1])

    def read(self, table: Table) -> TableState | None:
        """Return what stands there of all that `table` has, and whether there is more; None for no table.

        Raises:
            KernelError: the table can't be read; EINTR, others commit faster than it can be read.
        """
        return read_at_rest(lambda: self._read(table))

    def _read(self, table: Table) -> TableState | None:
        found = self._socket.find(nl.GETTABLE, self._mine)
        if found is None:
            return None
        facts = nl.attribute_map(found)
        chains = self._find_all(nl.GETCHAIN, 3, [chain.name for chain in table.chains])
        maps = self._find_all(nl.GETSET, 2, [declared.name for declared in table.maps])
        dynamic = {declared.name for declared in table.maps if declared.remembers}
        elements: dict[str, dict[bytes, bytes]] = {name: {} for name in maps if name not in dynamic}
        of_ranges = {declared.name for declared in table.maps if declared.ranges}
        odd_maps = set()
        for map_name, content in elements.items():
            part, odd = self._read_elements(map_name, maps[map_name], is_of_ranges=map_name in of_ranges)
            content.update(part)
            if odd:
                odd_maps.add(map_name)
        rules = self._socket.dump(nl.GETRULE, self._mine)
        return TableState(
            signature=decode_comment(facts.get(6, memoryview(b""))),
            flags=nl.read_u32(facts[2]),
            use=nl.read_u32(facts[3]),
            hooks={chain: decode_hook(known) for chain, known in chains.items()},
            policies={chain: nl.read_u32(known[5]) for chain, known in chains.items() if 5 in known},
            shapes={map_name: decode_shape(known) for map_name, known in maps.items()},
            rules=tuple(decode_rule(nl.attribute_map(rule)) for rule in rules),
            elements=elements,
            odd_maps=frozenset(odd_maps),
        )

    def read_map(self, declared: Map) -> dict[bytes, bytes]:
        """Return the elements of one map.

        Raises:
            KernelNotFoundError: there is no such table or map.
            KernelError: EINTR, others commit faster than it can be read.
        """

        def read() -> dict[bytes, bytes]:
            known = nl.attribute_map(self._socket.ask(nl.GETSET, self._mine + nl.text(2, declared.name)))
            return self._read_elements(declared.name, known, is_of_ranges=declared.ranges)[0]

        return read_at_rest(read)

    def _read_elements(
        self, map_name: str, known: Facts, *, is_of_ranges: bool
    ) -> tuple[dict[bytes, bytes], int]:
        """Return a map's elements, and how many more there are that no map of ours has."""
        dump = self._dump_elements(map_name, known)
        if is_of_ranges:
            return decode_ranges(dump)
        elements: dict[bytes, bytes] = {}
        odd = 0
        for message in dump:
            part, odd_ones = decode_elements(message)
            elements.update(part)
            odd += odd_ones
        return elements, odd

    def read_parts(self) -> TableParts:
        """Return what stands in the table beside elements; what belongs to a rule is left out."""

        def dump(operation: int, payload: bytes) -> list[Facts]:
            return [nl.attribute_map(each) for each in self._socket.dump(operation, payload)]

        def name(facts: Facts, attribute: int = 2) -> str:
            return nl.read_text(facts[attribute])

        def is_bound(facts: Facts, attribute: int, flag: int) -> bool:
            return attribute in facts and bool(nl.read_u32(facts[attribute]) & flag)

        # The kernel narrows other dumps to one table, that of chains only to a family.
        chains = [each for each in dump(nl.GETCHAIN, b"") if name(each, 1) == self._socket.name]
        maps = dump(nl.GETSET, self._mine)
        return TableParts(
            chains={
                name(each, 3): decode_hook(each) for each in chains if not is_bound(each, 10, _CHAIN_BINDING)
            },
            rules=rules_by_chain(map(decode_rule, dump(nl.GETRULE, self._mine))),
            maps=tuple(name(each) for each in maps if not is_bound(each, 3, _ANONYMOUS)),
            objects=tuple((name(each), nl.read_u32(each[3])) for each in dump(nl.GETOBJ, self._mine)),
            flowtables=tuple(name(each) for each in dump(nl.GETFLOWTABLE, self._mine)),
        )

    def read_uses(self, map_name: str) -> list[ElementUse]:
        """Return a map's elements with what they have counted and when they end.

        Raises:
            KernelNotFoundError: there is no such table or map.
        """
        declared = nl.attribute_map(self._socket.ask(nl.GETSET, self._mine + nl.text(2, map_name)))
        found = (use for message in self._dump_elements(map_name, declared) for use in decode_uses(message))
        return [*{use.key: use for use in found}.values()]

    def read_packets(self, map_name: str, keys: list[bytes]) -> dict[bytes, int]:
        """Return what elements of a counted map have counted so far; one that is not there is left out."""
        found = {}
        for key in keys:
            answer = self._find_element(map_name, key)
            if answer is not None:
                found.update({use.key: use.packets for use in decode_uses(answer)})
        return found

    def _find_element(self, map_name: str, key: bytes) -> memoryview | None:
        asked = nl.nested(3, nl.nested(1, nl.nested(1, nl.attribute(1, key))))
        return self._socket.find(nl.GETSETELEM, self._mine + nl.text(2, map_name) + asked)

    def read_listing(self) -> "TableListing | None":
        """Return all of the table, whoever wrote it, as it stands at one moment; None if there is none.

        Raises:
            KernelError: EINTR, others commit faster than it can be read.
        """
        for _ in range(_LISTING_ATTEMPTS):
            before = self.generation()
            try:
                listing = self._read_listing()
            except KernelError as exc:
                if exc.errno not in (errno.EINTR, errno.ENOENT):
                    raise
            else:
                if before == self.generation():
                    return listing
        raise KernelError(f"read table {self._socket.family} {self._socket.name}", errno.EINTR)

    def _read_listing(self) -> "TableListing | None":
        # Nobody but `kubeproxy trace` wants one.
        from nodeplane.datapath.nft.listing import decode_listing

        if not self.exists():
            return None
        dump = self._socket.dump
        # The kernel narrows a dump of rules or maps to one table, that of chains only to a family.
        chains = [nl.attribute_map(each) for each in dump(nl.GETCHAIN, b"")]
        maps = [nl.attribute_map(each) for each in dump(nl.GETSET, self._mine)]
        names = [nl.read_text(declared[2]) for declared in maps]
        return decode_listing(
            self._socket.family,
            [chain for chain in chains if nl.read_text(chain[1]) == self._socket.name],
            [nl.attribute_map(rule) for rule in dump(nl.GETRULE, self._mine)],
            {
                name: (declared, self._dump_elements(name, declared))
                for name, declared in zip(names, maps, strict=True)
            },
        )

    def _dump_elements(self, map_name: str, declared: Facts) -> list[memoryview]:
        """Dump a map, again and again while the kernel leaves elements out.

        For a moment after a large load it does, and has others twice: a hash table that is being resized is
        walked in an order that changes between two parts of the dump. Newer kernels say how many there are.
        """
        payload = self._mine + nl.text(2, map_name)
        wanted = decode_count(declared)
        messages: list[memoryview] = []
        for _ in range(_RESIZE_ATTEMPTS):
            messages = list(self._socket.dump(nl.GETSETELEM, payload))
            if not wanted or len({key for each in messages for key in distinct_keys(each)}) >= wanted:
                break
        return messages

    def _find_all(self, operation: int, name_attribute: int, names: list[str]) -> dict[str, Facts]:
        """Ask for chains or maps one by one: a dump would hold those of all other tables too."""
        found: dict[str, Facts] = {}
        for name in names:
            answer = self._socket.find(operation, self._mine + nl.text(name_attribute, name))
            if answer is not None:
                found[name] = nl.attribute_map(answer)
        return found
