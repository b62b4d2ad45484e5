"""A store in etcd, through the JSON gateway that every etcd serves (etcd's api/v3: KV.Range, KV.Txn, ...).

    PREFIX/current/KEY        the revision that wrote the object's value
    PREFIX/values/REVISION    the value that a revision wrote, once, however many refer to it
    PREFIX/log/REVISION       one change: its key, and the revisions of its values
    PREFIX/reached            the last revision and the compacted one

A change is one value and three short entries, so an object that fits into etcd's requests when it is created
fits when it is updated.

The server numbers its own changes, as over any store; etcd's revisions serve to keep others out: each
transaction compares that `reached` is as this server last read or wrote it. A second one on the same prefix,
which reads and then writes, takes over: the first is refused at its next write, and ends. Of two that read at
the same moment the one that writes first stays.
"""

from bisect import bisect
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import msgspec

from netns_lab.apiserver.store import FIRST_REVISION, Record, Snapshot, StoreError, StoreLostError
from nodeplane.etcd.client import EtcdClient
from nodeplane.etcd.errors import EtcdError
from nodeplane.etcd.messages import (
    Compare,
    DeleteRange,
    Operation,
    Put,
    Range,
    Txn,
    prefix_range_end,
)

_TIMEOUT_S = 30.0
_PAGE = 1000
_REVISION_DIGITS = 20
_LAYOUT = 2
# etcd's --max-txn-ops is 128; one is for `reached`.
_MAX_OPERATIONS = 127


class _Reached(msgspec.Struct, frozen=True):
    revision: int = FIRST_REVISION
    compacted: int = FIRST_REVISION
    # What is below the prefix; 1 had the values inside the entries of the log.
    layout: int = 1


class _Change(msgspec.Struct, frozen=True, array_like=True):
    """An entry of the log; the revision of `previous` is 0 for a creation."""

    key: str
    is_deletion: bool
    previous: int


class EtcdStore:
    """A `Store` below a prefix of an etcd, found under `host:port` (the first that answers of several).

    Raises:
        StoreError: no etcd answers, or it has what another version of the server wrote.
    """

    def __init__(self, addresses: Sequence[str], prefix: str) -> None:
        self._prefix = prefix.rstrip("/")
        # It asks once: what the server does about an etcd that is away is the server's matter.
        self._client = EtcdClient(addresses, patience_s=0.0, timeout_s=_TIMEOUT_S)
        self._reached = _Reached(layout=_LAYOUT)
        # etcd's own revision of `reached` when it was last read or written here; 0 while it is not there.
        self._fence = 0
        self._read_reached()

    def load(self) -> Snapshot:
        """Read everything; see `Store`."""
        # All parts as they were at one moment: another server may still be writing.
        moment = self._read_reached()
        values = {int(number): value for number, value in self._scan("values/", moment)}
        objects = tuple(
            (key, int(revision), values[int(revision)]) for key, revision in self._scan("current/", moment)
        )
        log = []
        for revision, change in self._changes(moment):
            # A compaction that was interrupted leaves older ones behind, without their values.
            if revision > self._reached.compacted:
                value = None if change.is_deletion else values[revision]
                log.append(Record(revision, change.key, value, values.get(change.previous), change.previous))
        return Snapshot(self._reached.revision, self._reached.compacted, objects, tuple(log))

    def append(self, records: Sequence[Record]) -> None:
        """Write changes in one transaction; see `Store`."""
        if not records:
            return
        operations: list[Operation] = []
        # etcd refuses a transaction that writes a key twice: of each key the last value counts.
        for record in {record.key: record for record in records}.values():
            key = f"current/{record.key}"
            operations.append(
                self._delete(key) if record.value is None else self._put(key, b"%d" % record.revision)
            )
        for record in records:
            if record.value is not None:
                operations.append(self._put(_numbered("values", record.revision), record.value))
            change = _Change(record.key, record.value is None, record.previous_revision)
            operations.append(self._put(_numbered("log", record.revision), msgspec.msgpack.encode(change)))
        self._write(operations, msgspec.structs.replace(self._reached, revision=records[-1].revision))

    def compact(self, revision: int) -> None:
        """Forget the log, and the values that only it refers to; see `Store`.

        The entries of the log go last, so what an interrupted compaction leaves goes with the next one.
        """
        if revision <= self._reached.compacted:
            return
        self._write([], msgspec.structs.replace(self._reached, compacted=revision))
        changes = list(self._changes())
        dead = [change.previous for number, change in changes if number <= revision and change.previous]
        kept = [int(number) for _, number in self._scan("current/")]
        kept += [change.previous for number, change in changes if number > revision]
        deletions = [self._delete_range("values", *run) for run in _runs(dead, kept)]
        for start in range(0, len(deletions), _MAX_OPERATIONS):
            self._write(deletions[start : start + _MAX_OPERATIONS], self._reached)
        self._write([self._delete_range("log", 0, revision)], self._reached)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _read_reached(self) -> int:
        """Read how far the store is; return etcd's revision that says so."""
        with _errors():
            answer = self._client.range(Range(self._key("reached")))
        found = answer.kvs[0] if answer.kvs else None
        self._fence = 0 if found is None else found.mod_revision
        self._reached = (
            _Reached(layout=_LAYOUT) if found is None else msgspec.json.decode(found.value, type=_Reached)
        )
        if self._reached.layout != _LAYOUT:
            raise StoreError(
                f"{self._prefix} in etcd is of another version of this server: expected an empty prefix"
            )
        return answer.header.revision

    def _write(self, operations: list[Operation], reached: _Reached) -> None:
        compare = Compare(self._key("reached"), mod_revision=self._fence)
        operations = [*operations, self._put("reached", msgspec.json.encode(reached))]
        # A write that gets no answer is not sent again: it may have been carried out. The next one then finds
        # `reached` changed, and fails as if by another server.
        with _errors():
            answer = self._client.txn(Txn((compare,), tuple(operations)))
        if not answer.succeeded:
            raise StoreLostError(f"another server has written below {self._prefix} in etcd")
        self._fence = answer.header.revision
        self._reached = reached

    def _scan(self, part: str, moment: int = 0) -> Iterator[tuple[str, bytes]]:
        """Yield the entries below a part of the prefix by key, without it, in pages of one moment."""
        head = f"{self._prefix}/{part}".encode()
        start, end = head, prefix_range_end(head)
        while True:
            with _errors():
                answer = self._client.range(Range(start, end, limit=_PAGE, revision=moment))
            for entry in answer.kvs:
                yield entry.key[len(head) :].decode(), entry.value
                start = entry.key + b"\0"
            if not answer.more:
                return
            moment = moment or answer.header.revision

    def _changes(self, moment: int = 0) -> Iterator[tuple[int, _Change]]:
        for number, content in self._scan("log/", moment):
            yield int(number), msgspec.msgpack.decode(content, type=_Change)

    def _key(self, name: str) -> bytes:
        return f"{self._prefix}/{name}".encode()

    def _put(self, name: str, value: bytes) -> Operation:
        return Operation(request_put=Put(self._key(name), value))

    def _delete(self, name: str) -> Operation:
        return Operation(request_delete_range=DeleteRange(self._key(name)))

    def _delete_range(self, part: str, first: int, last: int) -> Operation:
        start, end = (self._key(_numbered(part, number)) for number in (first, last + 1))
        return Operation(request_delete_range=DeleteRange(start, end))


@contextmanager
def _errors() -> Iterator[None]:
    """Say what etcd's errors are to the server."""
    try:
        yield
    except EtcdError as exc:
        raise StoreError(str(exc)) from exc


def _runs(dead: Iterable[int], kept: Iterable[int]) -> list[tuple[int, int]]:
    """Return first and last of each run of dead revisions that has no kept one inside."""
    borders = sorted(kept)
    runs: list[tuple[int, int]] = []
    for number in sorted(dead):
        if runs and bisect(borders, runs[-1][1]) == bisect(borders, number):
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs


def _numbered(part: str, revision: int) -> str:
    return f"{part}/{revision:0{_REVISION_DIGITS}}"
