"""The seam between cluster state and the programs: a complete snapshot, then coalesced changes.

Every source (a directory of manifests, an API server) keeps the same promises, held by one contract test:

- The first batch is the complete snapshot of all kinds asked for, as additions; it may be empty. Before
  it nothing is delivered (law 4: never empty by accident).
- Later batches are never empty. A batch names an object once: the state last delivered, the state now.
- Losing the source delivers nothing; what changed meanwhile comes as one batch once it is back.
"""

from collections.abc import AsyncGenerator, Callable, Collection
from typing import Protocol

import msgspec

from nodeplane.kube.objects import Object, ObjectKey


class Change(msgspec.Struct, frozen=True, gc=False):
    """One object's step: `old` is None for an addition, `new` for a deletion."""

    key: ObjectKey
    old: Object | None
    new: Object | None


Batch = tuple[Change, ...]

Shrink = Callable[[Object], Object | None]
"""What a program keeps of an object: it, a smaller one of the same key, or None for nothing at all.

A source that is given one knows no more of its objects than that: what differs in the rest has not changed.
"""


def keep_whole(item: Object) -> Object:
    """Keep all of an object."""
    return item


class Source(Protocol):
    """Where cluster state comes from."""

    def batches(self, kinds: Collection[type[Object]]) -> AsyncGenerator[Batch, None]:
        """Yield the snapshot of `kinds`, then changes for as long as it is read.

        Raises:
            ConfigError: the first snapshot can't be had because the input is wrong.
            ApiError: the first snapshot can't be had for a reason that may pass.
        """
        ...
