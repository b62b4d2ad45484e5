"""One connection to one endpoint: requests in turn, kept open between them."""

import http.client
import socket
import ssl
from pathlib import Path

import msgspec

from nodeplane.errors import ConfigError

CONNECT_TIMEOUT_S = 2.0
# A peer that is silent for longer is gone, also for a watch, which may hear nothing for days.
_KEEPALIVE = (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))


class TlsFiles(msgspec.Struct, frozen=True):
    """PEM files: whom to trust (empty: the system's authorities), and who we are (empty: nobody)."""

    ca: str = ""
    cert: str = ""
    key: str = ""


class NotSentError(Exception):
    """No connection; `is_final` when trying again can't help, as with a certificate that we don't trust."""

    def __init__(self, problem: str, *, is_final: bool = False) -> None:
        super().__init__(problem)
        self.is_final = is_final


class LostError(Exception):
    """The request, or a part of it, was sent, and there is no answer."""


def tls_context(files: TlsFiles) -> ssl.SSLContext:
    """Read the files.

    Raises:
        ConfigError: one can't be read, or does not hold what it should.
    """
    for path in filter(None, (files.ca, files.cert, files.key)):
        try:
            Path(path).open("rb").close()
        except OSError as exc:
            raise ConfigError(path, "", f"can't be read: {exc.strerror}") from exc
    try:
        context = ssl.create_default_context(cafile=files.ca or None)
    except ssl.SSLError as exc:
        raise ConfigError(files.ca, "", "expected certificates in PEM") from exc
    if files.cert:
        try:
            context.load_cert_chain(files.cert, files.key)
        except ssl.SSLError as exc:
            raise ConfigError(files.cert, "", f"expected a certificate in PEM, with its key: {exc}") from exc
    return context


class Connection:
    """A connection to `host:port`, made by the first request.

    Args:
        endpoint: Where etcd serves clients.
        tls: How to speak TLS; None: not.
        timeout_s: How long an answer is waited for, once connected.
    """

    def __init__(self, endpoint: str, tls: ssl.SSLContext | None, timeout_s: float) -> None:
        self.endpoint = endpoint
        self._timeout_s = timeout_s
        self._http = (
            http.client.HTTPConnection(endpoint, timeout=CONNECT_TIMEOUT_S)
            if tls is None
            else http.client.HTTPSConnection(endpoint, timeout=CONNECT_TIMEOUT_S, context=tls)
        )

    @property
    def is_open(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._http.sock is not None

    def open(self) -> None:
        """Connect.

        Raises:
            NotSentError: it can't be.
        """
        try:
            self._http.connect()
            for name, value in _KEEPALIVE:
                self._socket().setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
            self._socket().setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self._socket().settimeout(self._timeout_s)
        except OSError as exc:
            self._http.close()
            raise NotSentError(_reason(exc), is_final=isinstance(exc, ssl.SSLCertVerificationError)) from exc

    def call(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        """Send a request; return the answer's status and body.

        Raises:
            NotSentError: there is no connection.
            LostError: the answer did not come.
        """
        answer = self._send(path, body, headers)
        try:
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as exc:
            self.close()
            raise LostError(_reason(exc)) from exc

    def stream(self, path: str, body: bytes, headers: dict[str, str]) -> http.client.HTTPResponse:
        """Send a request; return the answer as soon as it begins. Nothing else goes over the connection."""
        return self._send(path, body, headers)

    def set_timeout(self, timeout_s: float | None) -> None:
        """Wait as long as that for more of an answer."""
        self._socket().settimeout(timeout_s)

    def interrupt(self) -> None:
        """End what another thread waits for."""
        sock: socket.socket | None = self._http.sock
        if sock is not None:
            try:
                # Not SSLSocket's own, which takes away the state that the other thread is about to use.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            except OSError:
                # Gone already.
                return

    def close(self) -> None:
        """Close it; the next request makes a new one."""
        self._http.close()

    def _send(self, path: str, body: bytes, headers: dict[str, str]) -> http.client.HTTPResponse:
        if not self.is_open:
            self.open()
        try:
            self._http.request("POST", path, body, headers)
            return self._http.getresponse()
        except (OSError, http.client.HTTPException) as exc:
            self.close()
            raise LostError(_reason(exc)) from exc

    def _socket(self) -> socket.socket:
        sock: socket.socket = self._http.sock
        return sock


def _reason(exc: Exception) -> str:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"certificate not trusted: {exc.verify_message}"
    if isinstance(exc, TimeoutError):
        return "timed out"
    if isinstance(exc, OSError) and exc.strerror:
        return exc.strerror
    return str(exc) or type(exc).__name__
