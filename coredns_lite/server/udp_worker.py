"""The packet loop: a blocking thread that takes a batch of queries, looks each up and sends the replies.

    recvmmsg ─► packets[query less id] ─► reply over the query ─► sendmmsg
                       │ not there
                       └► respond(query): decode, answer, remember

Decides nothing about DNS: that is the Responder's part. A change of what is answered is a new Responder,
swapped in by another thread; the loop looks at it once a batch.
"""

import errno
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import msgspec

from coredns_lite.server.mmsg import SLOT_BYTES, SLOTS, PacketBatch, PacketInfo

# At most one line about replies that could not be sent in this time; the counters miss none.
_COMPLAINT_INTERVAL_S = 1.0

log = logging.getLogger(__name__)


class Responder(Protocol):
    """What a worker asks for replies."""

    @property
    def packets(self) -> Mapping[bytes, bytes]:
        """Replies by query, both without the two bytes of their id."""
        ...

    def respond(self, packet: bytes) -> bytes | None:
        """Return the reply to any bytes, not longer than a slot, or None if there must be none."""
        ...


QueryLog = Callable[[str, int, bytes, float], None]
"""Told of each reply: the peer, the query's size in bytes, the reply, how long it took in seconds."""


class Counters(msgspec.Struct):
    """What a worker has done; written by its thread alone, so that counting needs no lock."""

    batches: int = 0
    received: int = 0
    sent: int = 0
    uncached: int = 0
    """Queries that the packet cache did not have."""
    dropped: int = 0
    """Packets that must not be replied to."""
    unsent: int = 0
    """Replies that the kernel refused."""
    defects: int = 0
    """Packets that met an error in this program."""


class UdpWorker:
    """Serves one socket with `run`, in a thread of its own, until `stop` is called from any other.

    `responder` may be replaced at any time; the next batch is answered by the new one.
    """

    def __init__(
        self,
        sock: socket.socket,
        responder: Responder,
        *,
        packet_info: PacketInfo | None = None,
        query_log: QueryLog | None = None,
        logs_errors: bool = False,
    ) -> None:
        self.responder = responder
        self.counters = Counters()
        self._socket = sock
        self._batch = PacketBatch(sock, packet_info)
        self._query_log = query_log
        self._logs_errors = logs_errors
        self._complained_at = float("-inf")
        self._is_stopping = False

    def run(self) -> None:
        """Serve until stopped.

        Raises:
            KernelError: the socket failed for good.
        """
        while not self._is_stopping:
            lengths = self._batch.receive()
            if self._is_stopping and not any(lengths):
                return
            received_at = time.perf_counter()
            silent = self._reply(lengths)
            for first, count in _runs(silent, len(lengths)):
                self._send(first, count)
            if self._query_log:
                self._write_query_log(self._query_log, lengths, silent, received_at)

    def stop(self) -> None:
        """Make `run` return, after the batch that it is at."""
        self._is_stopping = True
        try:
            self._socket.shutdown(socket.SHUT_RD)
        except OSError as exc:
            # Said of any unconnected socket, but its waiting readers are woken all the same (Linux
            # net/ipv4/af_inet.c, inet_shutdown: "Hack to wake up other listeners").
            if exc.errno != errno.ENOTCONN:
                raise

    def _reply(self, lengths: Sequence[int]) -> list[int]:
        """Write the replies over their queries; return the slots that get none."""
        memory, reply_lengths = self._batch.memory, self._batch.reply_lengths
        # Looked at after the wait: a change that came meanwhile holds for this batch.
        responder = self.responder
        find = responder.packets.get
        silent = []
        uncached = 0
        for slot, body_at, length in zip(_SLOT_NUMBERS, _BODIES, lengths, strict=False):
            reply = find(memory[body_at : body_at + length - 2])
            if reply is None:
                uncached += 1
                reply = self._respond(responder, memory[body_at - 2 : body_at + length - 2])
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
        return silent

    def _respond(self, responder: Responder, packet: bytes) -> bytes | None:
        """Ask for a reply, and give it without its id."""
        try:
            reply = responder.respond(packet)
        except Exception:
            # One packet must not end the service for all: as CoreDNS, go on and count (coredns_panics_total).
            self.counters.defects += 1
            log.exception("defect met, packet dropped packet=%s", packet.hex())
            return None
        return None if reply is None else reply[2:]

    def _send(self, first: int, count: int) -> None:
        refused = self._batch.send(first, count)
        self.counters.sent += count - len(refused)
        if not refused:
            return
        self.counters.unsent += len(refused)
        now = time.monotonic()
        if self._logs_errors and now - self._complained_at >= _COMPLAINT_INTERVAL_S:
            self._complained_at = now
            log.error(
                "reply not sent error=%r unsent_total=%d", os.strerror(refused[-1]), self.counters.unsent
            )

    def _write_query_log(
        self, write: QueryLog, lengths: Sequence[int], silent: Sequence[int], received_at: float
    ) -> None:
        duration_s = time.perf_counter() - received_at
        for slot in sorted(set(range(len(lengths))).difference(silent)):
            start = slot * SLOT_BYTES
            reply = self._batch.memory[start : start + self._batch.reply_lengths[slot]]
            write(self._batch.peer(slot), lengths[slot], reply, duration_s)


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
