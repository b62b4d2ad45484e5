"""Reads of entries in etcd: of now, or of one state that stays as it was."""

from ipam.store import Counters, Entry, Found, prefix_end
from ipam.stores.etcd_cache import Scan
from ipam.stores.etcd_schema import Layout
from nodeplane.etcd.client import EtcdClient
from nodeplane.etcd.messages import KeyValue, Range

_PAGE = 1000


class EtcdReader:
    """Reads entries below a prefix, and counts how often it asked.

    Attributes:
        known_revision: The last state of etcd that is known of.
    """

    def __init__(self, client: EtcdClient, layout: Layout, counters: Counters) -> None:
        self._client = client
        self._layout = layout
        self._counters = counters
        self.known_revision = 0

    def key(self, key: str, revision: int = 0) -> tuple[Entry | None, int]:
        """Read a key as it was at a revision, or as it is now; return the revision too."""
        self._counters.reads += 1
        answer = self._client.range(Range(self._layout.key(key), revision=revision))
        entry = self.entry(answer.kvs[0]) if answer.kvs else None
        return entry, revision or self.see(answer.header.revision)

    def scan(self, scan: Scan, revision: int = 0) -> Found:
        """Read entries as they are now, or as they were at a revision; all of one state."""
        prefix, limit = scan
        start, end = self._layout.key(prefix), self._layout.key(prefix_end(prefix))
        entries: list[Entry] = []
        while limit is None or len(entries) < limit:
            self._counters.reads += 1
            size = _PAGE if limit is None else min(_PAGE, limit - len(entries))
            answer = self._client.range(Range(start, end, limit=size, revision=revision))
            revision = revision or self.see(answer.header.revision)
            entries += map(self.entry, answer.kvs)
            if not answer.more:
                break
            start = answer.kvs[-1].key + b"\0"
        return Found(tuple(entries), revision)

    def see(self, revision: int) -> int:
        """Take note of a state of etcd."""
        self.known_revision = max(self.known_revision, revision)
        return revision

    def entry(self, found: KeyValue) -> Entry:
        """Return our entry of etcd's."""
        return Entry(self._layout.name(found.key), found.value, found.mod_revision)


class EtcdSnapshot:
    """The state of the first read: etcd keeps old ones for a while."""

    def __init__(self, reader: EtcdReader) -> None:
        self._reader = reader
        self._revision = 0

    def get(self, key: str) -> Entry | None:
        """Return an entry; see `View`."""
        entry, self._revision = self._reader.key(key, self._revision)
        return entry

    def scan(self, prefix: str, limit: int | None = None) -> Found:
        """Return entries; see `View`."""
        found = self._reader.scan((prefix, limit), self._revision)
        self._revision = found.revision
        return found
