"""Places that depend on which keys exist, never on the order they came in (law 1).

A key's place is where it hashes to. Where two meet, the smaller key stays and the other takes the next free
place: each key in order has the first free place from its hash on. That assignment is unique (linear
probing with a fixed priority, Amble and Knuth 1974), so a restart finds the places that the kernel holds, and
one arrival moves others only where hashes collide.

Pool numbers, the members of a pool with session affinity, and the slots of a large pool are given out so.
"""

from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Any, Generic, Protocol, TypeVar


class _Ordered(Protocol):
    def __lt__(self, other: Any, /) -> bool: ...


K = TypeVar("K", bound=_Ordered)


class ProbingTable(Generic[K]):
    """Keys in `size` places; `encode` turns a key into the bytes that are hashed."""

    def __init__(self, size: int, encode: Callable[[K], bytes]) -> None:
        self._size = size
        self._encode = encode
        self._keys: dict[int, K] = {}
        self._places: dict[K, int] = {}

    def __getitem__(self, key: K) -> int:
        return self._places[key]

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def keys(self) -> dict[int, K]:
        """The key in each place that is taken."""
        return self._keys

    def update(self, added: Iterable[K], removed: Iterable[K]) -> set[int]:
        """Take keys in and out; return the places where something may have changed.

        Raises:
            ValueError: there are more keys than places.
        """
        touched: set[int] = set()
        for key in removed:
            self._remove(key, touched)
        for key in added:
            self._add(key, touched)
        return touched

    def _add(self, key: K, touched: set[int]) -> None:
        if key in self._places:
            return
        if len(self._keys) == self._size:
            raise ValueError(f"more than {self._size} places are asked for")
        place = int.from_bytes(blake2b(self._encode(key), digest_size=8).digest(), "big") % self._size
        while (holder := self._keys.get(place)) is not None:
            if key < holder:
                self._put(key, place)
                touched.add(place)
                key = holder
            place = (place + 1) % self._size
        self._put(key, place)
        touched.add(place)

    def _remove(self, key: K, touched: set[int]) -> None:
        """Free a place, and let those that its key may have displaced find their places again."""
        place = self._places.pop(key, None)
        if place is None:
            return
        del self._keys[place]
        touched.add(place)
        displaced = []
        while (holder := self._keys.pop(place := (place + 1) % self._size, None)) is not None:
            del self._places[holder]
            displaced.append(holder)
            touched.add(place)
        for holder in displaced:
            self._add(holder, touched)

    def _put(self, key: K, place: int) -> None:
        self._keys[place] = key
        self._places[key] = place
