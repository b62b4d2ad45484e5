"""Death at a chosen step: what `kill -9` does to a program between two of its calls to the outside."""

import os
from collections.abc import Callable
from typing import Any, TypeVar, cast

from ipam.datastore import Datastore
from nodeplane.datapath.netlink_socket import NetlinkSocket

T = TypeVar("T")


class Killed(BaseException):
    """Stands for the end of a process: nothing may catch it and go on."""


def die() -> None:
    """End without any clean-up, as far as a test's own process can."""
    raise Killed


class Countdown:
    """Ends the program by `end` instead of its call number `at` (from 0), over all objects guarded."""

    def __init__(self, at: int | None, end: Callable[[], object] = die) -> None:
        self.calls = 0
        self._at = at
        self._end = end

    def guard(self, edge: T) -> T:
        """Return what acts as `edge` and counts its method calls."""
        return cast("T", _Guarded(edge, self))

    def tick(self) -> None:
        """Count one call, or end."""
        if self.calls == self._at:
            self._end()
        self.calls += 1


class _Guarded:
    def __init__(self, edge: object, countdown: Countdown) -> None:
        self._edge = edge
        self._countdown = countdown

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._edge, name)
        if not callable(found):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            self._countdown.tick()
            return found(*args, **kwargs)

        return call


KILLED = 9


def die_at(step: int) -> None:
    """Make this process end at its message number `step` to the kernel, or before or after a transaction.

    For a process that was forked for it, and ends by it: nothing is put back.
    """
    countdown = Countdown(step, end=lambda: os._exit(KILLED))
    really_send, really_transact = NetlinkSocket._send, Datastore.transact

    def send(self: NetlinkSocket, operation: str, data: bytes) -> None:
        countdown.tick()
        really_send(self, operation, data)

    def transact(self: Datastore, step: Any) -> Any:
        countdown.tick()
        done = really_transact(self, step)
        countdown.tick()
        return done

    NetlinkSocket._send = send  # type: ignore[method-assign]
    Datastore.transact = transact  # type: ignore[method-assign]
