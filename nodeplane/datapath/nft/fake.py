"""A table in memory, as strict as the kernel; held to it by one contract test."""

import errno
from collections.abc import Mapping

from nodeplane.datapath.nft.table import ElementChange, Elements, Table, TableState
from nodeplane.errors import kernel_error


class FakeTable:
    """A `TableEdge` without a kernel; `batches` counts the transactions that it took."""

    def __init__(self) -> None:
        self.batches = 0
        self._generation = 1
        self._state: TableState | None = None

    def read(self) -> TableState | None:
        """See `TableEdge`."""
        if self._state is None:
            return None
        elements = {name: dict(content) for name, content in self._state.elements.items()}
        return TableState(self._state.signature, self._state.use, self._state.rules, elements)

    def replace(self, table: Table, elements: Elements) -> None:
        """See `TableEdge`."""
        content: dict[str, dict[bytes, bytes]] = {declared.name: {} for declared in table.maps}
        for name, part in (*table.fixed.items(), *elements.items()):
            if name not in content:
                raise kernel_error(f"add elements to {name}", errno.ENOENT)
            content[name].update(part)
        self._state = TableState(
            signature=table.signature,
            use=len(table.chains) + len(table.maps),
            rules=tuple((rule.chain, rule.expressions) for rule in table.rules),
            elements=content,
        )
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
        self._state = TableState(self._state.signature, self._state.use, self._state.rules, fresh)
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
