"""A table in memory, as strict as the kernel; held to it by one contract test."""

import errno
from collections.abc import Mapping

from msgspec.structs import replace

from nodeplane.datapath.nft.table import ElementChange, Elements, Table, TableState, build_state
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
        self._state = build_state(table, elements)
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
        self._state = replace(self._state, elements=fresh)
        self._commit()

    def delete(self) -> bool:
        """See `TableEdge`."""
        if self._state is None:
            return False
        self._state = None
        self._commit()
        return True

    def generation(self) -> int:
        """See `TableEdge`."""
        return self._generation

    def _commit(self) -> None:
        self.batches += 1
        self._generation += 1
