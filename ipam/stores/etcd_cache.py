"""What this process last saw of etcd: entries, and the results of scans; so much of it, and no more.

Nothing here needs to be true: whoever uses it has etcd compare the revisions when it commits. It only must
not have two revisions of one key, or a transaction that reads both could never be tried: of two reports the
last one counts, and a scan that says otherwise is forgotten.
"""

from collections import OrderedDict
from collections.abc import Iterable

from ipam.store import Entry, Found, key_after, prefix_end

# Some hundred bytes each: a node's blocks, and the addresses of its pods, many times over.
MAX_ENTRIES = 4096
MAX_SCANS = 64
# A longer one is read anew: it would crowd out all else.
MAX_SCAN_ENTRIES = 256

Scan = tuple[str, int | None]
"""Prefix and limit."""


class EtcdCache:
    """Entries by key, and scans by what was asked."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._scans: OrderedDict[Scan, Found] = OrderedDict()

    def get(self, key: str) -> Entry | None:
        """Return the entry of a key, if it is known."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
            return entry
        # An entry that was crowded out may still be in a scan, which must not be contradicted.
        for scan, found in self._scans.items():
            if key.startswith(scan[0]):
                for known in found.entries:
                    if known.key == key:
                        return known
        return None

    def scan(self, scan: Scan) -> Found | None:
        """Return what a scan found, if it is known."""
        found = self._scans.get(scan)
        if found is not None:
            self._scans.move_to_end(scan)
        return found

    def take_entry(self, key: str, entry: Entry | None) -> None:
        """Take in what a key has; None: it is not there, which needs no place."""
        if entry is None:
            self._entries.pop(key, None)
        else:
            self._entries[key] = entry
            self._entries.move_to_end(key)
            if len(self._entries) > MAX_ENTRIES:
                self._entries.popitem(last=False)
        for scan in self._that_cover(key):
            if entry is None or entry not in self._scans[scan].entries:
                del self._scans[scan]

    def take_scan(self, scan: Scan, found: Found) -> None:
        """Take in what a scan found."""
        for entry in found.entries:
            if self._entries.get(entry.key) != entry:
                self.take_entry(entry.key, entry)
        self._scans.pop(scan, None)
        if len(found.entries) > MAX_SCAN_ENTRIES:
            return
        self._scans[scan] = found
        if len(self._scans) > MAX_SCANS:
            self._scans.popitem(last=False)

    def scans_of(self, keys: Iterable[str]) -> list[Scan]:
        """Return the known scans that a write to one of these keys may change."""
        return list(dict.fromkeys(scan for key in keys for scan in self._that_cover(key)))

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._scans.clear()

    def __len__(self) -> int:
        return len(self._entries) + sum(len(found.entries) for found in self._scans.values())

    def _that_cover(self, key: str) -> list[Scan]:
        return [
            scan
            for scan, found in self._scans.items()
            if key.startswith(scan[0]) and key < covered_end(scan, found)
        ]


def covered_end(scan: Scan, found: Found) -> str:
    """Return the first key that a scan says nothing of."""
    prefix, limit = scan
    if limit is not None and len(found.entries) >= limit:
        return key_after(found.entries[-1].key) if found.entries else prefix
    return prefix_end(prefix)
