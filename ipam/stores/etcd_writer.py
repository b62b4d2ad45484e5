"""Transactions to etcd: guards and writes in one request, and what it is answered, taken into the cache."""

from collections.abc import Sequence

from ipam.errors import DatastoreError
from ipam.store import Counters, Entry, Found, Guard, KeyGuard, Writes, prefix_end
from ipam.stores.etcd_cache import EtcdCache, Scan
from ipam.stores.etcd_commit import CommitSlot
from ipam.stores.etcd_reader import EtcdReader
from ipam.stores.etcd_schema import Layout, decode_schema, open_schema
from nodeplane.etcd.client import EtcdClient
from nodeplane.etcd.errors import EtcdError, EtcdUnknownError
from nodeplane.etcd.messages import (
    Compare,
    DeleteRange,
    KeyValue,
    Operation,
    Put,
    Range,
    RangeAnswer,
    Txn,
    TxnAnswer,
)

# What etcd takes in one request by default (--max-txn-ops).
MAX_OPERATIONS = 128


class EtcdWriter:
    """What a store sends; `was_refused` says that the last guards did not hold.

    Args:
        client: Of the cluster.
        reader: Reads below the same prefix.
        cache: Where what is learned goes.
        layout: Of the keys.
        counters: Of the store.
        create: Make the datastore when there is none.

    Raises:
        DatastoreError: see `open_schema`.
        EtcdError: etcd can't be reached or refuses us.
    """

    def __init__(
        self,
        client: EtcdClient,
        reader: EtcdReader,
        cache: EtcdCache,
        layout: Layout,
        counters: Counters,
        *,
        create: bool,
    ) -> None:
        self.was_refused = False
        self._client = client
        self._reader = reader
        self._cache = cache
        self._layout = layout
        self._counters = counters
        self._slot = CommitSlot(layout)
        self._schema_revision = self._open_schema(create=create)

    def send(
        self, guards: Sequence[Guard], writes: Writes, keys: Sequence[str], scans: Sequence[Scan]
    ) -> bool:
        """Write everything if the guards hold; if not, learn what `keys` and `scans` are now."""
        self._counters.transactions += 1
        compares = [Compare(self._layout.schema, mod_revision=self._schema_revision)]
        if writes:
            compares.append(Compare(self._slot.fence, mod_revision=self._slot.fence_revision))
        compares += map(self._compare, guards)
        commit_id = self._slot.next_id()
        # Scans that the writes change are read again after them, in the same request.
        touched = self._cache.scans_of(writes)
        success = [self._write(key, value) for key, value in writes.items()]
        if writes:
            success.append(Operation(request_put=Put(self._slot.commit, commit_id)))
        # As many as there is room for; the others are forgotten, and read when they are needed.
        touched = touched[: MAX_OPERATIONS - len(success)]
        success += map(self._scan_operation, touched)
        # Read on any refusal; and, where nothing is written, they make etcd answer from its latest state: one
        # without a single operation might be answered from an old one.
        state = (self._layout.schema, self._slot.fence, *map(self._layout.key, keys))
        failure = [Operation(request_range=Range(key)) for key in state]
        failure += map(self._scan_operation, scans)
        request = Txn(tuple(compares), tuple(success), tuple(failure))
        try:
            answer = self._client.txn(request)
        except EtcdUnknownError:
            return self._resolve(commit_id, writes)
        revision = self._reader.see(answer.header.revision)
        self.was_refused = not answer.succeeded
        if answer.succeeded:
            self._take_writes(writes, revision)
            self._take_scans(touched, answer, len(answer.responses) - len(touched))
            return True
        self._counters.conflicts += 1
        self._take_state(answer, keys, scans)
        return False

    def _resolve(self, commit_id: bytes, writes: Writes) -> bool:
        """Find out what has become of a commit without an answer."""
        self._counters.resolved += 1
        # A commit that only compares is a read, which the client tries again by itself.
        try:
            revision = self._slot.outcome(self._client, commit_id, self._reader.known_revision)
        except EtcdError as exc:
            raise DatastoreError(
                f"the answer to a write was lost, and what became of it can't be found out now: {exc}"
            ) from exc
        if revision is None:
            return False
        self._take_writes(writes, revision)
        return True

    def _take_writes(self, writes: Writes, revision: int) -> None:
        for key, value in writes.items():
            self._cache.take_entry(key, None if value is None else Entry(key, value, revision))

    def _take_state(self, answer: TxnAnswer, keys: Sequence[str], scans: Sequence[Scan]) -> None:
        """Take in what is there, after a guard failed."""
        schema, fence, *entries = (_first(_range_of(answer, number)) for number in range(2 + len(keys)))
        if schema is None:
            raise DatastoreError(
                f"{self._client}, {self._layout.prefix.decode()} was taken away while in use"
            )
        if schema.mod_revision != self._schema_revision:
            decode_schema(self._client, self._layout, schema)
            self._schema_revision = self._open_schema(create=False)
        self._slot.fence_revision = 0 if fence is None else fence.mod_revision
        for key, found in zip(keys, entries, strict=True):
            self._cache.take_entry(key, None if found is None else self._reader.entry(found))
        self._take_scans(scans, answer, 2 + len(keys))

    def _take_scans(self, scans: Sequence[Scan], answer: TxnAnswer, start: int) -> None:
        for number, scan in enumerate(scans, start):
            entries = tuple(map(self._reader.entry, _range_of(answer, number).kvs))
            self._cache.take_scan(scan, Found(entries, answer.header.revision))

    def _open_schema(self, *, create: bool) -> int:
        revision, now = open_schema(self._client, self._layout, create=create)
        self._reader.see(now)
        return revision

    def _compare(self, guard: Guard) -> Compare:
        if isinstance(guard, KeyGuard):
            return Compare(self._layout.key(guard.key), mod_revision=guard.revision)
        first, end = self._layout.key(guard.first), self._layout.key(guard.end)
        return Compare(first, end, result="LESS", mod_revision=guard.revision + 1)

    def _write(self, key: str, value: bytes | None) -> Operation:
        name = self._layout.key(key)
        if value is None:
            return Operation(request_delete_range=DeleteRange(name))
        return Operation(request_put=Put(name, value))

    def _scan_operation(self, scan: Scan) -> Operation:
        prefix, limit = scan
        first, end = self._layout.key(prefix), self._layout.key(prefix_end(prefix))
        return Operation(request_range=Range(first, end, limit=limit or 0))


def _range_of(answer: TxnAnswer, number: int) -> RangeAnswer:
    found = answer.responses[number].response_range
    return RangeAnswer() if found is None else found


def _first(answer: RangeAnswer) -> KeyValue | None:
    return answer.kvs[0] if answer.kvs else None
