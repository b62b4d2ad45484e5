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
    View,
    Watch,
    Writes,
)
from ipam.stores.etcd_cache import EtcdCache, Scan
from ipam.stores.etcd_reader import EtcdReader, EtcdSnapshot
from ipam.stores.etcd_schema import Layout
from ipam.stores.etcd_writer import EtcdWriter
from ipam.stores.turn import Turn
from nodeplane.etcd.client import Credentials, EtcdClient
from nodeplane.etcd.connection import TlsFiles
from nodeplane.etcd.errors import EtcdError
from nodeplane.etcd.messages import (
    prefix_range_end,
)
from nodeplane.etcd.watch import EtcdWatch


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
        self._cache = EtcdCache()
        self._turn = Turn(f"{self._client}{prefix}")
        self._connection_count = 0
        self._reader = EtcdReader(self._client, self._layout, self.counters)
        try:
            with _errors():
                self._writer = EtcdWriter(
                    self._client, self._reader, self._cache, self._layout, self.counters, create=create
                )
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
            with self._turn.taken() if self._writer.was_refused else nullcontext():
                yield _Attempt(self._writer, self._reader, self._cache)

    def commit(self, guards: Sequence[Guard], writes: Writes) -> bool:
        """Compare and swap; see `Store`."""
        with _errors():
            return self._writer.send(guards, writes, (), ())

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


class _Attempt:
    """A transaction on what is known; what it asks for is noted, to be learned anew if it fails."""

    def __init__(self, writer: EtcdWriter, reader: EtcdReader, cache: EtcdCache) -> None:
        self._writer = writer
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
        return self._writer.send(guards, writes, tuple(self._keys), tuple(self._scans))


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
