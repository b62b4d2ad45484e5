"""A store whose process dies at its next commit, or is slow to it, when told so."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Literal

from ipam.store import Attempt, Counters, Entry, Feed, Found, Guard, Store, View, Watch, Writes

Moment = Literal["before", "after"]


class DiedError(BaseException):
    """The process is gone: nothing in it may handle this."""


class DyingStore:
    """A store with a fate: to die before or after a commit, or to have something happen before it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.counters: Counters = store.counters
        self.dies: Moment | None = None
        self.meanwhile: Callable[[], object] | None = None

    def snapshot(self) -> AbstractContextManager[View]:
        return self.store.snapshot()

    @contextmanager
    def attempt(self) -> Iterator[Attempt]:
        with self.store.attempt() as attempt:
            yield _DyingAttempt(self, attempt)

    def commit(self, guards: Sequence[Guard], writes: Writes) -> bool:
        return self.store.commit(guards, writes)

    def watch(self, prefix: str) -> Watch:
        return self.store.watch(prefix)

    def follow(self, prefixes: Sequence[str]) -> Feed:
        return self.store.follow(prefixes)

    def verify(self) -> list[str]:
        return self.store.verify()

    def close(self) -> None:
        self.store.close()


class _DyingAttempt:
    def __init__(self, fate: DyingStore, attempt: Attempt) -> None:
        self._fate = fate
        self._attempt = attempt

    def get(self, key: str) -> Entry | None:
        return self._attempt.get(key)

    def scan(self, prefix: str, limit: int | None = None) -> Found:
        return self._attempt.scan(prefix, limit)

    def peek(self, prefix: str, limit: int | None = None) -> Found:
        return self._attempt.peek(prefix, limit)

    def commit(self, guards: Sequence[Guard], writes: Writes) -> bool:
        meanwhile, self._fate.meanwhile = self._fate.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        if self._fate.dies == "before":
            raise DiedError
        done = self._attempt.commit(guards, writes)
        if self._fate.dies == "after" and done:
            raise DiedError
        return done
