"""What is too large for one transaction, in several.

The kernel takes a transaction in one piece, no larger than the socket's send buffer, which only CAP_NET_ADMIN
of the first user namespace raises beyond net.core.wmem_max. Elements are divided until it takes them; the
constant part (150 KB for kubeproxy) always goes as a whole. In which order elements may become visible is the
caller's to say: it gives steps. A table that is written anew becomes visible at the end: until then it is
asleep (`Table.asleep`).
"""

import errno
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from nodeplane.datapath.nft.kernel import TableEdge
from nodeplane.datapath.nft.table import ElementChange, Table, TableState
from nodeplane.errors import KernelError

Changes = Mapping[str, ElementChange]

# netlink_sendmsg: longer than the send buffer, no memory for a copy; nfnetlink_rcv_batch: none for another.
_TOO_LARGE = frozenset({errno.EMSGSIZE, errno.ENOBUFS, errno.ENOMEM})


class _Piece(msgspec.Struct, frozen=True):
    """What happens to one key, which must not be divided."""

    map_name: str
    key: bytes
    goes: bool
    data: bytes | None


def is_too_large(error: KernelError) -> bool:
    """Say whether the kernel may take a smaller transaction."""
    return error.errno in _TOO_LARGE


def update_in_parts(edge: TableEdge, table: Table, steps: Iterable[Changes]) -> int:
    """Change elements step by step, each in as many transactions as it takes; return how many they were.

    Raises:
        KernelError: as `TableEdge.update`; parts may have been written.
    """
    commits = 0
    limit = 0
    for step in steps:
        pieces = [*_divide(step)]
        limit = limit or len(pieces)
        start = 0
        while start < len(pieces):
            part = pieces[start : start + limit]
            try:
                edge.update(table, _join(part))
            except KernelError as exc:
                if len(part) == 1 or not is_too_large(exc):
                    raise
                limit = len(part) // 2
            else:
                start += len(part)
                commits += 1
    return commits


def replace_in_parts(edge: TableEdge, table: Table, steps: Iterable[Changes]) -> int:
    """Put a whole table in place of what stands there; return how many transactions that took.

    From the first to the last of them no table is in force.

    Raises:
        KernelError: the table may be there, asleep.
    """
    asleep = table.asleep()
    edge.replace(asleep, {})
    commits = update_in_parts(edge, asleep, steps)
    edge.repair(table, {})
    return commits + 2


def repair(edge: TableEdge, table: Table, found: TableState, changes: Changes) -> int:
    """Put right what was found, in one transaction, or two if it is dormant; return how many they were.

    Raises:
        KernelError: as `TableEdge.repair`.
    """
    edge.repair(table, changes, found.odd_maps)
    return 1 + _wake(edge, found)


def repair_in_parts(edge: TableEdge, table: Table, found: TableState, steps: Iterable[Changes]) -> int:
    """Put right what was found, the elements last; return how many transactions that took.

    A table that is in force stays so, one that is asleep wakes at the end.

    Raises:
        KernelError: parts may have been written.
    """
    edge.repair(table.asleep() if found.is_asleep else table, {}, found.odd_maps)
    commits = 1 + update_in_parts(edge, table, steps)
    if found.is_asleep:
        edge.repair(table, {})
        commits += 1
    return commits + _wake(edge, found)


def _wake(edge: TableEdge, found: TableState) -> int:
    if not found.flags:
        return 0
    edge.wake()
    return 1


def _divide(changes: Changes) -> Iterator[_Piece]:
    for name, change in changes.items():
        for key in change.remove:
            yield _Piece(name, key, goes=True, data=change.add.get(key))
        known = set(change.remove)
        for key, data in change.add.items():
            if key not in known:
                yield _Piece(name, key, goes=False, data=data)


def _join(pieces: Iterable[_Piece]) -> Changes:
    remove: dict[str, list[bytes]] = {}
    add: dict[str, dict[bytes, bytes]] = {}
    for piece in pieces:
        going, coming = remove.setdefault(piece.map_name, []), add.setdefault(piece.map_name, {})
        if piece.goes:
            going.append(piece.key)
        if piece.data is not None:
            coming[piece.key] = piece.data
    return {name: ElementChange(going, add[name]) for name, going in remove.items()}
