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

import base64
import http.client
import json
from bisect import bisect
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from netns_lab.apiserver.store import FIRST_REVISION, Record, Snapshot, StoreError, StoreLostError

_TIMEOUT_S = 30.0
_PAGE = 1000
_REVISION_DIGITS = 20
_LAYOUT = 2
# etcd's --max-txn-ops is 128; one is for `reached`.
_MAX_OPERATIONS = 127

Json = dict[str, Any]


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
        self._addresses = tuple(addresses)
        self._connection: http.client.HTTPConnection | None = None
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
        operations: list[Json] = []
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
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _read_reached(self) -> int:
        """Read how far the store is; return etcd's revision that says so."""
        answer = self._call("/v3/kv/range", {"key": self._key("reached")})
        found = (answer.get("kvs") or [{}])[0]
        self._fence = int(found.get("mod_revision", 0))
        content = base64.b64decode(found.get("value", ""))
        self._reached = msgspec.json.decode(content, type=_Reached) if content else _Reached(layout=_LAYOUT)
        if self._reached.layout != _LAYOUT:
            raise StoreError(
                f"{self._prefix} in etcd is of another version of this server: expected an empty prefix"
            )
        return int(answer["header"]["revision"])

    def _write(self, operations: list[Json], reached: _Reached) -> None:
        compare = {"key": self._key("reached"), "target": "MOD", "mod_revision": str(self._fence)}
        operations = [*operations, self._put("reached", msgspec.json.encode(reached))]
        answer = self._call("/v3/kv/txn", {"compare": [compare], "success": operations})
        if not answer.get("succeeded"):
            raise StoreLostError(f"another server has written below {self._prefix} in etcd")
        self._fence = int(answer["header"]["revision"])
        self._reached = reached

    def _scan(self, part: str, moment: int = 0) -> Iterator[tuple[str, bytes]]:
        """Yield the entries below a part of the prefix by key, without it, in pages of one moment."""
        head = f"{self._prefix}/{part}".encode()
        # The first key that no longer begins with it: '/' is followed by '0'.
        start, end = head, head[:-1] + b"0"
        while True:
            request = {
                "key": _text(start),
                "range_end": _text(end),
                "limit": _PAGE,
                "revision": str(moment),
            }
            answer = self._call("/v3/kv/range", request)
            entries = answer.get("kvs") or []
            for entry in entries:
                key = base64.b64decode(entry["key"])
                yield key[len(head) :].decode(), base64.b64decode(entry.get("value", ""))
                start = key + b"\0"
            if not answer.get("more"):
                return
            moment = moment or int(answer["header"]["revision"])

    def _changes(self, moment: int = 0) -> Iterator[tuple[int, _Change]]:
        for number, content in self._scan("log/", moment):
            yield int(number), msgspec.msgpack.decode(content, type=_Change)

    def _key(self, name: str) -> str:
        return _text(f"{self._prefix}/{name}".encode())

    def _put(self, name: str, value: bytes) -> Json:
        return {"request_put": {"key": self._key(name), "value": _text(value)}}

    def _delete(self, name: str) -> Json:
        return {"request_delete_range": {"key": self._key(name)}}

    def _delete_range(self, part: str, first: int, last: int) -> Json:
        start, end = (self._key(_numbered(part, number)) for number in (first, last + 1))
        return {"request_delete_range": {"key": start, "range_end": end}}

    def _call(self, path: str, request: Json) -> Json:
        """Ask etcd, on the open connection or a new one.

        A request that gets no answer is not sent again: it may have been carried out. The next write then
        finds `reached` changed, and fails as if by another server.
        """
        body = json.dumps(request)
        if self._connection is None:
            self._connection = self._connect()
        try:
            self._connection.request("POST", path, body, {"Content-Type": "application/json"})
            answer = self._connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as exc:
            self.close()
            raise StoreError(f"etcd at {','.join(self._addresses)}: {exc or type(exc).__name__}") from exc
        if answer.status != http.client.OK:
            raise StoreError(
                f"etcd at {','.join(self._addresses)}: {content.decode(errors='replace').strip()}"
            )
        found: Json = json.loads(content)
        return found

    def _connect(self) -> http.client.HTTPConnection:
        problems = []
        for address in self._addresses:
            connection = http.client.HTTPConnection(address, timeout=_TIMEOUT_S)
            try:
                connection.connect()
            except OSError as exc:
                problems.append(f"{address}: {exc.strerror or exc}")
            else:
                return connection
        raise StoreError(f"no etcd answers: {'; '.join(problems)}")


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


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
