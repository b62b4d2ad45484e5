"""A table in memory, as strict as the kernel; held to it by one contract test."""

import errno
from collections.abc import Collection, Iterable, Mapping
from itertools import pairwise

from msgspec.structs import replace

from nodeplane.datapath.nft.table import (
    ElementChange,
    Elements,
    ElementUse,
    Map,
    Table,
    TableParts,
    TableState,
    build_state,
    rules_by_chain,
)
from nodeplane.datapath.nft.transaction import (
    Request,
    change_elements,
    create_table,
    delete_table,
    encode_batch,
    repair_table,
)
from nodeplane.errors import kernel_error


class FakeTable:
    """A `TableEdge` without a kernel; `batches` counts the transactions that it took.

    A transaction of more than `limit_bytes` is refused for its size.
    """

    def __init__(self, limit_bytes: int | None = None) -> None:
        self.batches = 0
        self.limit_bytes = limit_bytes
        self._generation = 1
        self._state: TableState | None = None

    def read(self, table: Table) -> TableState | None:
        """See `TableEdge`."""
        if self._state is None:
            return None
        names = {declared.name for declared in table.maps}
        elements = {name: dict(part) for name, part in self._state.elements.items() if name in names}
        return replace(self._state, elements=elements)

    def is_whole(self, table: Table) -> bool:
        """See `TableEdge`."""
        if self._state is None:
            raise kernel_error(f"read table {table.name}", errno.ENOENT)
        wanted = build_state(table, {})
        return (self._state.signature, self._state.flags, self._state.use) == (
            wanted.signature,
            0,
            wanted.use,
        )

    def find(self, map_name: str, keys: Collection[bytes]) -> dict[bytes, bytes]:
        """See `TableEdge`."""
        there = self._state.elements.get(map_name, {}) if self._state is not None else {}
        return {key: there[key] for key in keys if key in there}

    def read_map(self, declared: Map) -> dict[bytes, bytes]:
        """See `TableEdge`."""
        if self._state is None or declared.name not in self._state.shapes:
            raise kernel_error(f"read map {declared.name}", errno.ENOENT)
        return dict(self._state.elements.get(declared.name, {}))

    def create(self, table: Table, elements: Elements) -> None:
        """See `TableEdge`."""
        if self._state is not None:
            raise kernel_error(f"create table {table.name}", errno.EEXIST)
        self.replace(table, elements)

    def replace(self, table: Table, elements: Elements) -> None:
        """See `TableEdge`."""
        unknown = elements.keys() - {declared.name for declared in table.maps}
        if unknown:
            raise kernel_error(f"add elements to {min(unknown)}", errno.ENOENT)
        gone = [delete_table(table.name)] if self._state else []
        self._check_size(table, [*gone, *create_table(table, elements)])
        fresh = build_state(table, elements)
        for declared in _ranges(table):
            _check_overlaps(declared, fresh.elements[declared.name])
        self._state = fresh
        self._commit()

    def repair(
        self, table: Table, changes: Mapping[str, ElementChange], emptied: Collection[str] = ()
    ) -> None:
        """See `TableEdge`."""
        if self._state is None:
            raise kernel_error(f"repair table {table.name}", errno.ENOENT)
        shapes = {declared.name: declared.shape for declared in table.maps}
        if any(self._state.shapes.get(name, shape) != shape for name, shape in shapes.items()):
            raise kernel_error(f"repair table {table.name}", errno.EEXIST)
        found = TableParts(
            self._state.hooks, rules_by_chain(self._state.rules), maps=tuple(self._state.shapes)
        )
        self._check_size(table, [*repair_table(table, found, emptied), *change_elements(table, changes)])
        kept = {
            name: part
            for name, part in self._state.elements.items()
            if name in shapes and name not in emptied and name not in table.fixed
        }
        fresh = build_state(table, kept)
        elements = _change(table, fresh.elements, changes)
        self._state = replace(
            fresh, signature=self._state.signature, flags=self._state.flags, elements=elements
        )
        self._commit()

    def wake(self) -> None:
        """See `TableEdge`."""
        if self._state is None:
            raise kernel_error("wake table", errno.ENOENT)
        self._state = replace(self._state, flags=0)
        self._commit()

    def update(self, table: Table, changes: Mapping[str, ElementChange]) -> None:
        """See `TableEdge`."""
        if not any(change.remove or change.add for change in changes.values()):
            return
        self._check_size(table, change_elements(table, changes))
        if self._state is None:
            raise kernel_error(f"change elements of {table.name}", errno.ENOENT)
        self._state = replace(self._state, elements=_change(table, self._state.elements, changes))
        self._commit()

    def delete(self) -> bool:
        """See `TableEdge`."""
        if self._state is None:
            return False
        self._state = None
        self._commit()
        return True

    def read_uses(self, map_name: str) -> list[ElementUse]:
        """See `TableEdge`; no packet ever comes by."""
        if self._state is None or map_name not in self._state.shapes:
            raise kernel_error(f"read map {map_name}", errno.ENOENT)
        return [ElementUse(key, data) for key, data in self._state.elements.get(map_name, {}).items()]

    def generation(self) -> int:
        """See `TableEdge`."""
        return self._generation

    def damage(self, state: TableState | None) -> None:
        """Put another state in place of ours, as somebody else might."""
        self._state = state
        self._generation += 1

    def _check_size(self, table: Table, requests: Iterable[Request]) -> None:
        if self.limit_bytes is None:
            return
        if len(encode_batch(table.family, requests)[0]) > self.limit_bytes:
            raise kernel_error(f"write to {table.name}", errno.EMSGSIZE)

    def _commit(self) -> None:
        self.batches += 1
        self._generation += 1


def _change(
    table: Table, elements: Elements, changes: Mapping[str, ElementChange]
) -> dict[str, dict[bytes, bytes]]:
    """Return the elements after a change.

    Raises:
        KernelError: the kernel would refuse it.
    """
    fresh = {name: dict(content) for name, content in elements.items()}
    for name, change in changes.items():
        for key in change.remove:
            if fresh.get(name, {}).pop(key, None) is None:
                raise kernel_error(f"remove element of {name}", errno.ENOENT)
    for name, change in changes.items():
        for key, data in change.add.items():
            if name not in fresh:
                raise kernel_error(f"add element to {name}", errno.ENOENT)
            if key in fresh[name]:
                raise kernel_error(f"add element to {name}", errno.EEXIST)
            fresh[name][key] = data
    for declared in _ranges(table):
        if declared.name in changes:
            _check_overlaps(declared, fresh[declared.name])
    return fresh


def _ranges(table: Table) -> list[Map]:
    return [declared for declared in table.maps if declared.ranges]


def _check_overlaps(declared: Map, keys: Iterable[bytes]) -> None:
    """Refuse ranges that have a key in common, as nft_set_rbtree.c does."""
    middle = declared.key_bytes
    ranges = sorted((key[:middle], key[middle:]) for key in keys)
    if any(first <= last_before for (_, last_before), (first, _) in pairwise(ranges)):
        raise kernel_error(f"add range to {declared.name}", errno.ENOTEMPTY)
