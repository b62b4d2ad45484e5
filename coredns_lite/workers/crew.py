"""The worker processes of one address and port, as the program sees them: started, asked by, told, replaced.

    start ─► Ready (each) ─► serve: a socket for each ─► run: their questions ─► stop ─► all have left

A worker that dies is replaced by one that serves the same socket, which the program keeps: what has come to
it meanwhile waits there. One that does not hear what changed would answer with what is no longer true, and
one that hangs would answer nobody: it is killed, and so replaced. One thread (`run`) answers what they ask;
the asyncio loop starts them and says what changed.
"""

import asyncio
import logging
import select
import threading
import time
from collections.abc import Callable, Collection, Hashable, Sequence
from contextlib import suppress
from functools import partial

import msgspec
from prometheus_client import Counter

from coredns_lite.kept import TRAILER_BYTES, label_of, token
from coredns_lite.kind import KINDS, MALFORMED, Kind
from coredns_lite.metrics import PANICS, REGISTRY
from coredns_lite.pending import Pending
from coredns_lite.responder import Responder
from coredns_lite.server.counters import Counters
from coredns_lite.server.late_replies import Complaints, LateReplies, Origin, QueryLog
from coredns_lite.server.listen import Listening
from coredns_lite.server.udp_worker import MAX_DEFERRED, Defer
from coredns_lite.tally import Tally
from coredns_lite.workers.channel import (
    MAX_TOKENS,
    Ask,
    Counted,
    Forget,
    Leave,
    Remember,
    Serve,
    give,
    hear_worker,
    say,
    suggest,
)
from coredns_lite.workers.launch import launch
from coredns_lite.workers.seat import Seat
from nodeplane.errors import SetupError

_RESTART_PAUSE_S = 0.1
_RETRY_PAUSE_S = 1.0
# A worker that has its orders to leave answers what is queued, which is a matter of milliseconds.
_LEAVE_WITHIN_S = 5.0
_LOOK_INTERVAL_S = 0.5
# Messages of one worker that are taken before the others have their turn.
_TURN = 64

RESTARTS = Counter(
    "coredns_lite_worker_restarts", "Worker processes that ended and were replaced", registry=REGISTRY
)

log = logging.getLogger(__name__)


class Way(msgspec.Struct, frozen=True, eq=False):
    """How what the workers ask is answered: the same for all, and for the program's own packet loops."""

    serve: Serve
    defer: Defer
    query_log: QueryLog | None = None
    tally: Tally | None = None


class Crew:
    """`size` worker processes."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.counters = Counters()
        self._seats = [Seat() for _ in range(size)]
        self._way: Way | None = None
        self._responder: Responder | None = None
        self._deferred = 0
        self._settled = 0
        self._is_leaving = False
        # Between what is kept here and what is said of it: an order to forget comes behind what it is about.
        self._lock = threading.Lock()
        self._poll = select.epoll()
        self._ended = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def keep_running(self, is_ready: Callable[[], None]) -> None:
        """Start the processes, and others for those that end, for as long as the task lives.

        Raises:
            SetupError: one of the first did not start.
        """
        self._loop = asyncio.get_running_loop()
        try:
            if not all(await asyncio.gather(*map(self._start, self._seats))):
                raise SetupError("expected worker processes to start; the log says why they did not")
            is_ready()
            while True:
                await self._ended.wait()
                self._ended.clear()
                for seat in self._seats:
                    if seat.process and seat.process.poll() is not None and not self._is_leaving:
                        log.warning(
                            "worker process ended, starting another exit_code=%d", seat.process.returncode
                        )
                        RESTARTS.inc()
                        await asyncio.sleep(_RESTART_PAUSE_S)
                        if not await self._start(seat):
                            # For want of memory, say: queries wait in the socket meanwhile.
                            self._ended.set()
                            await asyncio.sleep(_RETRY_PAUSE_S)
        finally:
            if self._way is None:
                # Else they go on until the server whose sockets they have is drained.
                self.close()

    def serve(self, sockets: Sequence[Listening], responder: Responder, way: Way) -> None:
        """Have each process serve a socket from now on."""
        self._responder, self._way = responder, way
        for seat, listening in zip(self._seats, sockets, strict=True):
            seat.listening = listening
            complaints = Complaints(logs_errors=way.serve.logs_errors)
            seat.late = LateReplies(listening.socket, complaints, tally=way.tally, query_log=way.query_log)
            self._employ(seat)

    @property
    def responder(self) -> Responder | None:
        """Who answers what the processes ask."""
        return self._responder

    @responder.setter
    def responder(self, responder: Responder) -> None:
        with self._lock:
            self._responder = responder
            self._order(Forget(None))

    def forget(self, about: Collection[Hashable]) -> None:
        """Have what is kept about these forgotten, once the responder has forgotten it."""
        tokens = tuple(token(what) for what in (None, *about))
        with self._lock:
            self._order(Forget(tokens if len(tokens) <= MAX_TOKENS else None))

    def run(self) -> None:
        """Answer what the processes ask, until they have left after `stop`."""
        limit, looked_at = float("inf"), time.monotonic()
        while not self._is_leaving or any(seat.channel for seat in self._seats):
            if self._is_leaving:
                limit = min(limit, time.monotonic() + _LEAVE_WITHIN_S)
            for number, _ in self._poll.poll(0.5):
                seat = next(
                    (each for each in self._seats if each.channel and each.channel.fileno() == number), None
                )
                if seat:
                    self._hear(seat)
            now = time.monotonic()
            if now > limit:
                for seat in self._seats:
                    seat.kill()
            elif now > looked_at + _LOOK_INTERVAL_S:
                # Time that this program did not have itself (it was stopped, say) is nobody's silence.
                self._end_silent(min(now - looked_at, 2 * _LOOK_INTERVAL_S))
                looked_at = now

    def _end_silent(self, passed_s: float) -> None:
        for seat in self._seats:
            if seat.is_silent(passed_s) and seat.process:
                log.warning("worker process hangs, ending it pid=%d", seat.process.pid)
                seat.kill()
                seat.note_word()

    def stop(self) -> None:
        """Have the processes answer what has come to their sockets, and end."""
        self._is_leaving = True
        with self._lock:
            self._order(Leave())

    def close(self) -> None:
        """End what is left of the processes."""
        self._is_leaving = True
        for seat in self._seats:
            seat.kill()
            if seat.process:
                seat.process.wait()
            if seat.channel:
                seat.channel.close()
                seat.channel = None
        self._poll.close()

    async def _start(self, seat: Seat) -> bool:
        """Start a process; say whether it is ready to serve."""
        launched = await launch()
        if launched is None:
            return False
        seat.note_word()
        seat.process, seat.channel = launched
        if seat.listening:
            self._employ(seat)
        return True

    def _employ(self, seat: Seat) -> None:
        """Give a process its socket."""
        if self._way and seat.channel and seat.listening:
            seat.note_word()
            give(seat.channel, self._way.serve, seat.listening.socket)
            if self._is_leaving:
                say(seat.channel, Leave())
            self._poll.register(seat.channel, select.EPOLLIN)

    def _order(self, order: Forget | Leave) -> None:
        for seat in self._seats:
            if seat.channel and not say(seat.channel, order):
                seat.kill()

    def _hear(self, seat: Seat) -> None:
        """Take what a process has said."""
        for _ in range(_TURN):
            if seat.channel is None:
                return
            try:
                message = hear_worker(seat.channel)
            except BlockingIOError:
                return
            seat.note_word()
            if isinstance(message, Ask):
                self._answer(seat, message)
            elif isinstance(message, Counted):
                self.counters = self.counters.plus(message.counters)
                PANICS.inc(message.counters.defects)
                if self._way and self._way.tally:
                    self._way.tally.add(dict(message.slices))
            elif message is None:
                self._part(seat)

    def _part(self, seat: Seat) -> None:
        """Note that a process is gone."""
        if seat.channel and self._loop and seat.process:
            # The loop may be about to say something there.
            with self._lock:
                self._poll.unregister(seat.channel)
                seat.channel.close()
                seat.channel = None
            seat.process.wait()
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._ended.set)

    def _answer(self, seat: Seat, ask: Ask) -> None:
        """Answer a query, and have the process keep the reply if it may be kept."""
        responder, packet, origin = self._responder, ask.packet, ask.origin
        if not responder or not self._way or not seat.late:
            return
        body = packet[2:]
        kept = responder.replies.find(body)
        if kept is None:
            try:
                reply = responder.respond(packet, lambda: origin.client)
            except Exception:
                # One packet must not end the service for all.
                PANICS.inc()
                log.exception("defect met, packet dropped packet=%s", packet.hex())
                return
            kind = responder.last_kind
            if isinstance(reply, Pending):
                if self._deferred - self._settled < MAX_DEFERRED:
                    self._deferred += 1
                    self._way.defer(reply, origin, partial(self._send_later, seat.late, origin))
                    return
                reply, kind = reply.refuse()
            if isinstance(reply, bytes):
                seat.late.send(origin, reply, kind)
        else:
            kind = KINDS.kind(label_of(kept).kind) if self._way.tally else MALFORMED
            seat.late.send(origin, packet[:2] + kept[:-TRAILER_BYTES], kind)
        with self._lock:
            # As it is now: a change that came meanwhile has taken it out, or is told of behind this.
            if seat.channel and responder is self._responder and (replies := responder.replies.all(body)):
                suggest(seat.channel, Remember(body, replies))

    def _send_later(self, late: LateReplies, origin: Origin, reply: bytes | None, kind: Kind) -> None:
        self._settled += 1
        late.send(origin, reply, kind)
