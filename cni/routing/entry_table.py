"""The neighbours and forwarding entries of our VXLAN links in the kernel: read, and brought in line."""

from collections.abc import Collection, Iterable, Mapping

from cni.routing.route_table import SyncReport
from cni.routing.vxlan import LINK_NAMES, Entry, EntryKey, entry_key
from nodeplane.datapath.rtnl import Deletion, Family, Replacement, Rtnl
from nodeplane.errors import KernelNotFoundError


class EntryTable:
    """The kernel's entries as last seen or written; the links are ours, and so is all that they have.

    Written before the routes that need them, and swept after those that did: so each step is one of its own.
    """

    def __init__(self, rtnl: Rtnl) -> None:
        self._rtnl = rtnl
        self._actual: dict[EntryKey, Entry] = {}

    def read(self, versions: Iterable[Family]) -> None:
        """Read what the links of these families have; the others are not there.

        Raises:
            KernelError: it can't be read.
        """
        found: set[Entry] = set()
        for version in versions:
            name = LINK_NAMES[version]
            found |= {*self._rtnl.neighbours(name, version), *self._rtnl.fdb(name)}
        self._actual = {entry_key(entry): entry for entry in found}

    def write(self, desired: Mapping[EntryKey, Entry]) -> SyncReport:
        """Write those of these entries that are not there."""
        due = [entry for key, entry in desired.items() if self._actual.get(key) != entry]
        refused = self._rtnl.apply([Replacement(entry) for entry in due])
        done = [entry for position, entry in enumerate(due) if position not in refused]
        self._actual |= {entry_key(entry): entry for entry in done}
        return SyncReport(len(done), 0, frozenset(map(str, refused.values())))

    def sweep(self, desired: Collection[EntryKey], changed: Iterable[EntryKey] | None = None) -> SyncReport:
        """Delete what is not desired; of `changed`, or of all."""
        keys = list(self._actual) if changed is None else [key for key in changed if key in self._actual]
        gone = [key for key in keys if key not in desired]
        answers = self._rtnl.apply([Deletion(self._actual[key]) for key in gone])
        # Not found: it went with its link, or somebody was faster.
        refused = {
            position: error
            for position, error in answers.items()
            if not isinstance(error, KernelNotFoundError)
        }
        for position, key in enumerate(gone):
            if position not in refused:
                del self._actual[key]
        return SyncReport(0, len(gone) - len(refused), frozenset(map(str, refused.values())))
