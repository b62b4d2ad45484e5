"""A store below a prefix of an etcd cluster, shared by all nodes.

A transaction reads what this process last saw (`ipam.stores.etcd_cache`), and takes a key that it never saw
for absent; its guards go along with its writes in one request, which etcd carries out if they hold. If not,
the same request brings back what is there now. So a node that allocates out of its own block, as it nearly
always does, needs one exchange for each address, and what others have done meanwhile is found out in time.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

from ipam.datastore_url import EtcdUrl
from ipam.errors import DatastoreError
from ipam.store import (
    Attempt,
    Counters,
    Entry,
    Feed,
    Found,
    Guard,
    KeyGuard,
    View,
    Watch,
    Writes,
    prefix_end,
)
from ipam.stores.etcd_cache import EtcdCache, Scan
from ipam.stores.etcd_commit import CommitSlot
from ipam.stores.etcd_reader import EtcdReader, EtcdSnapshot
from ipam.stores.etcd_schema import Layout, decode_schema, open_schema
from ipam.stores.turn import Turn
from nodeplane.etcd.client import Credentials, EtcdClient
from nodeplane.etcd.connection import TlsFiles
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
    prefix_range_end,
)
from nodeplane.etcd.watch import EtcdWatch

# What etcd takes in one request by default (--max-txn-ops).
MAX_OPERATIONS = 128


def open_etcd(url: EtcdUrl, *, create: bool, ended: threading.Event | None = None) -> "EtcdStore":
    """Open the store of a URL; once `ended` is set, nothing is tried again.

    Raises:
        ConfigError: a file that the URL names can't be used.
        DatastoreError: etcd can't be reached or refuses us; or see `open_schema`.
    """
    return EtcdStore(lambda: _client(url, ended), url.prefix, create=create)


class EtcdStore:
    """A `Store` below a prefix.

    Args:
        new_client: Makes a client; a watch has one of its own.
        prefix: What all keys begin with, before a slash.
        create: Make the datastore when there is none.

    Raises:
        DatastoreError: etcd can't be reached, there is no datastore and it is not to be made, it is damaged,
            or a newer one's.
    """

    def __init__(self, new_client: Callable[[], EtcdClient], prefix: str, *, create: bool = True) -> None:
        self.counters = Counters()
        self._new_client = new_client
        self._client = new_client()
        self._layout = Layout(prefix)
        self._slot = CommitSlot(self._layout)
        self._cache = EtcdCache()
        self._turn = Turn(f"{self._client}{prefix}")
        self._was_refused = False
        self._connection_count = 0
        self._reader = EtcdReader(self._client, self._layout, self.counters)
        try:
            with _errors():
                self._schema_revision = self._open_schema(create=create)
        except BaseException:
            self._client.close()
            raise

    @contextmanager
    def snapshot(self) -> Iterator[View]:
        """Look at the state of the first read; see `Store`."""
        with _errors():
            yield EtcdSnapshot(self._reader)

    @contextmanager
    def attempt(self) -> Iterator[Attempt]:
        """Begin a transaction on what is known; see `Store`."""
        with _errors():
            self._client.connect()
            if self._client.connection_count != self._connection_count:
                # It may be another history behind the same address: etcd was restored from a snapshot.
                self._connection_count = self._client.connection_count
                self._cache.clear()
            with self._turn.taken() if self._was_refused else nullcontext():
                yield _Attempt(self, self._reader, self._cache)

    def commit(self, guards: Sequence[Guard], writes: Writes) -> bool:
        """Compare and swap; see `Store`."""
        with _errors():
            return self.send(guards, writes, (), ())

    def watch(self, prefix: str) -> Watch:
        """Begin to watch; see `Store`."""
        start = self._layout.key(prefix)
        with _errors():
            client = self._new_client()
            try:
                return _Watch(EtcdWatch(client, start, prefix_range_end(start)))
            except BaseException:
                client.close()
                raise

    def follow(self, prefixes: Sequence[str]) -> Feed:
        """Begin to follow; see `Store`."""
        # Of little use to a pod start.
        from ipam.stores.etcd_feed import EtcdFeed

        return EtcdFeed(self._new_client, self._layout, prefixes)

    def verify(self) -> list[str]:
        """Say what the cluster complains of; see `Store`."""
        with _errors():
            alarms = self._client.alarms().alarms
        return [f"etcd member {alarm.memberID:x}: alarm {alarm.alarm}" for alarm in alarms]

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def send(
        self, guards: Sequence[Guard], writes: Writes, keys: Sequence[str], scans: Sequence[Scan]
    ) -> bool:
        """Write everything if the guards hold; if not, learn what `keys` and `scans` are now."""
        self.counters.transactions += 1
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
        self._was_refused = not answer.succeeded
        if answer.succeeded:
            self._take_writes(writes, revision)
            self._take_scans(touched, answer, len(answer.responses) - len(touched))
            return True
        self.counters.conflicts += 1
        self._take_state(answer, keys, scans)
        return False

    def _resolve(self, commit_id: bytes, writes: Writes) -> bool:
        """Find out what has become of a commit without an answer."""
        self.counters.resolved += 1
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


class _Attempt:
    """A transaction on what is known; what it asks for is noted, to be learned anew if it fails."""

    def __init__(self, store: EtcdStore, reader: EtcdReader, cache: EtcdCache) -> None:
        self._store = store
        self._reader = reader
        self._cache = cache
        self._keys: dict[str, None] = {}
        self._scans: dict[Scan, None] = {}

    def get(self, key: str) -> Entry | None:
        self._keys[key] = None
        return self._cache.get(key)

    def scan(self, prefix: str, limit: int | None = None) -> Found:
        scan = (prefix, limit)
        self._scans[scan] = None
        found = self._cache.scan(scan)
        if found is None:
            found = self._reader.scan(scan)
            self._cache.take_scan(scan, found)
        return found

    def peek(self, prefix: str, limit: int | None = None) -> Found:
        return self._reader.scan((prefix, limit))

    def commit(self, guards: Sequence[Guard], writes: Writes) -> bool:
        return self._store.send(guards, writes, tuple(self._keys), tuple(self._scans))


class _Watch:
    """A watch whose errors are the datastore's."""

    def __init__(self, watch: EtcdWatch) -> None:
        self._watch = watch

    def wait(self) -> bool:
        with _errors():
            return self._watch.wait()

    def close(self) -> None:
        self._watch.close()


def _client(url: EtcdUrl, ended: threading.Event | None) -> EtcdClient:
    return EtcdClient(
        url.endpoints,
        tls=TlsFiles(url.ca, url.cert, url.key) if url.ca or url.cert else None,
        credentials=Credentials(url.user, url.password_file) if url.user else None,
        ended=ended,
    )


@contextmanager
def _errors() -> Iterator[None]:
    """Say what etcd's errors are to us."""
    try:
        yield
    except EtcdError as exc:
        raise DatastoreError(str(exc)) from exc


def _range_of(answer: TxnAnswer, number: int) -> RangeAnswer:
    found = answer.responses[number].response_range
    return RangeAnswer() if found is None else found


def _first(answer: RangeAnswer) -> KeyValue | None:
    return answer.kvs[0] if answer.kvs else None
