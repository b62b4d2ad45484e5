"""Free what was left behind: seen twice, with a grace time between, and unchanged when it is freed.

    look ── leak seen ── grace ── look ── still the same allocation, still a leak ── one transaction:
                                                         the very same record? freed : left alone

The record has the block's sequence number and a count of its renewals in it: an address that was freed and
given to another pod in between, or asked for again by its own, is another record. All addresses of one
handle are freed together. The last look is within the transaction: a pod whose request is answered later
changes the record, and the transaction looks again.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from functools import partial

import msgspec

from ipam.datastore import Datastore
from ipam.handles import release_allocations
from ipam.leaks import Leak
from ipam.ledger import Ledger
from ipam.model import Allocation, Block, Handle


class Patience:
    """Remembers since when each leak has been seen; says which have waited long enough.

    Args:
        grace_s: How long a leak must have been there.
    """

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._since_s: dict[Allocation, float] = {}

    @property
    def candidates(self) -> int:
        """How many leaks the last look saw."""
        return len(self._since_s)

    def judge(self, leaks: Iterable[Leak], now_s: float) -> list[Leak]:
        """Take a look's leaks in; return those that were seen by an earlier look at least the grace ago.

        Those of an earlier boot need not wait: what they belonged to can't come back.
        """
        seen = list(leaks)
        self._since_s = {leak.allocation: self._since_s.get(leak.allocation, now_s) for leak in seen}
        return [
            leak
            for leak in seen
            if leak.is_certain or self._has_waited(self._since_s[leak.allocation], now_s)
        ]

    def _has_waited(self, since_s: float, now_s: float) -> bool:
        # Equal times are one and the same look, save without any grace.
        return now_s - since_s >= self._grace_s and (now_s > since_s or self._grace_s == 0)

    def forget(self, freed: Iterable[Allocation]) -> None:
        """Drop what has been freed."""
        for allocation in freed:
            self._since_s.pop(allocation, None)


class Absence:
    """Remembers since when each node is missed; one that is missed for less than the grace may be back.

    Args:
        grace_s: How long a node must have been missed before what it left behind is looked at.
    """

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._since_s: dict[str, float] = {}
        self.is_waiting = False

    def judge(self, nodes: Collection[str], named: Iterable[str], now_s: float) -> frozenset[str]:
        """Return the nodes that count as there, of those that the cluster has and those that blocks name."""
        self._since_s = {node: self._since_s.get(node, now_s) for node in set(named).difference(nodes)}
        back = {node for node, since_s in self._since_s.items() if now_s - since_s < self._grace_s}
        self.is_waiting = bool(back)
        return frozenset(nodes) | back

    def forget(self) -> None:
        """Begin anew: nothing is known of the cluster."""
        self._since_s = {}


def named_nodes(blocks: Iterable[Block]) -> set[str]:
    """Return the nodes that have blocks, or addresses in them."""
    found = set()
    for block in blocks:
        found.update([block.node, *(item.node for item in block.lent)])
    return found - {""}


class Collected(msgspec.Struct, frozen=True):
    """What a collection did."""

    freed: tuple[Leak, ...] = ()
    # Changed between the look and the transaction: somebody uses it again.
    kept: tuple[Leak, ...] = ()


def collect(
    datastore: Datastore, due: Iterable[Leak], still: Callable[[Leak], bool], now_s: int
) -> Collected:
    """Free leaks, each handle in a transaction of its own, provided that nothing about it has changed.

    Args:
        datastore: Where they are.
        due: What to free.
        still: Looks again, within the transaction: a namespace that is there after all saves its address.
        now_s: Unix time.
    """
    freed: list[Leak] = []
    kept: list[Leak] = []
    leaks = {leak.allocation: leak for leak in due}
    for group in by_handle(leaks):
        found = [leaks[item] for item in group]
        is_freed = free(datastore, group, now_s, partial(_all_still, found, still))
        (freed if is_freed else kept).extend(found)
    return Collected(tuple(freed), tuple(kept))


def _all_still(leaks: list[Leak], still: Callable[[Leak], bool]) -> bool:
    return all(map(still, leaks))


def by_handle(allocations: Iterable[Allocation]) -> list[list[Allocation]]:
    """Return allocations by their handle: what one holds comes free together."""
    groups: defaultdict[Handle, list[Allocation]] = defaultdict(list)
    for item in allocations:
        groups[item.handle].append(item)
    return list(groups.values())


def free(
    datastore: Datastore, group: list[Allocation], now_s: int, is_due: Callable[[], bool] = lambda: True
) -> bool:
    """Free what a handle holds in one transaction; False when it changed since it was seen."""

    def step(ledger: Ledger) -> bool:
        # Asked after the records are read: whoever answers a request later than this look changes them.
        is_same = all(ledger.allocation(item.address) == item for item in group)
        return is_same and is_due() and release_allocations(ledger, group, now_s)

    return datastore.transact(step)
