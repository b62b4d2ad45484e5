"""A cluster's endpoints as one etcd: the first that answers, another one when it fails.

A read is tried again until its patience ends. A write is tried again only where it is certain that it was
not carried out: that it never left, or was refused. Otherwise `EtcdUnknownError` says so, and the caller, who
knows what its write leaves behind, finds out by reading.
"""

import random
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from nodeplane.errors import ConfigError
from nodeplane.etcd.connection import Connection, LostError, NotSentError, TlsFiles, tls_context
from nodeplane.etcd.errors import (
    FAILED_PRECONDITION,
    INVALID_ARGUMENT,
    PASSING,
    RESOURCE_EXHAUSTED,
    UNAUTHENTICATED,
    EtcdRefusedError,
    EtcdUnavailableError,
    EtcdUnknownError,
)
from nodeplane.etcd.messages import (
    AlarmAnswer,
    AuthAnswer,
    Range,
    RangeAnswer,
    Refusal,
    Txn,
    TxnAnswer,
    decode,
    encode,
)

T = TypeVar("T")

# As long as etcd itself waits for its peers before it counts elections in (server config: ReqTimeout).
TIMEOUT_S = 5.0
# A new leader is elected within seconds.
PATIENCE_S = 30.0
_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 1.0
_OK = 200
_REFUSALS = range(400, 500)


class Credentials(msgspec.Struct, frozen=True):
    """An etcd user; the password is read from its file each time, as it may be changed there."""

    user: str
    password_file: str


class EtcdClient:
    """Requests to the etcd behind `endpoints` (each `host:port`); an object belongs to one thread.

    Args:
        endpoints: Members of one cluster.
        tls: How to speak TLS; None: not.
        credentials: Whom to be; None: nobody.
        patience_s: For how long a request is tried again; every endpoint is tried once in any case.
        timeout_s: How long an endpoint has for its answer.
        ended: Set by another thread when nothing is to be tried again any more.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        tls: TlsFiles | None = None,
        credentials: Credentials | None = None,
        patience_s: float = PATIENCE_S,
        timeout_s: float = TIMEOUT_S,
        ended: threading.Event | None = None,
    ) -> None:
        context = None if tls is None else tls_context(tls)
        # A thousand nodes with one configuration use all members of the cluster.
        order = random.sample(list(endpoints), len(endpoints))
        self._connections = [Connection(endpoint, context, timeout_s) for endpoint in order]
        self._streams = [Connection(endpoint, context, timeout_s) for endpoint in order]
        self._name = ",".join(endpoints)
        self._credentials = credentials
        self._token = ""
        self._ended = ended or threading.Event()
        self.patience_s = patience_s
        self._current = 0
        self.connection_count = 0
        """How often a connection was made: as long as it stays, so does the history behind it."""

    def connect(self) -> None:
        """Connect, unless a connection is there.

        Raises:
            EtcdError: no endpoint can be reached.
        """
        if not self._connections[self._current].is_open:
            self._retry(self._open)

    def range(self, request: Range) -> RangeAnswer:
        """Read, from a state that no earlier write is missing from (linearizable).

        Raises:
            EtcdError: it can't be read.
        """
        return self._ask("/v3/kv/range", request, RangeAnswer, is_read=True)

    def txn(self, request: Txn) -> TxnAnswer:
        """Carry a transaction out.

        Raises:
            EtcdUnknownError: it may have been carried out, or may yet be.
            EtcdError: it was not.
        """
        operations = (*request.success, *request.failure)
        is_read = all(operation.request_range is not None for operation in operations)
        return self._ask("/v3/kv/txn", request, TxnAnswer, is_read=is_read)

    def alarms(self) -> AlarmAnswer:
        """Return what the members complain of."""
        return self._ask("/v3/maintenance/alarm", {}, AlarmAnswer, is_read=True)

    def stream_connection(self) -> tuple[Connection, dict[str, str]]:
        """Return a connection of its own, to the endpoint in use, and the headers for its request.

        Raises:
            EtcdError: no endpoint can be reached, or none lets us in.
        """
        self._retry(self._enter)
        return self._streams[self._current], self._headers()

    @property
    def is_ended(self) -> bool:
        """Whether nothing is to be tried again any more."""
        return self._ended.is_set()

    def pause(self, duration_s: float) -> None:
        """Wait between two tries, but not when there is to be no other."""
        self._ended.wait(duration_s)

    def rotate(self) -> None:
        """Use another endpoint from now on: the present one has failed."""
        self._current = (self._current + 1) % len(self._connections)

    def drop_token(self) -> None:
        """Ask for a new token before the next request."""
        self._token = ""

    def close(self) -> None:
        """Close all connections."""
        for connection in (*self._connections, *self._streams):
            connection.close()

    def __str__(self) -> str:
        return f"etcd at {self._name}"

    def _open(self, connection: Connection) -> None:
        if not connection.is_open:
            connection.open()
            self.connection_count += 1

    def _enter(self, connection: Connection) -> None:
        self._open(connection)
        if self._credentials and not self._token:
            self._token = self._authenticate(connection, self._credentials)

    def _ask(self, path: str, request: object, kind: type[T], *, is_read: bool) -> T:
        body = encode(request)

        def ask(connection: Connection) -> T:
            self._enter(connection)
            return self._exchange(connection, path, body, kind)

        return self._retry(ask, is_read=is_read)

    def _retry(self, ask: Callable[[Connection], T], *, is_read: bool = True) -> T:
        """Ask the endpoint in use, then others, for as long as that makes sense."""
        deadline_s = time.monotonic() + self.patience_s
        pause_s = _FIRST_PAUSE_S
        problems: dict[str, Exception] = {}
        while True:
            connection = self._connections[self._current]
            was_open = connection.is_open
            try:
                return ask(connection)
            except NotSentError as exc:
                problems[connection.endpoint] = exc
                self.rotate()
            except (LostError, _PassingError) as exc:
                self.rotate()
                if not is_read:
                    raise EtcdUnknownError(f"{self}: no answer to a write: {exc}") from exc
                if was_open and isinstance(exc, LostError):
                    # It says of the endpoint only that it ended this connection at some time.
                    continue
                problems[connection.endpoint] = exc
            except _AgainError as exc:
                problems[connection.endpoint] = exc
            if len(problems) < len(self._connections) and not self.is_ended:
                continue
            if (
                self.is_ended
                or time.monotonic() > deadline_s
                or all(_is_final(problem) for problem in problems.values())
            ):
                raise EtcdUnavailableError(f"no etcd answers: {_list(problems)}")
            self.pause(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def _exchange(self, connection: Connection, path: str, body: bytes, kind: type[T]) -> T:
        status, content = connection.call(path, body, self._headers())
        try:
            if status == _OK:
                return decode(content, kind)
            refusal = decode(content, Refusal)
        except msgspec.DecodeError as exc:
            connection.close()
            text = content[:200].decode(errors="replace").strip()
            if status in _REFUSALS:
                # etcd's gateway itself, or another server.
                raise EtcdRefusedError(f"{connection.endpoint}: HTTP {status}: {text}", 0) from exc
            raise LostError(f"not etcd's answer (HTTP {status}): {text}") from exc
        raise self._refused(refusal.code, refusal.error)

    def _refused(self, code: int, message: str) -> Exception:
        """Return what a refusal means for the request."""
        # Both say that the token is of no use any more: it has expired, its member has started anew, or
        # users have been changed since (server/auth: ErrInvalidAuthToken, ErrAuthOldRevision).
        if code == UNAUTHENTICATED or (code == INVALID_ARGUMENT and "auth store is old" in message):
            if self._credentials is None:
                return EtcdRefusedError(f"{self}: {message}", code)
            self.drop_token()
            return _AgainError(message)
        if code == RESOURCE_EXHAUSTED and "too many requests" in message:
            return _AgainError(message)
        if code in PASSING:
            return _PassingError(message)
        return EtcdRefusedError(f"{self}: {message}", code)

    def _authenticate(self, connection: Connection, credentials: Credentials) -> str:
        try:
            password = Path(credentials.password_file).read_text().rstrip("\n")
        except (OSError, UnicodeDecodeError) as exc:
            problem = exc.strerror if isinstance(exc, OSError) else "not text"
            raise ConfigError(credentials.password_file, "", f"can't be read: {problem}") from exc
        body = encode({"name": credentials.user, "password": password})
        try:
            return self._exchange(connection, "/v3/auth/authenticate", body, AuthAnswer).token
        except EtcdRefusedError as exc:
            if exc.code == FAILED_PRECONDITION:
                # Authentication is not enabled: everybody may do everything.
                return ""
            raise
        except (LostError, _PassingError) as exc:
            # Nothing but this has been sent.
            raise NotSentError(str(exc)) from exc

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = self._token
        return headers


class _PassingError(Exception):
    """The endpoint could not, at the moment; it may have begun."""


class _AgainError(Exception):
    """The endpoint has refused before it began, for a reason that passes."""


def _is_final(problem: Exception) -> bool:
    return isinstance(problem, NotSentError) and problem.is_final


def _list(problems: dict[str, Exception]) -> str:
    return "; ".join(f"{endpoint}: {problem}" for endpoint, problem in problems.items())
