"""Is the machine's neighbour table large enough for a lab? All network namespaces share one of each family.

With gc_thresh3 entries it is full (arp(7), net/core/neighbour.c: neigh_alloc): no node reaches a neighbour
that it does not know yet, lookups and connections run into their time limits. Only the machine's own
namespace can change that, and only its owner should: we say how.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from netns_lab.topology import Topology

Family = Literal[4, 6]

# More than this times what there is: the collector makes room for a few.
_CLEARLY = 2
# What is advised at least.
_LEAST = 8192

_PROC_NET_STAT = Path("/proc/net/stat")
_STATISTICS: dict[Family, str] = {4: "arp_cache", 6: "ndisc_cache"}


class Shortage(msgspec.Struct, frozen=True):
    """A table that is too small: its family, what it may hold, and what a lab takes."""

    family: Family
    limit: int
    needed: int

    @property
    def advised(self) -> int:
        """Return twice what is needed, as a power of two."""
        return int(max(_LEAST, 1 << (2 * self.needed - 1).bit_length()))

    @property
    def command(self) -> str:
        """Return what makes it large enough."""
        return f"sysctl -w net.ipv{self.family}.neigh.default.gc_thresh3={self.advised}"

    def __str__(self) -> str:
        return (
            f"the machine's neighbour table of IPv{self.family} has {self.limit} entries, "
            f"such a lab takes up to {self.needed}: {self.command}"
        )


class LabSize(msgspec.Struct, frozen=True):
    """How large a lab is."""

    nodes: int
    pods: int

    @property
    def needed(self) -> int:
        """Return how many entries it takes: each node knows each, both ways, and each pod its node."""
        return 2 * self.nodes * self.nodes + 2 * self.pods


LARGE = LabSize(100, 1000)
"""The largest that is measured."""


def find_shortage(family: Family, needed: int, limit: int | None) -> Shortage | None:
    """Say whether a table is clearly too small; of one that can't be seen nothing is known."""
    if limit is None or needed <= _CLEARLY * limit:
        return None
    return Shortage(family, limit, needed)


def read_limit(family: Family) -> int | None:
    """Read how many entries a family's table may have; only the machine's own namespace shows it."""
    try:
        return int(Path(f"/proc/sys/net/ipv{family}/neigh/default/gc_thresh3").read_text())
    except FileNotFoundError:
        return None


def find_shortages(topology: Topology) -> Iterator[Shortage]:
    """Yield the tables of this machine that are too small for a lab."""
    needed = LabSize(len(topology.nodes), len(topology.pods)).needed
    for pool in topology.network.pod_pools:
        family = pool.version
        shortage = find_shortage(family, needed, read_limit(family))
        if shortage is not None:
            yield shortage


def count_refusals(text: str) -> int:
    """Return how often a table was full, from what the kernel tells of each processor."""
    head, *rows = (line.split() for line in text.splitlines())
    column = head.index("table_fulls")
    return sum(int(row[column], 16) for row in rows)


def read_refusals() -> int:
    """Read how often the tables of both families were full; 0 where that can't be seen."""
    paths = (_PROC_NET_STAT / name for name in _STATISTICS.values())
    return sum(count_refusals(path.read_text()) for path in paths if path.exists())
