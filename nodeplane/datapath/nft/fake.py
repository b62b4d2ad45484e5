"""A table in memory, as strict as the kernel; held to it by one contract test."""

import errno
from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from nodeplane.datapath.nft.table import (
    ElementChange,
    Elements,
    ElementUse,
    Map,
    Table,
    TableState,
    build_state,
)
from nodeplane.errors import kernel_error


class FakeTable:
    """A `TableEdge` without a kernel; `batches` counts the transactions that it took."""

    def __init__(self) -> None:
        self.batches = 0
        self._generation = 1
        self._state: TableState | None = None

    def read(self, table: Table) -> TableState | None:
        """See `TableEdge`."""
        if self._state is None:
            return None
        names = {declared.name for declared in table.maps}
        elements = {name: dict(part) for name, part in self._state.elements.items() if name in names}
        return replace(self._state, elements=elements)

    def replace(self, table: Table, elements: Elements) -> None:
        """See `TableEdge`."""
        unknown = elements.keys() - {declared.name for declared in table.maps}
        if unknown:
            raise kernel_error(f"add elements to {min(unknown)}", errno.ENOENT)
        fresh = build_state(table, elements)
        for declared in _ranges(table):
            _check_overlaps(declared, fresh.elements[declared.name])
        self._state = fresh
        self._commit()

    def update(self, table: Table, changes: Mapping[str, ElementChange]) -> None:
        """See `TableEdge`."""
        if not any(change.remove or change.add for change in changes.values()):
            return
        if self._state is None:
            raise kernel_error(f"change elements of {table.name}", errno.ENOENT)
        fresh = {name: dict(content) for name, content in self._state.elements.items()}
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
        self._state = replace(self._state, elements=fresh)
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

    def _commit(self) -> None:
        self.batches += 1
        self._generation += 1


def _ranges(table: Table) -> list[Map]:
    return [declared for declared in table.maps if declared.ranges]


def _check_overlaps(declared: Map, keys: Iterable[bytes]) -> None:
    """Refuse ranges that have a key in common, as nft_set_pipapo.c does."""
    seen: list[list[tuple[bytes, bytes]]] = []
    for key in keys:
        fields = _fields(declared, key)
        if any(
            all(
                first <= other_last and other_first <= last
                for (first, last), (other_first, other_last) in zip(fields, other, strict=True)
            )
            for other in seen
        ):
            raise kernel_error(f"add range to {declared.name}", errno.ENOTEMPTY)
        seen.append(fields)


def _fields(declared: Map, key: bytes) -> list[tuple[bytes, bytes]]:
    """Return the first and the last value of each field of a range."""
    fields = []
    offset = 0
    for length in declared.field_bytes:
        last = offset + declared.key_bytes
        fields.append((key[offset : offset + length], key[last : last + length]))
        offset += length + -length % 4
    return fields
