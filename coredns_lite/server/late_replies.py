"""Replies that are sent when their query's slot is another's by now: counted and logged as all others."""

import logging
import os
import socket
import time
from collections.abc import Callable
from ipaddress import ip_address

import msgspec

from coredns_lite.client import Client
from coredns_lite.kind import Kind
from coredns_lite.server.mmsg import ReturnPath
from coredns_lite.tally import Asked, Tally

# At most one line about replies that could not be sent in this time; the counters miss none.
_COMPLAINT_INTERVAL_S = 1.0

QueryLog = Callable[[Client, int, bytes, float], None]
"""Told of each reply: who asked, the query's size in bytes, the reply, how long it took in seconds."""

log = logging.getLogger(__name__)


class Origin(msgspec.Struct, frozen=True):
    """Where a query came from, and when: on the clock of `time.perf_counter`, in seconds."""

    path: ReturnPath
    family: str
    query_bytes: int
    received_at: float

    @property
    def client(self) -> Client:
        """Who asks."""
        address, port, *_ = self.path.address
        found = ip_address(address)
        mapped = found.ipv4_mapped if found.version == 6 else None
        return Client(mapped or found, int(port), "udp")


class Complaints:
    """Counts the replies that the kernel refused, and says so now and then."""

    def __init__(self, *, logs_errors: bool) -> None:
        self.unsent = 0
        self._logs_errors = logs_errors
        self._complained_at = float("-inf")

    def complain(self, count: int, error: int) -> None:
        """Note that replies could not be sent, and the errno of one."""
        self.unsent += count
        now = time.monotonic()
        if self._logs_errors and now - self._complained_at >= _COMPLAINT_INTERVAL_S:
            self._complained_at = now
            log.error("reply not sent error=%r unsent_total=%d", os.strerror(error), self.unsent)


class LateReplies:
    """Sends replies from a socket."""

    def __init__(
        self,
        sock: socket.socket,
        complaints: Complaints,
        *,
        tally: Tally | None = None,
        query_log: QueryLog | None = None,
    ) -> None:
        self._socket = sock
        self._complaints = complaints
        self._tally = tally
        self._query_log = query_log

    def send(self, origin: Origin, reply: bytes | None, kind: Kind) -> bool:
        """Send a reply, if there is one; say whether there was."""
        if reply is None:
            return False
        path = origin.path
        try:
            self._socket.sendmsg([reply], path.control, 0, path.address)
        except OSError as exc:
            self._complaints.complain(1, exc.errno or 0)
        duration_s = time.perf_counter() - origin.received_at
        if self._tally:
            self._tally.count([Asked(kind, origin.family, origin.query_bytes, len(reply))], duration_s)
        if self._query_log:
            self._query_log(origin.client, origin.query_bytes, reply, duration_s)
        return True
