"""The packet loop: a blocking thread that takes a batch of queries, looks each up and sends the replies.

    recvmmsg ─► packets[query less id] ─► reply over the query ─► sendmmsg
                       │ not there
                       └► respond(query): decode, answer, remember

Decides nothing about DNS: that is the Responder's part. A change of what is answered is a new Responder,
swapped in by another thread; the loop looks at it once a batch. A worker that is told to stop first answers
what is queued.
"""

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from ipaddress import ip_address
from typing import Protocol

import msgspec

from coredns_lite.metrics import PANICS
from coredns_lite.plugin import Client
from coredns_lite.responder import Kind, Pending, Reply
from coredns_lite.server.listen import leave_group
from coredns_lite.server.mmsg import SLOT_BYTES, SLOTS, PacketBatch, PacketInfo, ReturnPath
from coredns_lite.tally import IPV4, IPV6, Asked, Kinds, Tally

# Queries of a worker that wait for their answers. Each holds a task, and what it asks for a socket, and their
# number is the clients' affair: a forward to an upstream that is down takes 5 s.
MAX_DEFERRED = 4096
# At most one line about replies that could not be sent in this time; the counters miss none.
_COMPLAINT_INTERVAL_S = 1.0
# For a datagram that another CPU was about to put into the queue when the socket left its group.
_LAST_LOOK_S = 0.01

log = logging.getLogger(__name__)


class Responder(Protocol):
    """What a worker asks for replies."""

    @property
    def packets(self) -> Mapping[bytes, bytes]:
        """Replies by query, both without the two bytes of their id."""
        ...

    @property
    def turning(self) -> Mapping[bytes, Callable[[], bytes]]:
        """What gives the next of several replies, by query; all without their id."""
        ...

    @property
    def kinds(self) -> Kinds:
        """What the metrics say of the queries in both."""
        ...

    @property
    def last_kind(self) -> Kind:
        """What the metrics say of the last query that was replied to by `respond`."""
        ...

    def respond(self, packet: bytes, find_client: Callable[[], Client]) -> Reply | None:
        """Return the reply to any bytes, not longer than a slot; what becomes one later; None for none."""
        ...


Defer = Callable[[Pending, Callable[[bytes | None, Kind], None]], None]
"""Has a reply made on the asyncio loop; what it gets sends it when it is there, and is called once in any
case."""

QueryLog = Callable[[Client, int, bytes, float], None]
"""Told of each reply: who asked, the query's size in bytes, the reply, how long it took in seconds."""


class Counters(msgspec.Struct):
    """What a worker has done; written by its thread alone, so that counting needs no lock."""

    batches: int = 0
    received: int = 0
    sent: int = 0
    uncached: int = 0
    """Queries that the packet cache did not have."""
    dropped: int = 0
    """Packets that must not be replied to."""
    deferred: int = 0
    """Queries that are answered later, on the asyncio loop; their replies are not among `sent`."""
    overloaded: int = 0
    """Queries that were refused (SERVFAIL) because too many waited for their answers; among `sent`."""
    unsent: int = 0
    """Replies that the kernel refused."""
    defects: int = 0
    """Packets that met an error in this program."""


class UdpWorker:
    """Serves one socket with `run`, in a thread of its own, until `stop` is called from any other.

    `responder`, `query_log` and `logs_errors` may be replaced at any time; the next batch goes by the new
    ones.
    """

    def __init__(
        self,
        sock: socket.socket,
        responder: Responder,
        defer: Defer,
        *,
        packet_info: PacketInfo | None = None,
        query_log: QueryLog | None = None,
        logs_errors: bool = False,
        tally: Tally | None = None,
    ) -> None:
        self.responder = responder
        self.counters = Counters()
        self._socket = sock
        self._defer = defer
        self._batch = PacketBatch(sock, packet_info)
        self.query_log = query_log
        self.logs_errors = logs_errors
        self._tally = tally
        # Of `counters.deferred`, how many are done with; written on the asyncio loop alone.
        self._settled = 0
        self._complained_at = float("-inf")
        self._is_stopping = False

    def run(self) -> None:
        """Serve until stopped, and then what has come by then.

        Raises:
            KernelError: the socket failed for good.
        """
        looked_again = False
        while True:
            lengths = self._batch.receive()
            if self._is_stopping and not any(lengths):
                # Shut down and empty.
                if looked_again:
                    return
                looked_again = True
                time.sleep(_LAST_LOOK_S)
                continue
            received_at = time.perf_counter()
            silent, bodies, asked, kinds = self._reply(lengths)
            for first, count in _runs(silent, len(lengths)):
                self._send(first, count)
            if self._tally:
                self._count(self._tally, bodies, asked, kinds, received_at)
            query_log = self.query_log
            if query_log:
                self._write_query_log(query_log, lengths, silent, received_at)

    def stop(self) -> None:
        """Make `run` return once the queue is empty; what comes now goes to other sockets of the address."""
        self._is_stopping = True
        leave_group(self._socket)

    def _reply(self, lengths: Sequence[int]) -> tuple[list[int], list[bytes], list[tuple[int, Asked]], Kinds]:
        """Write the replies over their queries.

        Returns:
            The slots that get no reply; the queries (without ids) slot by slot; and what is to be counted of
            those that the cache did not have, with their slots; and what the cache's are.
        """
        memory, reply_lengths = self._batch.memory, self._batch.reply_lengths
        # Looked at after the wait: a change that came meanwhile holds for this batch.
        responder = self.responder
        find, find_turning = responder.packets.get, responder.turning.get
        bodies = [
            memory[body_at : body_at + length - 2] for body_at, length in zip(_BODIES, lengths, strict=False)
        ]
        silent: list[int] = []
        asked: list[tuple[int, Asked]] = []
        uncached = 0
        for slot, body_at, body in zip(_SLOT_NUMBERS, _BODIES, bodies, strict=False):
            reply = find(body)
            if reply is None:
                take_turn = find_turning(body)
                if take_turn:
                    reply = take_turn()
                else:
                    uncached += 1
                    reply = self._respond(
                        responder, slot, memory[body_at - 2 : body_at + lengths[slot] - 2], asked
                    )
                    if reply is None:
                        silent.append(slot)
                        continue
            size_bytes = len(reply)
            memory[body_at : body_at + size_bytes] = reply
            reply_lengths[slot] = size_bytes + 2
        counters = self.counters
        counters.batches += 1
        counters.received += len(lengths)
        counters.uncached += uncached
        counters.dropped += len(silent)
        return silent, bodies, asked, responder.kinds

    def _respond(
        self, responder: Responder, slot: int, packet: bytes, asked: list[tuple[int, Asked]]
    ) -> bytes | None:
        """Ask for a reply, and give it without its id; None if there is none now."""
        try:
            reply = responder.respond(packet, partial(self._find_client, slot))
        except Exception:
            # One packet must not end the service for all: as CoreDNS, go on and count.
            self.counters.defects += 1
            PANICS.inc()
            log.exception("defect met, packet dropped packet=%s", packet.hex())
            reply = None
        kind = responder.last_kind
        if isinstance(reply, Pending) and self.counters.deferred - self._settled >= MAX_DEFERRED:
            self.counters.overloaded += 1
            reply, kind = reply.refuse()
        if isinstance(reply, Pending):
            self.counters.deferred += 1
            # Counted when it is answered; here it only is none of the cache's.
            asked.append((slot, Asked(kind, "", 0, 0)))
            later = partial(
                self._send_later,
                self._batch.return_path(slot),
                self._batch.family(slot),
                len(packet),
                time.perf_counter(),
            )
            self._defer(reply, later)
            return None
        answer = reply if isinstance(reply, bytes) else b""
        asked.append((slot, Asked(kind, self._batch.family(slot), len(packet), len(answer))))
        return answer[2:] or None

    def _count(
        self,
        tally: Tally,
        bodies: list[bytes],
        asked: Sequence[tuple[int, Asked]],
        kinds: Kinds,
        received_at: float,
    ) -> None:
        duration_s = time.perf_counter() - received_at
        if asked:
            slots = {slot for slot, _ in asked}
            tally.count([one for _, one in asked if one.reply_bytes], duration_s)
        else:
            slots = set()
        family = self._batch.common_family(len(bodies))
        hits: dict[str, list[bytes]]
        if family and not slots:
            hits = {family: bodies}
        else:
            hits = {IPV4: [], IPV6: []}
            for slot, body in enumerate(bodies):
                if slot not in slots:
                    hits[self._batch.family(slot)].append(body)
        tally.count_hits(hits, kinds, duration_s)

    def _find_client(self, slot: int) -> Client:
        address, port = self._batch.peer(slot)
        return Client(address, port, "udp")

    def _send_later(  # noqa: PLR0917  # the first four are bound when the query comes
        self,
        path: ReturnPath,
        family: str,
        query_bytes: int,
        received_at: float,
        reply: bytes | None,
        kind: Kind,
    ) -> None:
        """Send a reply whose query's slot is another's by now; called on the asyncio loop."""
        self._settled += 1
        if reply is None:
            return
        try:
            self._socket.sendmsg([reply], path.control, 0, path.address)
        except OSError as exc:
            self._complain(1, exc.errno or 0)
        duration_s = time.perf_counter() - received_at
        if self._tally:
            self._tally.count([Asked(kind, family, query_bytes, len(reply))], duration_s)
        query_log = self.query_log
        if query_log:
            address, port = path.address[:2]
            client = ip_address(address)
            mapped = client.ipv4_mapped if client.version == 6 else None
            query_log(Client(mapped or client, port, "udp"), query_bytes, reply, duration_s)

    def _send(self, first: int, count: int) -> None:
        refused = self._batch.send(first, count)
        self.counters.sent += count - len(refused)
        if refused:
            self._complain(len(refused), refused[-1])

    def _complain(self, count: int, error: int) -> None:
        self.counters.unsent += count
        now = time.monotonic()
        if self.logs_errors and now - self._complained_at >= _COMPLAINT_INTERVAL_S:
            self._complained_at = now
            log.error("reply not sent error=%r unsent_total=%d", os.strerror(error), self.counters.unsent)

    def _write_query_log(
        self, write: QueryLog, lengths: Sequence[int], silent: Sequence[int], received_at: float
    ) -> None:
        duration_s = time.perf_counter() - received_at
        for slot in sorted(set(range(len(lengths))).difference(silent)):
            start = slot * SLOT_BYTES
            reply = self._batch.memory[start : start + self._batch.reply_lengths[slot]]
            write(self._find_client(slot), lengths[slot], reply, duration_s)


_SLOT_NUMBERS = range(SLOTS)
# Where each slot's packet goes on behind its id.
_BODIES = range(2, SLOTS * SLOT_BYTES, SLOT_BYTES)


def _runs(silent: Sequence[int], count: int) -> Iterator[tuple[int, int]]:
    """Yield first slot and number of slots of each stretch without silent ones."""
    first = 0
    for slot in (*silent, count):
        if slot > first:
            yield first, slot - first
        first = slot + 1
