"""The packet loop: a blocking thread that takes a batch of queries, looks each up and sends the replies.

    recvmmsg ─► packets[query less id] ─► reply over the query ─► sendmmsg
                       │ not there
                       └► respond(query): decode, answer, remember

Decides nothing about DNS: that is the Responder's part. A change of what is answered is a new Responder,
swapped in by another thread; the loop looks at it once a batch. A worker that is told to stop first answers
what is queued.

Nine tenths of what a hit costs are the kernel's: a batch is looked up and counted by a call of C code each,
and written in a loop that does no more than that.
"""

import logging
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import msgspec

from coredns_lite.client import Client
from coredns_lite.kept import TRAILER_BYTES
from coredns_lite.kind import Kind
from coredns_lite.server.counters import Counters
from coredns_lite.server.late_replies import Complaints, LateReplies, Origin, QueryLog
from coredns_lite.server.listen import leave_group
from coredns_lite.server.mmsg import SLOT_BYTES, SLOTS, PacketBatch, PacketInfo
from coredns_lite.tally import IPV4, IPV6, Asked, Tally

# Queries of a worker that wait for their answers. Each holds a task, and what it asks for a socket, and their
# number is the clients' affair: a forward to an upstream that is down takes 5 s.
MAX_DEFERRED = 4096
# For a datagram that another CPU was about to put into the queue when the socket left its group.
_LAST_LOOK_S = 0.01
_ID_BYTES = 2

log = logging.getLogger(__name__)


class Replies(Protocol):
    """Kept replies by query, both without their ids; each has its label at its end (`coredns_lite.kept`)."""

    @property
    def packets(self) -> Mapping[bytes, bytes]:
        """Those that are always the same and were asked for of late."""
        ...

    def find(self, body: bytes) -> bytes | None:
        """Return any that is kept."""
        ...


class Awaited(Protocol):
    """A reply that comes later."""

    def refuse(self) -> tuple[bytes, Kind]:
        """Give it up before anybody waits for it; return the reply that says so, and its kind."""
        ...


class Responder(Protocol):
    """What a worker asks for replies."""

    @property
    def replies(self) -> Replies:
        """What it keeps."""
        ...

    @property
    def last_kind(self) -> Kind:
        """What the metrics say of the last query that was replied to by `respond`."""
        ...

    def respond(self, packet: bytes, find_client: Callable[[], Client]) -> Any:
        """Return the reply to any bytes, not longer than a slot; what is `Awaited` instead; None for none."""
        ...


SendLater = Callable[[bytes | None, Kind], None]

Defer = Callable[[Any, Origin, SendLater], bool]
"""Has a reply made elsewhere; what it gets sends it when it is there, and is called once in any case. False:
there is no room for one more."""


class UdpWorker:
    """Serves one socket with `run`, in a thread of its own, until `stop` is called from any other.

    `responder` may be replaced at any time; the next batch goes by the new one. `on_defect` is told of each
    error in this program.
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
        on_defect: Callable[[], None] = lambda: None,
    ) -> None:
        self.responder = responder
        self._counters = Counters()
        self._socket = sock
        self._defer = defer
        self._batch = PacketBatch(sock, packet_info)
        self._query_log = query_log
        self._tally = tally
        self._complaints = Complaints(logs_errors=logs_errors)
        self._late = LateReplies(sock, self._complaints, tally=tally, query_log=query_log)
        # Of `counters.deferred`, how many are done with; written by whoever makes the replies.
        self._settled = 0
        self._on_defect = on_defect
        self._is_stopping = False

    @property
    def counters(self) -> Counters:
        """What was done so far."""
        return msgspec.structs.replace(self._counters, unsent=self._complaints.unsent)

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
            kept, silent, asked = self._reply(lengths)
            for first, count in _runs(silent, len(lengths)):
                self._send(first, count)
            if self._tally:
                self._count(self._tally, kept, asked, received_at)
            query_log = self._query_log
            if query_log:
                self._write_query_log(query_log, lengths, silent, received_at)

    def stop(self) -> None:
        """Make `run` return once the queue is empty; what comes now goes to other sockets of the address."""
        self._is_stopping = True
        leave_group(self._socket)

    def _reply(self, lengths: Sequence[int]) -> tuple[list[bytes | None], list[int], list[tuple[int, Asked]]]:
        """Write the replies over their queries.

        Returns:
            The kept replies slot by slot, None where there was none; the slots that get no reply; and what is
            to be counted of those for which none was kept, with their slots.
        """
        memory, reply_lengths = self._batch.memory, self._batch.reply_lengths
        # Looked at after the wait: a change that came meanwhile holds for this batch.
        responder = self.responder
        replies = responder.replies
        bodies = [memory[at : at + length - _ID_BYTES] for at, length in zip(_BODIES, lengths, strict=False)]
        kept: list[bytes | None] = [*map(replies.packets.get, bodies)]
        silent: list[int] = []
        asked: list[tuple[int, Asked]] = []
        for slot, at, found in zip(_SLOT_NUMBERS, _BODIES, kept, strict=False):
            reply = found
            if reply is None:
                reply = kept[slot] = replies.find(bodies[slot])
            if reply is None:
                packet = memory[at - _ID_BYTES : at + lengths[slot] - _ID_BYTES]
                answer = self._respond(responder, slot, packet, asked)
                if answer is None:
                    silent.append(slot)
                    continue
                reply = answer + _NO_LABEL
            size_bytes = len(reply)
            # With its label, which the length leaves out.
            memory[at : at + size_bytes] = reply
            reply_lengths[slot] = size_bytes - _UNSENT_BYTES
        counters = self._counters
        counters.batches += 1
        counters.received += len(lengths)
        counters.uncached += len(asked)
        counters.dropped += len(silent)
        return kept, silent, asked

    def _respond(
        self, responder: Responder, slot: int, packet: bytes, asked: list[tuple[int, Asked]]
    ) -> bytes | None:
        """Ask for a reply, and give it without its id; None if there is none now."""
        try:
            reply = responder.respond(packet, partial(self._find_client, slot))
        except Exception:
            # One packet must not end the service for all: as CoreDNS, go on and count.
            self._counters.defects += 1
            self._on_defect()
            log.exception("defect met, packet dropped packet=%s", packet.hex())
            reply = None
        kind = responder.last_kind
        family = self._batch.family(slot)
        if reply is not None and not isinstance(reply, bytes):
            if self._has_deferred(reply, slot, family, len(packet)):
                # Counted when it is answered; here it only is none that was kept.
                asked.append((slot, Asked(kind, "", 0, 0)))
                return None
            self._counters.overloaded += 1
            reply, kind = reply.refuse()
        answer = reply if isinstance(reply, bytes) else b""
        asked.append((slot, Asked(kind, family, len(packet), len(answer))))
        return answer[_ID_BYTES:] or None

    def _has_deferred(self, awaited: Awaited, slot: int, family: str, query_bytes: int) -> bool:
        """Have a reply made elsewhere, if there is room for one more."""
        counters = self._counters
        if counters.deferred - self._settled >= MAX_DEFERRED:
            return False
        origin = Origin(self._batch.return_path(slot), family, query_bytes, time.perf_counter())
        counters.deferred += 1
        if self._defer(awaited, origin, partial(self._send_later, origin)):
            return True
        counters.deferred -= 1
        return False

    def _send_later(self, origin: Origin, reply: bytes | None, kind: Kind) -> None:
        self._settled += 1
        self._late.send(origin, reply, kind)

    def _count(
        self,
        tally: Tally,
        kept: list[bytes | None],
        asked: Sequence[tuple[int, Asked]],
        received_at: float,
    ) -> None:
        duration_s = time.perf_counter() - received_at
        if asked:
            tally.count([one for _, one in asked if one.reply_bytes], duration_s)
        family = self._batch.common_family(len(kept))
        hits: dict[str, list[bytes]]
        if family:
            hits = {family: [reply for reply in kept if reply]}
        else:
            hits = {IPV4: [], IPV6: []}
            for slot, reply in enumerate(kept):
                if reply is not None:
                    hits[self._batch.family(slot)].append(reply)
        tally.count_hits(hits, duration_s)

    def _find_client(self, slot: int) -> Client:
        address, port = self._batch.peer(slot)
        return Client(address, port, "udp")

    def _send(self, first: int, count: int) -> None:
        refused = self._batch.send(first, count)
        self._counters.sent += count - len(refused)
        if refused:
            self._complaints.complain(len(refused), refused[-1])

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
_BODIES = range(_ID_BYTES, SLOTS * SLOT_BYTES, SLOT_BYTES)
_UNSENT_BYTES = TRAILER_BYTES - _ID_BYTES
_NO_LABEL = bytes(TRAILER_BYTES)


def _runs(silent: Sequence[int], count: int) -> Iterator[tuple[int, int]]:
    """Yield first slot and number of slots of each stretch without silent ones."""
    first = 0
    for slot in (*silent, count):
        if slot > first:
            yield first, slot - first
        first = slot + 1
