"""Cluster state from a Kubernetes API server, as a `nodeplane.kube.source.Source`.

Decides what a reader sees of several kinds that are followed independently: nothing before all are complete,
then what changed since it last asked, however long it took to ask.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Collection, Iterable, Mapping
from contextlib import suppress

from nodeplane.errors import ApiError, NodeplaneError
from nodeplane.kube.api_request import Selector
from nodeplane.kube.connection import Connection
from nodeplane.kube.known_state import KnownState
from nodeplane.kube.objects import Object
from nodeplane.kube.reflector import Reflector, Server, Subject, Timing
from nodeplane.kube.source import Batch, Shrink, keep_whole

_EVERYTHING = Selector()

log = logging.getLogger(__name__)


class ApiServerSource:
    """A `Source` over the server that a connection leads to.

    `selectors` names the objects wanted of a kind; without an entry they are all wanted, and needed. A server
    that can't be reached is waited for without end, which the log says every ten seconds until the first
    snapshot; with `snapshot_within_s`, for so many seconds until the snapshot.
    """

    def __init__(
        self,
        connection: Connection,
        selectors: Mapping[type[Object], Selector] | None = None,
        *,
        snapshot_within_s: float | None = None,
        timing: Timing | None = None,
        shrink: Shrink = keep_whole,
    ) -> None:
        self._connection = connection
        self._selectors = selectors or {}
        self._snapshot_within_s = snapshot_within_s
        self._timing = timing or Timing()
        self._shrink = shrink
        self._server = Server()

    def take_new_addresses(self) -> None:
        """Take in that this machine's addresses have changed: no connection may lie on one that is gone."""
        ended = self._server.sockets.end_stranded()
        if ended:
            log.info("connections of a lost address ended count=%d", ended)
        self._server.try_again()

    async def batches(self, kinds: Collection[type[Object]]) -> AsyncGenerator[Batch, None]:
        """Yield the snapshot of `kinds`, then changes; see `Source`."""
        state = KnownState(kinds, self._shrink)
        news = asyncio.Event()
        reflectors = [
            Reflector(
                Subject(kind, self._selectors.get(kind, _EVERYTHING)),
                self._connection,
                state,
                self._server,
                changed=news.set,
                timing=self._timing,
            )
            for kind in dict.fromkeys(kinds)
        ]
        # A task group around a yield would cancel the reader's task (PEP 789), so it has a task of its own.
        following = asyncio.create_task(_run_all(reflectors))
        following.add_done_callback(lambda _: news.set())
        try:
            await self._await_snapshot(state, news, following, reflectors)
            yield state.take()
            given_up: set[type[Object]] = set()
            while True:
                await _next(news, following)
                given_up &= set(state.incomplete)
                if state.has_news and set(state.incomplete) - given_up:
                    # A lost server takes all kinds along, and they come back one after the other: what
                    # changed meanwhile is one batch. A kind that stays away must not hold the others up.
                    with suppress(TimeoutError):
                        await _complete(state, news, following, self._timing.hold_s)
                    given_up = set(state.incomplete)
                batch = state.take()
                if batch:
                    yield batch
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    async def _await_snapshot(
        self,
        state: KnownState,
        news: asyncio.Event,
        following: asyncio.Task[None],
        reflectors: Iterable[Reflector],
    ) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        limit_s = self._snapshot_within_s
        while state.incomplete:
            waited_s = loop.time() - started
            say_s = self._timing.waiting_s
            try:
                await _complete(
                    state, news, following, say_s if limit_s is None else min(say_s, limit_s - waited_s)
                )
            except TimeoutError as exc:
                waited_s = loop.time() - started
                if limit_s is not None and waited_s >= limit_s:
                    errors = {
                        str(each.last_error): None for each in reflectors if each.last_error is not None
                    }
                    raise ApiError(
                        f"cluster state not complete after {limit_s:g} s: {'; '.join(errors) or 'no answer'}"
                    ) from exc
                log.warning(
                    "waiting for the first snapshot, all stays as it is until then missing=%s waited_s=%.0f",
                    ",".join(sorted(kind.__name__ for kind in state.incomplete)), waited_s,
                )  # fmt: skip


async def _complete(
    state: KnownState, news: asyncio.Event, following: asyncio.Task[None], within_s: float | None
) -> None:
    """Wait until all kinds are complete; TimeoutError after `within_s` seconds."""
    async with asyncio.timeout(within_s):
        while state.incomplete:
            await _next(news, following)


async def _next(news: asyncio.Event, following: asyncio.Task[None]) -> None:
    """Wait until something came in, or raise what ended the task that follows the server."""
    await news.wait()
    news.clear()
    if following.done():
        following.result()


async def _run_all(reflectors: Iterable[Reflector]) -> None:
    try:
        async with asyncio.TaskGroup() as tasks:
            for reflector in reflectors:
                tasks.create_task(reflector.run())
    except ExceptionGroup as group:
        first = group.exceptions[0]
        if isinstance(first, NodeplaneError):
            raise first from group
        raise
