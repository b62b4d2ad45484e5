"""Keeps what is known of one kind in step with the server: list, watch, and again after any failure.

    open a session ─► streaming list ──(not offered)──► paged list ─► watch ─► watch ─► …
           ▲                │                               │           │
           └────────────────┴─── failure: pause, longer ────┴───────────┘

A kind that the server does not know (404) is one without objects: it is complete, and looked for again now
and then. So is an optional one that we may not read (403). That holds for a kind that was never served, and
of a server that has served another: a proxy that has lost its server answers 404 to everything, and must not
empty a node's tables.

Only a watch that ends at the time it was given is continued. After any other end the server may be another
one, with other data in which our resource version means nothing: the kind is listed again, and what is known
is compared with the list, so that no deletion is missed.
"""

import asyncio
import random
from collections.abc import Callable
from contextlib import aclosing, suppress

import msgspec

from nodeplane.errors import ApiError, ConfigError, NodeplaneError
from nodeplane.kube.api_request import PAGE_SIZE, Selector, streaming_list_query, watch_query
from nodeplane.kube.backoff import Backoff
from nodeplane.kube.connection import READ_TIMEOUT_S, Connection
from nodeplane.kube.intake import Intake, WatchFailedError
from nodeplane.kube.journal import FORBIDDEN, Journal
from nodeplane.kube.known_state import KnownState
from nodeplane.kube.objects import Object
from nodeplane.kube.open_sockets import OpenSockets
from nodeplane.kube.session import RefusedError, Session, SilenceError, Watch

_NOT_FOUND = 404
_GONE = 410
# What says nothing about whether a streaming list is offered: not now, not to us, or not of this kind.
_SAYS_NOTHING = frozenset({401, _NOT_FOUND, 429, 502, 503, 504})


class Timing(msgspec.Struct, frozen=True):
    """How patient a reflector is, in seconds."""

    first_retry_s: float = 0.5
    max_retry_s: float = 30.0
    # client-go's range: random, so that a cluster's watches do not all end together.
    watch_s: tuple[int, int] = (300, 600)
    # How much later than agreed a watch may end, and how long a streaming list may pause.
    grace_s: float = 15.0
    initial_silence_s: float = READ_TIMEOUT_S
    # How long a batch waits for the kinds that were lost together with those that are back.
    hold_s: float = 5.0
    # How long at most until a kind that the server does not know is looked for again: upgrades bring it.
    max_absence_s: float = 60.0
    # How often a program that waits for its first snapshot says so.
    waiting_s: float = 10.0


class Server:
    """What the reflectors of one server tell each other about it."""

    def __init__(self) -> None:
        self.offers_streaming_list = True
        self.has_listed = False
        self.sockets = OpenSockets()
        self._answered = asyncio.Event()

    def answered(self) -> None:
        """Take note that the server has listed a kind: whoever waits for that has waited long enough."""
        self.has_listed = True
        self.try_again()

    def try_again(self) -> None:
        """Let whoever waits try at once."""
        self._answered.set()
        self._answered = asyncio.Event()

    async def pause(self, seconds: float) -> None:
        """Wait for at most so many seconds until the server answers somebody."""
        answered = self._answered
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await answered.wait()


class Subject(msgspec.Struct, frozen=True):
    """What is followed: the objects of one kind that a selector names."""

    kind: type[Object]
    selector: Selector


class Reflector:
    """Follows a subject, and calls `changed` when something came in."""

    def __init__(
        self,
        subject: Subject,
        connection: Connection,
        state: KnownState,
        server: Server,
        *,
        changed: Callable[[], None],
        timing: Timing,
    ) -> None:
        self.last_error: NodeplaneError | None = None
        self._journal = Journal(subject.kind)
        self._connection = connection
        self._kind = subject.kind
        self._selector = subject.selector
        self._state = state
        self._server = server
        self._changed = changed
        self._timing = timing
        self._backoff = Backoff(timing.first_retry_s, timing.max_retry_s)
        self._absence = Backoff(timing.first_retry_s, timing.max_absence_s)

    async def run(self) -> None:
        """Follow the server for as long as the task lives.

        Raises:
            ConfigError: the way to the server is wrong, before the first list; later it is tried again.
        """
        while True:
            started = asyncio.get_running_loop().time()
            try:
                async with await self._connection.open() as client:
                    observe = self._connection.observe
                    session = Session(
                        client, self._kind, self._selector, self._server.sockets, observe=observe
                    )
                    await self._follow(session)
            except NodeplaneError as exc:
                if isinstance(exc, ConfigError) and not self._journal.has_listed:
                    raise
                is_dispensable = self._is_dispensable(exc)
                if is_dispensable and self._server.has_listed:
                    await self._do_without(exc)
                    continue
                self.last_error = exc
                self._state.lose(self._kind)
                lasted_s = asyncio.get_running_loop().time() - started
                if lasted_s > self._timing.max_retry_s:
                    self._backoff.reset()
                pause_s = self._backoff.pause_s(getattr(exc, "retry_after_s", None))
                self._journal.failed(exc, pause_s)
                if isinstance(exc, RefusedError) and not is_dispensable:
                    # The server is there, and does not want this request now.
                    await asyncio.sleep(pause_s)
                else:
                    await self._server.pause(pause_s)

    def _is_dispensable(self, exc: NodeplaneError) -> bool:
        """Say whether a failure means that there is nothing for us, and never was."""
        if self._journal.has_listed or not isinstance(exc, RefusedError):
            return False
        return exc.code == _NOT_FOUND or (exc.code == FORBIDDEN and self._selector.is_optional)

    async def _do_without(self, exc: NodeplaneError) -> None:
        """Take the kind as one without objects, for a while."""
        self._state.finish(self._kind, self._state.relist(self._kind))
        pause_s = self._absence.pause_s()
        self._journal.done_without(exc, pause_s)
        self._changed()
        await asyncio.sleep(pause_s)

    async def _follow(self, session: Session) -> None:
        """List and watch until something goes wrong, which it says by raising."""
        intake = await self._stream(session) if self._server.offers_streaming_list else None
        if intake is None:
            intake = await self._list(session)
        while True:
            watch_s = self._pick_watch_s()
            self._journal.watching(intake.version, watch_s)
            async with session.watch(watch_query(self._selector, intake.version, watch_s)) as watch:
                await self._drain(watch, intake, watch_s)

    async def _stream(self, session: Session) -> Intake | None:
        """Take a streaming list in, and the watch that it turns into; None if the server offers none."""
        intake = Intake(self._state, self._kind)
        watch_s = self._pick_watch_s()
        self._journal.watching("", watch_s)
        try:
            async with session.watch(streaming_list_query(self._selector, watch_s)) as watch:
                await self._drain(watch, intake, watch_s)
        except (RefusedError, WatchFailedError, SilenceError) as exc:
            if intake.is_complete or getattr(exc, "code", None) in _SAYS_NOTHING:
                raise
            if isinstance(exc, RefusedError) and exc.code == FORBIDDEN:
                # Not of this kind; what the server offers of others is another matter.
                return None
            # An older server does not know the parameters, or knows them and has the feature switched off.
            self._journal.not_streaming(exc)
            self._server.offers_streaming_list = False
            return None
        return intake

    async def _list(self, session: Session) -> Intake:
        """Take a list in, page by page."""
        intake = Intake(self._state, self._kind)
        # A continue token expires when etcd is compacted, every five minutes. Begin again once; a list that
        # never comes to its end that way is asked for as a whole, as client-go's pager does.
        for limit in (PAGE_SIZE, PAGE_SIZE, None):
            try:
                async with aclosing(session.pages(limit)) as pages:
                    async for page in pages:
                        intake.take_page(page)
            except RefusedError as exc:
                if exc.code != _GONE or limit is None:
                    raise
                self._journal.expired()
                intake.restart()
            else:
                break
        self._tell(intake)
        return intake

    async def _drain(self, watch: Watch, intake: Intake, watch_s: int) -> None:
        """Take a watch's events in until it ends as agreed.

        Raises:
            ApiError: it ended in any other way.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + watch_s
        while True:
            was_complete = intake.is_complete
            rest_s = max(end - loop.time(), 0.0) + self._timing.grace_s
            events = await watch.read(rest_s if was_complete else self._timing.initial_silence_s)
            if events is None:
                break
            for event in events:
                intake.take(event)
            if not was_complete and intake.is_complete:
                self._tell(intake)
            elif was_complete and events:
                self._changed()
        early_s = end - loop.time()
        if not intake.is_complete:
            raise SilenceError(f"watch {self._kind.__name__}: ended before its initial events did")
        if early_s > min(self._timing.grace_s, watch_s / 2):
            raise ApiError(f"watch {self._kind.__name__}: ended {early_s:.0f} s too early")

    def _tell(self, intake: Intake) -> None:
        self._journal.listed(intake.listed, intake.version)
        self._server.answered()
        self._changed()

    def _pick_watch_s(self) -> int:
        return random.randint(*self._timing.watch_s)
