"""Free what was left behind: seen twice, with a grace time between, and unchanged when it is freed.

    look ── leak seen ── grace ── look ── still the same allocation, still a leak ── one transaction:
                                                         the very same record? freed : left alone

The record has the block's sequence number in it: an address that was freed and given to another pod in
between, or asked for again by its own, is another record.
"""

from collections.abc import Callable, Iterable

import msgspec

from ipam.allocator import release_allocation
from ipam.datastore import Datastore
from ipam.leaks import Leak
from ipam.model import Allocation


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


class Collected(msgspec.Struct, frozen=True):
    """What a collection did."""

    freed: tuple[Leak, ...] = ()
    # Changed between the look and the transaction: somebody uses it again.
    kept: tuple[Leak, ...] = ()


def collect(
    datastore: Datastore, due: Iterable[Leak], still: Callable[[Leak], bool], now_s: int
) -> Collected:
    """Free leaks, each in a transaction of its own, provided that nothing about them has changed.

    Args:
        datastore: Where they are.
        due: What to free.
        still: Looks again, just before: a namespace that is there after all saves its address.
        now_s: Unix time.
    """
    freed, kept = [], []
    for leak in due:
        if still(leak) and _release(datastore, leak.allocation, now_s):
            freed.append(leak)
        else:
            kept.append(leak)
    return Collected(tuple(freed), tuple(kept))


def _release(datastore: Datastore, allocation: Allocation, now_s: int) -> bool:
    return datastore.transact(lambda ledger: release_allocation(ledger, allocation, now_s))
