"""A store in etcd, through the JSON gateway that every etcd serves (etcd's api/v3: KV.Range, KV.Txn, ...).

    PREFIX/objects/KEY        the value, behind the revision that wrote it
    PREFIX/log/REVISION       one change
    PREFIX/reached            the last revision and the compacted one

The server numbers its own changes, as over any store; etcd's revisions serve to keep others out: each
transaction compares that `reached` was last written by this server, so a second one on the same prefix is
refused at its first write, and so is the first from then on.
"""

import base64
import http.client
import json
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from netns_lab.apiserver.store import FIRST_REVISION, Record, Snapshot, StoreError, StoreLostError

_TIMEOUT_S = 30.0
_PAGE = 1000
_REVISION_DIGITS = 20

Json = dict[str, Any]


class _Reached(msgspec.Struct, frozen=True):
    revision: int = FIRST_REVISION
    compacted: int = FIRST_REVISION


class EtcdStore:
    """A `Store` below a prefix of an etcd, found under `host:port` (the first that answers of several).

    Raises:
        StoreError: no etcd answers.
    """

    def __init__(self, addresses: Sequence[str], prefix: str) -> None:
        self._prefix = prefix.rstrip("/")
        self._addresses = tuple(addresses)
        self._connection: http.client.HTTPConnection | None = None
        self._reached = _Reached()
        # etcd's own revision of `reached` when it was last read or written here; 0 while it is not there.
        self._fence = 0
        self._read_reached()

    def load(self) -> Snapshot:
        """Read everything; see `Store`."""
        self._read_reached()
        objects = []
        for key, value in self._scan("objects/"):
            revision, _, content = value.partition(b" ")
            objects.append((key, int(revision), content))
        log = tuple(msgspec.msgpack.decode(value, type=Record) for _, value in self._scan("log/"))
        return Snapshot(self._reached.revision, self._reached.compacted, tuple(objects), log)

    def append(self, records: Sequence[Record]) -> None:
        """Write changes in one transaction; see `Store`."""
        if not records:
            return
        operations: list[Json] = []
        # etcd refuses a transaction that writes a key twice: of each key the last value counts.
        for record in {record.key: record for record in records}.values():
            key = f"objects/{record.key}"
            if record.value is None:
                operations.append(self._delete(key))
            else:
                operations.append(self._put(key, b"%d %b" % (record.revision, record.value)))
        for record in records:
            key = f"log/{record.revision:0{_REVISION_DIGITS}}"
            operations.append(self._put(key, msgspec.msgpack.encode(record)))
        self._write(operations, _Reached(records[-1].revision, self._reached.compacted))

    def compact(self, revision: int) -> None:
        """Forget the log; see `Store`."""
        if revision <= self._reached.compacted:
            return
        first, last = (self._key(f"log/{number:0{_REVISION_DIGITS}}") for number in (0, revision + 1))
        deletion = {"request_delete_range": {"key": first, "range_end": last}}
        self._write([deletion], _Reached(self._reached.revision, revision))

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _read_reached(self) -> None:
        found = self._call("/v3/kv/range", {"key": self._key("reached")}).get("kvs") or [{}]
        self._fence = int(found[0].get("mod_revision", 0))
        content = base64.b64decode(found[0].get("value", ""))
        self._reached = msgspec.json.decode(content, type=_Reached) if content else _Reached()

    def _write(self, operations: list[Json], reached: _Reached) -> None:
        compare = {"key": self._key("reached"), "target": "MOD", "mod_revision": str(self._fence)}
        operations = [*operations, self._put("reached", msgspec.json.encode(reached))]
        answer = self._call("/v3/kv/txn", {"compare": [compare], "success": operations})
        if not answer.get("succeeded"):
            raise StoreLostError(f"another server has written below {self._prefix} in etcd")
        self._fence = int(answer["header"]["revision"])
        self._reached = reached

    def _scan(self, part: str) -> Iterator[tuple[str, bytes]]:
        """Yield the entries below a part of the prefix by key, without it, in pages of one state."""
        head = f"{self._prefix}/{part}".encode()
        # The first key that no longer begins with it: '/' is followed by '0'.
        start, end, revision = head, head[:-1] + b"0", 0
        while True:
            request = {
                "key": _text(start),
                "range_end": _text(end),
                "limit": _PAGE,
                "revision": str(revision),
            }
            answer = self._call("/v3/kv/range", request)
            entries = answer.get("kvs") or []
            for entry in entries:
                key = base64.b64decode(entry["key"])
                yield key[len(head) :].decode(), base64.b64decode(entry.get("value", ""))
                start = key + b"\0"
            if not answer.get("more"):
                return
            revision = revision or int(answer["header"]["revision"])

    def _key(self, name: str) -> str:
        return _text(f"{self._prefix}/{name}".encode())

    def _put(self, name: str, value: bytes) -> Json:
        return {"request_put": {"key": self._key(name), "value": _text(value)}}

    def _delete(self, name: str) -> Json:
        return {"request_delete_range": {"key": self._key(name)}}

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


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
