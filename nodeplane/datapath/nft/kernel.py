"""One nf_tables table of the network namespace that this process is in.

`KernelTable` talks to the kernel, `FakeTable` (in `fake`) is as strict and holds it in memory. Calls are
plain system calls that never wait for anyone: a netlink request is worked off inside `sendmsg`. A change
takes 0.05 ms, so they are made from the event loop, where they stay ordered; reading a table of 10,000
services back takes 0.3 s, which only a start and an audit do.
"""

import errno
import socket
import struct
import sys
from collections.abc import Iterator, Mapping
from typing import Protocol

from nodeplane.datapath.nft import netlink as nl
from nodeplane.datapath.nft.dump import (
    Facts,
    decode_comment,
    decode_count,
    decode_elements,
    decode_hook,
    decode_rule,
    decode_shape,
    decode_uses,
    distinct_keys,
)
from nodeplane.datapath.nft.expr import NFPROTO, Family
from nodeplane.datapath.nft.listing import TableListing, decode_listing
from nodeplane.datapath.nft.table import ElementChange, Elements, ElementUse, Table, TableState
from nodeplane.datapath.nft.transaction import (
    Request,
    change_elements,
    create_table,
    delete_table,
    encode_batch,
)
from nodeplane.errors import KernelError, KernelNotFoundError, kernel_error

_NETLINK_NETFILTER = 12
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
# A full load goes out in one piece: 30,000 services with four endpoints are about 9 MB.
_BUFFER_BYTES = 64 << 20
_RECEIVE_BYTES = 1 << 18
_ANSWER_LIMIT_S = 30
_READ_ATTEMPTS = 5
_RESIZE_ATTEMPTS = 20


class TableEdge(Protocol):
    """A table that we own whole, and the generation of the namespace's ruleset."""

    def read(self, table: Table) -> TableState | None:
        """Return what stands in the kernel under the name of `table`, or None if nothing does."""
        ...

    def replace(self, table: Table, elements: Elements) -> None:
        """Put a whole table in place of whatever stands under its name, in one transaction."""
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
    """A `TableEdge` over a netlink socket; use it as a context manager."""

    def __init__(self, family: Family, name: str) -> None:
        self._family = family
        self._name = name
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER
        )
        self._socket.bind((0, 0))
        self._grow_buffers()
        # The kernel answers before `sendto` returns; this only keeps a lost answer from hanging a node.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", _ANSWER_LIMIT_S, 0))

    def __enter__(self) -> "KernelTable":
        return self

    def __exit__(self, *_exc: object) -> None:
        self._socket.close()

    @property
    def port(self) -> int:
        """The netlink port by which the kernel names us in its notifications."""
        return int(self._socket.getsockname()[0])

    def read(self, table: Table) -> TableState | None:
        """See `TableEdge`.

        Raises:
            KernelError: the table can't be read; EINTR, others commit faster than it can be read.
        """
        for _ in range(_READ_ATTEMPTS - 1):
            try:
                return self._read(table)
            except KernelError as exc:
                if exc.errno != errno.EINTR:
                    raise
        return self._read(table)

    def _read(self, table: Table) -> TableState | None:
        name = nl.text(1, self._name)
        try:
            found = next(iter(self._ask(nl.GETTABLE, nl.NLM_F_ACK, name)))
        except KernelNotFoundError:
            return None
        facts = nl.attribute_map(found)
        chains = self._find_all(nl.GETCHAIN, 3, [chain.name for chain in table.chains])
        maps = self._find_all(nl.GETSET, 2, [declared.name for declared in table.maps])
        dynamic = {declared.name for declared in table.maps if declared.remembers}
        elements: dict[str, dict[bytes, bytes]] = {name_: {} for name_ in maps if name_ not in dynamic}
        odd_elements = 0
        for map_name, content in elements.items():
            for message in self._dump_elements(map_name, maps[map_name]):
                part, odd = decode_elements(message)
                content.update(part)
                odd_elements += odd
        return TableState(
            signature=decode_comment(facts.get(6, memoryview(b""))),
            flags=nl.read_u32(facts[2]),
            use=nl.read_u32(facts[3]),
            hooks={chain: decode_hook(known) for chain, known in chains.items()},
            policies={chain: nl.read_u32(known[5]) for chain, known in chains.items() if 5 in known},
            shapes={map_name: decode_shape(known) for map_name, known in maps.items()},
            rules=tuple(decode_rule(nl.attribute_map(rule)) for rule in self._dump(nl.GETRULE, name)),
            elements=elements,
            odd_elements=odd_elements,
        )

    def replace(self, table: Table, elements: Elements) -> None:
        """See `TableEdge`."""
        requests = list(create_table(table, elements))
        if self._exists():
            requests.insert(0, delete_table(table.name))
        self._commit(f"replace table {self._family} {self._name}", requests)

    def update(self, table: Table, changes: Mapping[str, ElementChange]) -> None:
        """See `TableEdge`."""
        counted = {declared.name for declared in table.maps if declared.counted}
        packets = {
            map_name: self._packets(map_name, [key for key in change.remove if key in change.add])
            for map_name, change in changes.items()
            if map_name in counted
        }
        requests = list(change_elements(table, changes, packets))
        if requests:
            self._commit(f"change elements of {self._family} {self._name}", requests)

    def delete(self) -> bool:
        """See `TableEdge`."""
        if not self._exists():
            return False
        self._commit(f"delete table {self._family} {self._name}", [delete_table(self._name)])
        return True

    def generation(self) -> int:
        """See `TableEdge`."""
        return nl.read_u32(nl.attribute_map(next(iter(self._ask(nl.GETGEN, nl.NLM_F_ACK, b""))))[1])

    def read_uses(self, map_name: str) -> list[ElementUse]:
        """See `TableEdge`."""
        head = nl.text(1, self._name) + nl.text(2, map_name)
        declared = nl.attribute_map(next(iter(self._ask(nl.GETSET, nl.NLM_F_ACK, head))))
        found = (use for message in self._dump_elements(map_name, declared) for use in decode_uses(message))
        return [*{use.key: use for use in found}.values()]

    def read_listing(self) -> TableListing | None:
        """Return all of the table, whoever wrote it, as it stands at one moment; None if there is none.

        Raises:
            KernelError: EINTR, others commit faster than it can be read.
        """
        for _ in range(_READ_ATTEMPTS):
            before = self.generation()
            try:
                listing = self._read_listing()
            except KernelError as exc:
                if exc.errno not in (errno.EINTR, errno.ENOENT):
                    raise
            else:
                if before == self.generation():
                    return listing
        raise KernelError(f"read table {self._family} {self._name}", errno.EINTR)

    def _read_listing(self) -> TableListing | None:
        if not self._exists():
            return None
        mine = nl.text(1, self._name)
        # The kernel narrows a dump of rules or maps to one table, that of chains only to a family.
        chains = [nl.attribute_map(each) for each in self._dump(nl.GETCHAIN, b"")]
        maps = [nl.attribute_map(each) for each in self._dump(nl.GETSET, mine)]
        names = [nl.read_text(declared[2]) for declared in maps]
        return decode_listing(
            self._family,
            [chain for chain in chains if nl.read_text(chain[1]) == self._name],
            [nl.attribute_map(rule) for rule in self._dump(nl.GETRULE, mine)],
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
        payload = nl.text(1, self._name) + nl.text(2, map_name)
        wanted = decode_count(declared)
        messages: list[memoryview] = []
        for _ in range(_RESIZE_ATTEMPTS):
            messages = list(self._dump(nl.GETSETELEM, payload))
            if not wanted or len({key for each in messages for key in distinct_keys(each)}) >= wanted:
                break
        return messages

    def _packets(self, map_name: str, keys: list[bytes]) -> dict[bytes, int]:
        """Return what elements of a counted map have counted so far; one that is not there is left out."""
        found = {}
        head = nl.text(1, self._name) + nl.text(2, map_name)
        for key in keys:
            asked = nl.nested(3, nl.nested(1, nl.nested(1, nl.attribute(1, key))))
            try:
                answers = self._ask(nl.GETSETELEM, nl.NLM_F_ACK, head + asked)
            except KernelNotFoundError:
                continue
            found.update({use.key: use.packets for answer in answers for use in decode_uses(answer)})
        return found

    def _grow_buffers(self) -> None:
        for forced, plain in ((_SO_SNDBUFFORCE, socket.SO_SNDBUF), (_SO_RCVBUFFORCE, socket.SO_RCVBUF)):
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, forced, _BUFFER_BYTES)
            except PermissionError:
                # Without CAP_NET_ADMIN in the first user namespace the system's limit holds.
                self._socket.setsockopt(socket.SOL_SOCKET, plain, _BUFFER_BYTES)

    def _exists(self) -> bool:
        try:
            self._ask(nl.GETTABLE, nl.NLM_F_ACK, nl.text(1, self._name))
        except KernelNotFoundError:
            return False
        return True

    def _find_all(self, operation: int, name_attribute: int, names: list[str]) -> dict[str, Facts]:
        """Ask for chains or maps one by one: a dump would hold those of all other tables too."""
        found: dict[str, Facts] = {}
        for name in names:
            payload = nl.text(1, self._name) + nl.text(name_attribute, name)
            try:
                found[name] = nl.attribute_map(next(iter(self._ask(operation, nl.NLM_F_ACK, payload))))
            except KernelNotFoundError:
                continue
        return found

    def _commit(self, operation: str, requests: list[Request]) -> None:
        batch, last = encode_batch(self._family, requests)
        self._send(operation, batch)
        first_error = 0
        for kind, _flags, sequence, payload in self._replies(operation):
            if kind != nl.NLMSG_ERROR:
                continue
            code = _error_code(payload)
            # The first message that failed is the cause; later ones may only follow from it.
            first_error = first_error or code
            if sequence == last or (code and sequence == 0):
                break
        self._drain()
        if first_error:
            raise kernel_error(operation, first_error)

    def _ask(self, operation: int, flags: int, payload: bytes) -> list[memoryview]:
        return list(self._request(operation, flags, payload))

    def _dump(self, operation: int, payload: bytes) -> Iterator[memoryview]:
        return self._request(operation, nl.NLM_F_DUMP, payload)

    def _request(self, operation: int, flags: int, payload: bytes) -> Iterator[memoryview]:
        """Send one request and yield the payloads of its answers.

        Raises:
            KernelError: the kernel refused, or (EINTR) the ruleset changed during a dump.
        """
        name = f"read table {self._family} {self._name}"
        self._send(name, nl.message(operation, flags, 1, NFPROTO[self._family], payload))
        interrupted = False
        for kind, message_flags, _sequence, answer in self._replies(name):
            interrupted = interrupted or bool(message_flags & nl.NLM_F_DUMP_INTR)
            if kind == nl.NLMSG_DONE:
                break
            if kind == nl.NLMSG_ERROR:
                code = _error_code(answer)
                if code:
                    raise kernel_error(name, code)
                break
            yield nl.nf_payload(answer)
        if interrupted:
            raise KernelError(name, errno.EINTR)

    def _send(self, operation: str, data: bytes) -> None:
        try:
            self._socket.sendto(data, (0, 0))
        except OSError as exc:
            raise kernel_error(operation, exc.errno or errno.EIO) from exc

    def _replies(self, operation: str) -> Iterator[tuple[int, int, int, memoryview]]:
        """Yield messages as they come; the kernel has queued an answer before `sendto` returned."""
        while True:
            try:
                data = self._socket.recv(_RECEIVE_BYTES, socket.MSG_TRUNC)
            except OSError as exc:
                self._drain()
                raise kernel_error(operation, exc.errno or errno.EIO) from exc
            yield from nl.messages(data)

    def _drain(self) -> None:
        """Throw away what an abandoned exchange left, so that the next one reads its own answers."""
        try:
            while self._socket.recv(_RECEIVE_BYTES, socket.MSG_DONTWAIT):
                pass
        except BlockingIOError:
            return
        except OSError as exc:
            if exc.errno != errno.ENOBUFS:
                raise kernel_error("drain netlink socket", exc.errno or errno.EIO) from exc


def _error_code(payload: memoryview) -> int:
    """Return the errno of an NLMSG_ERROR, 0 for an acknowledgement."""
    return -int.from_bytes(payload[:4], sys.byteorder, signed=True)
