"""An upstream: how it is asked, which connections to it are kept, whether it is thought to be well.

An upstream that fails a query is probed until it answers again; each failed probe counts against it.
"""

import asyncio
import logging
import ssl
import time
from collections import deque

import msgspec
from prometheus_client import Histogram

from coredns_lite.background import Background
from coredns_lite.plugins.forward.exchange import Stream, ask_datagram, connect, render_query
from coredns_lite.plugins.forward.metrics import (
    CONNECTION_HITS,
    CONNECTION_MISSES,
    PROBE_FAILURES,
    PROXY,
    REQUEST_SECONDS,
)
from coredns_lite.plugins.forward.targets import Target
from coredns_lite.wire.query import Query
from coredns_lite.wire.reply import Rcode
from coredns_lite.wire.response import Response, ResponseFormatError, decode_response

log = logging.getLogger(__name__)


class UpstreamError(Exception):
    """An upstream gave no reply that could be used; `__str__` says which, how and why."""


class MalformedReplyError(UpstreamError):
    """An upstream is there, but its reply makes no sense."""


class Timing(msgspec.Struct, frozen=True):
    """How long an upstream may take."""

    connect_s: float = 2.0
    read_s: float = 2.0
    probe_read_s: float = 1.0
    overall_s: float = 5.0


class Probe(msgspec.Struct, frozen=True):
    """What an upstream that failed is asked, and how often."""

    query: Query
    interval_s: float = 0.5


class Upstream:
    """One upstream; used on the asyncio loop alone."""

    def __init__(
        self, target: Target, context: ssl.SSLContext | None, probe: Probe, expire_s: float, timing: Timing
    ) -> None:
        self.target = target
        self.failed_probes = 0
        self._name = str(target)
        self._context = context if target.is_tls else None
        self._protocol = "tcp-tls" if target.is_tls else "tcp"
        self._probe = probe
        self._expire_s = expire_s
        self._timing = timing
        self._idle: deque[tuple[float, Stream]] = deque()
        self._background = Background()
        self._seconds_by_rcode: dict[Rcode, Histogram] = {}
        self._is_probed = False
        self._is_closed = False

    async def ask(self, query: Query, *, is_stream: bool) -> Response:
        """Ask a question; a truncated reply is a reply.

        Raises:
            UpstreamError: no reply came in time, or one that makes no sense.
        """
        started = time.perf_counter()
        response = await self._exchange(query, self._timing.read_s, is_stream=is_stream)
        duration_s = time.perf_counter() - started
        self._seconds(response.rcode).observe(duration_s)
        return response

    def _seconds(self, rcode: Rcode) -> Histogram:
        """Return what counts replies with a code; looking it up by its labels takes as long as much else."""
        if rcode not in self._seconds_by_rcode:
            self._seconds_by_rcode[rcode] = REQUEST_SECONDS.labels(PROXY, self._name, rcode.name)
        return self._seconds_by_rcode[rcode]

    def suspect(self) -> None:
        """Probe it, if that isn't being done, until it answers."""
        if not self._is_probed and not self._is_closed:
            self._is_probed = True
            self._background.start(self._probe_until_well())

    def close(self) -> None:
        """End what goes on; queries under way keep their connections."""
        self._is_closed = True
        self._background.close()
        while self._idle:
            self._idle.pop()[1].close()

    async def _probe_until_well(self) -> None:
        try:
            while True:
                try:
                    await self._exchange(self._probe.query, self._timing.probe_read_s, is_stream=False)
                except MalformedReplyError:
                    break
                except UpstreamError as exc:
                    self.failed_probes += 1
                    PROBE_FAILURES.labels(PROXY, self._name).inc()
                    if self.failed_probes == 1:
                        log.warning("upstream fails its health check to=%s error=%r", self._name, str(exc))
                    await asyncio.sleep(self._probe.interval_s)
                else:
                    break
            if self.failed_probes:
                log.info("upstream is well again to=%s failed_checks=%d", self._name, self.failed_probes)
            self.failed_probes = 0
        finally:
            self._is_probed = False

    async def _exchange(self, query: Query, read_s: float, *, is_stream: bool) -> Response:
        is_stream = is_stream or self.target.is_tls
        protocol = self._protocol if is_stream else "udp"
        packet = render_query(query)
        try:
            if is_stream:
                return decode_response(await self._ask_stream(packet, query.question, read_s))
            async with asyncio.timeout(read_s):
                return decode_response(await ask_datagram(self.target, packet, query.question))
        except TimeoutError as exc:
            raise UpstreamError(f"{protocol} {self._name}: no answer in time") from exc
        except EOFError as exc:
            raise UpstreamError(f"{protocol} {self._name}: connection closed") from exc
        except OSError as exc:
            raise UpstreamError(f"{protocol} {self._name}: {exc.strerror or exc}") from exc
        except ResponseFormatError as exc:
            raise MalformedReplyError(f"{protocol} {self._name}: malformed answer: {exc}") from exc

    async def _ask_stream(self, packet: bytes, question: bytes, read_s: float) -> bytes:
        while stream := self._take_idle():
            CONNECTION_HITS.labels(PROXY, self._name, self._protocol).inc()
            try:
                return await self._ask_over(stream, packet, question, read_s)
            except (ConnectionError, EOFError):
                # The upstream has closed it since: no sign of ill health, the next may be better.
                continue
        CONNECTION_MISSES.labels(PROXY, self._name, self._protocol).inc()
        async with asyncio.timeout(self._timing.connect_s):
            server_name = self.target.server_name or self.target.host
            stream = await connect(self.target, self._context, server_name)
        return await self._ask_over(stream, packet, question, read_s)

    async def _ask_over(self, stream: Stream, packet: bytes, question: bytes, read_s: float) -> bytes:
        """Ask over a connection, and keep it if it has served."""
        is_kept = False
        try:
            async with asyncio.timeout(read_s):
                reply = await stream.ask(packet, question)
            is_kept = not self._is_closed
        finally:
            if is_kept:
                loop = asyncio.get_running_loop()
                self._idle.append((loop.time() + self._expire_s, stream))
                loop.call_later(self._expire_s, self._close_expired)
            else:
                stream.close()
        return reply

    def _take_idle(self) -> Stream | None:
        """Take the connection that was used last, if it is still good."""
        while self._idle:
            _, stream = self._idle.pop()
            if stream.is_open:
                return stream
            stream.close()
        return None

    def _close_expired(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._idle and self._idle[0][0] <= now:
            self._idle.popleft()[1].close()
