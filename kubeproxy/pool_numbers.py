"""Pool numbers that depend on which pools exist, never on the order they came in (law 1).

A number is where a pool's name hashes to. Where two meet, the smaller name stays and the other takes the
next free number: each name in order has the first free place from its hash on. That assignment is unique
(linear probing with a fixed priority, Amble and Knuth 1974), so a restart finds the numbers that the
kernel holds, and one arrival moves others only where hashes collide: 1 in 600 among 30,000 pools.
"""

import hashlib
from collections.abc import Iterable

from kubeproxy.layout import POOL_BITS
from kubeproxy.service_port import PoolName


class PoolNumbers:
    """The numbers of the pools that exist."""

    def __init__(self, bits: int = POOL_BITS) -> None:
        self._space = 1 << bits
        self._names: dict[int, PoolName] = {}
        self._numbers: dict[PoolName, int] = {}

    def __getitem__(self, name: PoolName) -> int:
        return self._numbers[name]

    def update(self, added: Iterable[PoolName], removed: Iterable[PoolName]) -> set[PoolName]:
        """Take pools in and out; return those whose number is new or another now.

        Raises:
            ValueError: there are more pools than numbers.
        """
        moved: set[PoolName] = set()
        for name in removed:
            moved |= self._remove(name)
        for name in added:
            moved |= self._add(name)
        return moved & self._numbers.keys()

    def _add(self, name: PoolName) -> set[PoolName]:
        if name in self._numbers:
            return set()
        if len(self._numbers) == self._space:
            raise ValueError(f"more than {self._space} pools")
        moved = set()
        number = self._home(name)
        while (holder := self._names.get(number)) is not None:
            if name < holder:
                self._place(name, number)
                moved.add(name)
                name = holder
            number = (number + 1) % self._space
        self._place(name, number)
        return moved | {name}

    def _remove(self, name: PoolName) -> set[PoolName]:
        """Free a number, and let those that it may have displaced find their places again."""
        number = self._numbers.pop(name, None)
        if number is None:
            return set()
        del self._names[number]
        displaced = []
        while (holder := self._names.pop(number := (number + 1) % self._space, None)) is not None:
            displaced.append((holder, self._numbers.pop(holder)))
        for holder, _ in displaced:
            self._add(holder)
        return {holder for holder, before in displaced if self._numbers[holder] != before}

    def _place(self, name: PoolName, number: int) -> None:
        self._names[number] = name
        self._numbers[name] = number

    def _home(self, name: PoolName) -> int:
        text = "/".join((name.namespace, name.service, name.port, name.protocol))
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self._space
