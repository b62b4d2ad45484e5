"""One nf_tables table of the network namespace that this process is in.

`KernelTable` talks to the kernel, `FakeTable` (in `fake`) is as strict and holds it in memory. Calls are
plain system calls that never wait for anyone: a netlink request is worked off inside `sendmsg`. A change
takes 0.05 ms, so they are made from the event loop, where they stay ordered; reading a table of 10,000
services back takes 0.3 s, which only a start and an audit do.

What the kernel refuses for its size, `in_parts` writes in several transactions.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

from nodeplane.datapath.nft.expr import TableFamily
from nodeplane.datapath.nft.reader import TableReader
from nodeplane.datapath.nft.table import ElementChange, Elements, ElementUse, Map, Table, TableState
from nodeplane.datapath.nft.table_socket import BUFFER_BYTES, TableSocket
from nodeplane.datapath.nft.transaction import (
    Request,
    change_elements,
    clear_flags,
    create_table,
    delete_table,
    repair_table,
)

if TYPE_CHECKING:
    from nodeplane.datapath.nft.listing import TableListing


class TableEdge(Protocol):
    """A table that we own whole, and the generation of the namespace's ruleset."""

    def read(self, table: Table) -> TableState | None:
        """Return what stands in the kernel under the name of `table`, or None if nothing does."""
        ...

    def is_whole(self, table: Table) -> bool:
        """Say by what the kernel tells of the table itself whether all that is constant is there.

        One question, whatever the table holds: a table whose signature, flags or number of chains and maps
        differs is not whole. What only `read` finds out is a rule that was changed.

        Raises:
            KernelNotFoundError: there is no such table.
        """
        ...

    def find(self, map_name: str, keys: Collection[bytes]) -> dict[bytes, bytes]:
        """Return those of some elements that are there, with their data; not for maps of ranges.

        One question for each key: a table or map that is not there has none of them.
        """
        ...

    def read_map(self, declared: Map) -> dict[bytes, bytes]:
        """Return the elements of one map of the table's.

        Raises:
            KernelNotFoundError: there is no such table or map.
        """
        ...

    def create(self, table: Table, elements: Elements) -> None:
        """Make a whole table, in one transaction.

        Raises:
            KernelExistsError: there is one of that name; nothing changed.
        """
        ...

    def replace(self, table: Table, elements: Elements) -> None:
        """Put a whole table in place of whatever stands under its name, in one transaction."""
        ...

    def repair(
        self, table: Table, changes: Mapping[str, ElementChange], emptied: Collection[str] = ()
    ) -> None:
        """Put all that is constant right in one transaction, but for the table's flags, and change elements.

        What is not of `table` goes, what is missing comes, other elements stay; `emptied` maps lose what they
        have before `changes` are made. Maps must have the right shape (`TableState.can_be_repaired`).

        Raises:
            KernelNotFoundError: there is no such table.
        """
        ...

    def wake(self) -> None:
        """Clear the table's flags: one that somebody made dormant is in force again.

        Raises:
            KernelNotFoundError: there is no such table.
        """
        ...

    def update(self, table: Table, changes: Mapping[str, ElementChange]) -> None:
        """Change elements in one transaction.

        What takes the place of an element of a counted map goes on counting where that one stopped.

        Raises:
            KernelNotFoundError: the table, a map, or an element to remove is not there; nothing changed.
            KernelExistsError: an element to add is there already; nothing changed.
        """
        ...

    def delete(self) -> bool:
        """Remove the table; say whether there was one."""
        ...

    def read_uses(self, map_name: str) -> list[ElementUse]:
        """Return a map's elements with what they have counted and when they end.

        Raises:
            KernelNotFoundError: there is no such table or map.
        """
        ...

    def generation(self) -> int:
        """Return the ruleset's generation: it grows by one with each transaction of anyone."""
        ...


class KernelTable:
    """A `TableEdge` over a netlink socket; use it as a context manager.

    Args:
        family: The table's family.
        name: Its name.
        buffer_bytes: How long a transaction may be, as far as the system allows it.
    """

    def __init__(self, family: TableFamily, name: str, buffer_bytes: int = BUFFER_BYTES) -> None:
        self._label = f"{family} {name}"
        self._socket = TableSocket(family, name, buffer_bytes)
        self._reader = TableReader(self._socket)

    def __enter__(self) -> "KernelTable":
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket; the table can't be used any more by it."""
        self._socket.close()

    @property
    def port(self) -> int:
        """The netlink port by which the kernel names us in its notifications."""
        return self._socket.port

    def read(self, table: Table) -> TableState | None:
        """See `TableEdge`.

        Raises:
            KernelError: the table can't be read; EINTR, others commit faster than it can be read.
        """
        return self._reader.read(table)

    def is_whole(self, table: Table) -> bool:
        """See `TableEdge`."""
        return self._reader.is_whole(table)

    def find(self, map_name: str, keys: Collection[bytes]) -> dict[bytes, bytes]:
        """See `TableEdge`."""
        return self._reader.find(map_name, keys)

    def read_map(self, declared: Map) -> dict[bytes, bytes]:
        """See `TableEdge`."""
        return self._reader.read_map(declared)

    def create(self, table: Table, elements: Elements) -> None:
        """See `TableEdge`."""
        self._socket.commit(f"create table {self._label}", create_table(table, elements, is_new=True))

    def create_owned(self, table: Table) -> None:
        """Make a whole table that ends with this socket, however the process ends.

        Raises:
            KernelExistsError: there is one of that name; nothing changed.
            KernelPermissionError: there is one, and it belongs to another socket.
        """
        requests = create_table(table, {}, is_new=True, is_owned=True)
        self._socket.commit(f"create table {self._label}", requests)

    def replace(self, table: Table, elements: Elements) -> None:
        """See `TableEdge`."""
        requests = list(create_table(table, elements))
        if self._reader.exists():
            requests.insert(0, delete_table(table.name))
        self._socket.commit(f"replace table {self._label}", requests)

    def repair(
        self, table: Table, changes: Mapping[str, ElementChange], emptied: Collection[str] = ()
    ) -> None:
        """See `TableEdge`."""
        requests = [
            *repair_table(table, self._reader.read_parts(), emptied),
            *self._change_elements(table, changes),
        ]
        self._socket.commit(f"repair table {self._label}", requests)

    def wake(self) -> None:
        """See `TableEdge`."""
        self._socket.commit(f"wake table {self._label}", [clear_flags(self._socket.name)])

    def update(self, table: Table, changes: Mapping[str, ElementChange]) -> None:
        """See `TableEdge`."""
        requests = list(self._change_elements(table, changes))
        if requests:
            self._socket.commit(f"change elements of {self._label}", requests)

    def _change_elements(self, table: Table, changes: Mapping[str, ElementChange]) -> Iterator[Request]:
        counted = {declared.name for declared in table.maps if declared.counted}
        packets = {
            map_name: self._reader.read_packets(map_name, [key for key in change.remove if key in change.add])
            for map_name, change in changes.items()
            if map_name in counted
        }
        return change_elements(table, changes, packets)

    def delete(self) -> bool:
        """See `TableEdge`."""
        if not self._reader.exists():
            return False
        self._socket.commit(f"delete table {self._label}", [delete_table(self._socket.name)])
        return True

    def generation(self) -> int:
        """See `TableEdge`."""
        return self._reader.generation()

    def read_uses(self, map_name: str) -> list[ElementUse]:
        """See `TableEdge`."""
        return self._reader.read_uses(map_name)

    def read_listing(self) -> "TableListing | None":
        """Return all of the table, whoever wrote it, as it stands at one moment; None if there is none.

        Raises:
            KernelError: EINTR, others commit faster than it can be read.
        """
        return self._reader.read_listing()
