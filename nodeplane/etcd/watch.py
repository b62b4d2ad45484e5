"""Watch a range of keys, over whatever happens to connections and members.

It says that something has changed, and on request what. After a break it goes on from the last revision that
it has seen, so that nothing is missed in between.
"""

import http.client
import random
import time
from threading import Lock

import msgspec

from nodeplane.etcd.client import EtcdClient
from nodeplane.etcd.connection import Connection, LostError, NotSentError
from nodeplane.etcd.errors import PASSING, UNAUTHENTICATED, EtcdError, EtcdRefusedError, EtcdUnavailableError
from nodeplane.etcd.messages import (
    Event,
    StreamAnswer,
    WatchAnswer,
    WatchCreate,
    WatchRequest,
    decode,
    encode,
)

# A member that has lost its leader ends the stream, instead of keeping silent about what happens elsewhere.
# The gateway passes headers of that name on as gRPC metadata (api/v3rpc: MetadataRequireLeaderKey).
_REQUIRE_LEADER = {"Grpc-Metadata-hasleader": "true"}
_PATIENCE_S = 60.0
_TRY_S = 1.0
_LONGEST_PAUSE_S = 1.0


class EtcdWatch:
    """A watch; one thread at a time waits, with a client of its own.

    Args:
        client: The watch's own.
        key: The first key.
        range_end: The first key behind the range.
        start_revision: The first revision of interest; 0 is from now on.
        keeps_events: Whether `take_events` will be called after each wait.

    Raises:
        EtcdError: it can't be watched.
    """

    def __init__(
        self,
        client: EtcdClient,
        key: bytes,
        range_end: bytes,
        *,
        start_revision: int = 0,
        keeps_events: bool = False,
    ) -> None:
        self._client = client
        # The patience is the watch's, which may be closed meanwhile.
        client.patience_s = _TRY_S
        self._key = key
        self._range_end = range_end
        self._waiting = Lock()
        self._is_closed = False
        self._next_revision = start_revision
        self._has_missed = False
        self._keeps_events = keeps_events
        self._events: list[Event] | None = []
        self._connection: Connection | None = None
        self._answer: http.client.HTTPResponse | None = None
        self._resume()

    def wait(self) -> bool:
        """Wait for the next change; False when the watch was closed.

        Raises:
            EtcdError: no endpoint lets us watch any more.
        """
        with self._waiting:
            while not self._is_closed:
                if self._has_missed:
                    self._has_missed = False
                    return True
                try:
                    answer = self._read()
                except (_BrokenError, EtcdUnavailableError):
                    if not self._is_closed:
                        self._client.rotate()
                        self._resume()
                    continue
                if self._take(answer):
                    return True
            return False

    def take_events(self) -> list[Event] | None:
        """Return what has happened since the last call; None: not all of it is known any more."""
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """End it; for any thread."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._connection is not None:
            self._connection.interrupt()
        with self._waiting:
            self._drop()
            self._client.close()

    def _take(self, answer: WatchAnswer) -> bool:
        """Take an answer in; say whether it speaks of a change."""
        if answer.canceled:
            # What came after the last revision that we saw has been compacted: it may have been anything.
            self._drop()
            if not answer.compact_revision:
                raise EtcdRefusedError(f"{self._client}: watch ended: {answer.cancel_reason}", 0)
            self._next_revision = 0
            self._has_missed = True
            self._events = None
            self._resume()
            return False
        self._next_revision = max(self._next_revision, answer.header.revision + 1)
        if self._keeps_events and self._events is not None:
            self._events += answer.events
        return bool(answer.events)

    def _resume(self) -> None:
        """Begin the stream, at the revision after the last one seen."""
        deadline_s = time.monotonic() + _PATIENCE_S
        pause_s = 0.02
        while not self._is_closed:
            try:
                self._begin()
            except (_BrokenError, EtcdUnavailableError) as exc:
                if self._client.is_ended or time.monotonic() > deadline_s:
                    raise EtcdUnavailableError(f"{self._client}: can't be watched: {exc}") from exc
                self._client.rotate()
                self._client.pause(pause_s * random.uniform(0.5, 1.0))
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                return

    def _begin(self) -> None:
        self._drop()
        connection, headers = self._client.stream_connection()
        self._connection = connection
        create = WatchCreate(self._key, self._range_end, self._next_revision)
        try:
            self._answer = connection.stream(
                "/v3/watch", encode(WatchRequest(create)), {**headers, **_REQUIRE_LEADER}
            )
            created = self._read()
        except (NotSentError, LostError) as exc:
            raise _BrokenError(str(exc)) from exc
        if created.canceled or not self._next_revision:
            self._take(created)
        if self._connection is not None and self._connection.is_open:
            # The next word may come in days.
            self._connection.set_timeout(None)

    def _read(self) -> WatchAnswer:
        """Read the next answer of the stream."""
        if self._answer is None:
            raise _BrokenError("not connected")
        try:
            line = self._answer.readline()
            answer = decode(line, StreamAnswer)
        except (OSError, ValueError, http.client.HTTPException, msgspec.DecodeError) as exc:
            raise _BrokenError(str(exc) or type(exc).__name__) from exc
        if answer.error is not None:
            code, message = answer.error.grpc_code, answer.error.message
            if code == UNAUTHENTICATED:
                self._client.drop_token()
            elif code not in PASSING:
                raise EtcdRefusedError(f"{self._client}: {message}", code)
            raise _BrokenError(message)
        if answer.result is None:
            raise _BrokenError("the stream ended")
        return answer.result

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._answer = None


class _BrokenError(EtcdError):
    """The stream has ended; another may be had."""
