"""One listener's sockets: UDP with its packet loop and TCP, or TLS; and how they end without loss."""

import asyncio
import logging
import secrets
from collections.abc import Collection, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from coredns_lite.background import Background
from coredns_lite.chain import Chain
from coredns_lite.config import Listener
from coredns_lite.dns_metrics import QUERY_METRICS
from coredns_lite.kind import MALFORMED
from coredns_lite.metrics import PANICS
from coredns_lite.pending import Pending
from coredns_lite.query_log import build_query_log
from coredns_lite.responder import Responder
from coredns_lite.server.certificate import Certificate
from coredns_lite.server.late_replies import Origin
from coredns_lite.server.listen import Listening, open_tcp, open_udp
from coredns_lite.server.streams import StreamServer
from coredns_lite.server.udp_worker import SendLater, UdpWorker
from coredns_lite.tally import Tally
from coredns_lite.wire.cookie import SECRET_BYTES, CookieJar
from coredns_lite.zones import ZoneTable
from nodeplane.errors import ConfigError

if TYPE_CHECKING:
    from coredns_lite.workers.crew import Crew

log = logging.getLogger(__name__)

# Answers that come later are waited for so long at the end, which is as long as a forward may take.
_MAX_DEFERRED_S = 5.0

# Of this process, so that a reload does not make clients' cookies bad.
_SECRET = secrets.token_bytes(SECRET_BYTES)


class Server:
    """Answers what comes to one address and port, from the given chains.

    Its sockets are open from the start; `run` serves them, with `crew` the UDP ones by its processes.
    """

    def __init__(
        self,
        listener: Listener,
        chains: ZoneTable[Chain],
        loop: asyncio.AbstractEventLoop,
        crew: "Crew | None" = None,
    ) -> None:
        self.name = f"{listener.address or '*'}:{listener.port}"
        self._place = _place(listener)
        self._chains = chains
        self._is_encrypted = listener.scheme == "tls"
        counted = [site.zone for site in listener.sites if "prometheus" in site.plugins]
        self._is_counted = bool(counted)
        given = [config.secret for site in listener.sites for config in site.plugins.get("cookies", ())]
        self._cookies = CookieJar(next((secret for secret in given if secret), _SECRET))
        log_rules = {site.zone: site.plugins.get("log", ()) for site in listener.sites}
        query_log = build_query_log(log_rules)
        self._listening: list[Listening] = []
        self._crew = crew
        self._worker: UdpWorker | Crew | None = None
        self._tallies: list[Tally] = []
        self._ended: asyncio.Future[None] | None = None
        self._is_closed = False
        self._responders: list[Responder] = []
        certificate = _read_certificate(listener) if self._is_encrypted else None
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="udp")
        self._deferred = Deferred(loop)
        try:
            if not certificate:
                for _ in range(crew.size if crew else 1):
                    self._listening.append(open_udp(listener.address, listener.port))
            self._streams = StreamServer(
                open_tcp(listener.address, listener.port),
                self._make_responder(is_stream=True),
                loop,
                tls=certificate.context if certificate else None,
                query_log=query_log,
                tally=self._make_tally(listener, "tcp", counted),
            )
        except BaseException:
            for listening in self._listening:
                listening.socket.close()
            self._retire()
            raise
        if self._listening:
            packet_info = self._listening[0].packet_info
            logs_errors = any("errors" in site.plugins for site in listener.sites)
            tally = self._make_tally(listener, "udp", counted)
            if crew:
                # Late: who has no worker processes need not load what starts them.
                from coredns_lite.workers.channel import Serve
                from coredns_lite.workers.crew import Way

                serve = Serve(packet_info, log_rules, logs_errors, self._is_counted)
                way = Way(serve, self._deferred.defer, query_log, tally)
                crew.serve(self._listening, self._make_responder(), way)
                self._worker = crew
            else:
                self._worker = UdpWorker(
                    self._listening[0].socket,
                    self._make_responder(),
                    self._deferred.defer,
                    packet_info=packet_info,
                    query_log=query_log,
                    logs_errors=logs_errors,
                    tally=tally,
                    on_defect=PANICS.inc,
                )

    def publish(self, about: Collection[Hashable] | None = None) -> None:
        """Answer from the chains as they are now.

        Of what was cached before nothing counts any more, or only what is not `about` any of these.
        """
        if about is not None:
            for responder in self._responders:
                responder.forget(about)
            if self._crew:
                self._crew.forget(about)
            return
        self._responders = []
        if self._worker:
            self._worker.responder = self._make_responder()
        self._streams.responder = self._make_responder(is_stream=True)

    async def run(self) -> None:
        """Serve for as long as the task lives, then answer what has come, and close the sockets.

        Raises:
            KernelError: a socket failed for good.
        """
        accepting = asyncio.ensure_future(self._streams.run())
        try:
            if self._worker:
                loop = asyncio.get_running_loop()
                self._ended = loop.run_in_executor(self._threads, self._worker.run)
                await asyncio.wait({self._ended, accepting}, return_when=asyncio.FIRST_COMPLETED)
                if not self._ended.done():
                    await accepting
                await self._ended
                # Drained: the streams may take longer.
                await accepting
            else:
                await accepting
        finally:
            accepting.cancel()
            if self._worker and self._ended:
                self._worker.stop()
                # The socket is the thread's until it has left its loop.
                await asyncio.wait({self._ended})
            await self._answer_pending()
            self.close()

    def take_over(self, predecessor: "Server") -> None:
        """Go on with the connections of a server of the same address, if they would be made alike now."""
        if self._place == predecessor._place:
            predecessor._streams.hand_over(self._streams)

    async def drain(self) -> None:
        """Get nothing new, which goes to other sockets of the same address, and answer what is there."""
        if self._worker and self._ended and not self._ended.done():
            self._worker.stop()
            await asyncio.wait({self._ended})
        await self._answer_pending()

    async def _answer_pending(self) -> None:
        """Wait for the answers that were to come later, over UDP and over streams."""
        await asyncio.gather(self._deferred.drain(_MAX_DEFERRED_S), self._streams.drain())

    def close(self) -> None:
        """Close the sockets and log what was done, if anything; nothing reads from them any more."""
        if self._is_closed:
            return
        self._is_closed = True
        self._streams.close()
        self._deferred.close()
        self._threads.shutdown(wait=False)
        if self._worker:
            done, lost = self._worker.counters, sum(listening.lost() for listening in self._listening)
            if done.received or lost or self._streams.received:
                log.info(
                    "served listener=%s received=%d sent=%d uncached=%d deferred=%d overloaded=%d "
                    "dropped=%d unsent=%d lost=%d streamed=%d defects=%d",
                    self.name, done.received, done.sent, done.uncached, done.deferred, done.overloaded,
                    done.dropped, done.unsent, lost, self._streams.received, done.defects,
                )  # fmt: skip
        if self._crew:
            self._crew.close()
        for listening in self._listening:
            listening.socket.close()
        self._retire()

    def _make_responder(self, *, is_stream: bool = False) -> Responder:
        responder = Responder(
            self._chains,
            cookies=self._cookies,
            is_stream=is_stream,
            is_encrypted=self._is_encrypted,
            is_counted=self._is_counted,
        )
        self._responders.append(responder)
        return responder

    def _make_tally(self, listener: Listener, protocol: str, zones: list[str]) -> Tally | None:
        if not zones:
            return None
        tally = Tally()
        QUERY_METRICS.add(tally, listener.name, protocol, zones)
        self._tallies.append(tally)
        return tally

    def _retire(self) -> None:
        for tally in self._tallies:
            QUERY_METRICS.retire(tally)
        self._tallies.clear()


def _place(listener: Listener) -> tuple[object, ...]:
    """Say what connections have in common: where they come to, and whom TLS lets in."""
    files = tuple(files for site in listener.sites for files in site.plugins.get("tls", ()))
    return listener.scheme, listener.address, listener.port, files


def _read_certificate(listener: Listener) -> Certificate:
    for site in listener.sites:
        for files in site.plugins.get("tls", ()):
            return Certificate(files)
    raise ConfigError(listener.name, "", "expected the plugin tls CERTIFICATE KEY in its server block")


class Deferred:
    """Has replies over UDP made by tasks of a loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._background = Background()

    def defer(self, pending: Pending, _origin: Origin, send: SendLater) -> bool:
        """Have a reply made and given to `send`, which is called once; called from any thread."""
        self._loop.call_soon_threadsafe(self._start, pending, send)
        return True

    async def drain(self, within_s: float) -> None:
        """Wait for the replies that are to be made, but no longer than that; no more are deferred."""
        await self._background.drain(within_s)

    def close(self) -> None:
        """Give up what is not answered."""
        self._background.close()

    def _start(self, pending: Pending, send: SendLater) -> None:
        self._background.start(self._reply_later(pending, send))

    async def _reply_later(self, pending: Pending, send: SendLater) -> None:
        reply, kind = None, MALFORMED
        try:
            reply, kind = await pending.answer()
        except Exception:
            # One query must not end the service for all; its client asks again.
            PANICS.inc()
            log.exception("defect met, query dropped question=%s", pending.query.question.hex())
        send(reply, kind)
