"""Change as a value: what turns what is there into what is wanted."""

from collections.abc import Mapping
from typing import Generic, TypeVar

import msgspec

K = TypeVar("K")
V = TypeVar("V")


class Delta(msgspec.Struct, Generic[K, V], frozen=True):
    """Entries to write and keys to remove; falsy when there is nothing to do.

    `upsert` holds new keys and keys whose value changes; `delete` only keys that are there now.
    """

    upsert: Mapping[K, V]
    delete: frozenset[K]

    def __bool__(self) -> bool:
        return bool(self.upsert or self.delete)


def diff(desired: Mapping[K, V], actual: Mapping[K, V]) -> Delta[K, V]:
    """Say what turns `actual` into `desired`; equal inputs give an empty Delta."""
    return Delta(
        upsert={key: value for key, value in desired.items() if key not in actual or actual[key] != value},
        delete=frozenset(actual.keys() - desired.keys()),
    )
