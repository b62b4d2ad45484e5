"""bird's control socket: commands out, replies with codes in (bird's doc/reply_codes).

    0001 BIRD 2.0.12 ready.              greeting
    show protocols all                   ours
    1002-kernel4  Kernel  master4  up    code and `-`: more follows
     and this line too                   a space: the same code as before
    0000                                 code and a space: the last line

0xxx is done, 1xxx and 2xxx are tables, 8xxx and 9xxx are errors.
"""

import asyncio
import os
import socket
import struct
from collections import deque
from pathlib import Path

import msgspec

from nodeplane.errors import NodeplaneError, ProtocolError

# bird answers between two of its steps, all of which are short; one that is stopped never does.
ANSWER_LIMIT_S = 10.0
# unix(7) SO_PEERCRED: pid, uid, gid.
_CREDENTIALS = struct.Struct("3i")
_MOST_BUFFERED_BYTES = 64 * 1024 * 1024


class BirdError(NodeplaneError):
    """bird can't be reached, or refused; its own words."""


class BirdFrozenError(BirdError):
    """bird is there and does not answer."""


class Reply(msgspec.Struct, frozen=True):
    """What bird answered: lines with their codes, the last of which says how it ended."""

    lines: tuple[tuple[int, str], ...]

    @property
    def code(self) -> int:
        """How it ended."""
        return self.lines[-1][0]

    @property
    def is_error(self) -> bool:
        """Whether the command was refused."""
        return self.code >= 8000

    @property
    def message(self) -> str:
        """The last line's words."""
        return self.lines[-1][1]


class ReplyReader:
    """Cuts what bird sends into replies."""

    def __init__(self) -> None:
        self._rest = b""
        self._lines: list[tuple[int, str]] = []

    def feed(self, data: bytes) -> list[Reply]:
        """Take some bytes in and return the replies that they complete.

        Raises:
            ProtocolError: this is not bird.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _MOST_BUFFERED_BYTES:
            raise ProtocolError("bird's control socket: a line without an end")
        found: list[Reply] = []
        for raw in lines:
            line = raw.decode("utf-8", "replace")
            # `+`: what bird says on its own, to who asked for it.
            if line.startswith("+"):
                continue
            if line.startswith(" ") and self._lines:
                self._lines.append((self._lines[-1][0], line[1:]))
                continue
            code, mark, text = line[:4], line[4:5], line[5:]
            if not (code.isascii() and code.isdecimal() and mark in {"-", " "}):
                raise ProtocolError(f"bird's control socket: expected a reply code, got {line[:40]!r}")
            self._lines.append((int(code), text))
            if mark == " ":
                found.append(Reply(tuple(self._lines)))
                self._lines = []
        return found


class Control(asyncio.Protocol):
    """A connection to a bird; it ends when bird does."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[None] = loop.create_future()
        self.pid = 0
        self._reader = ReplyReader()
        self._waiting: deque[asyncio.Future[Reply]] = deque()
        self._greeting: asyncio.Future[Reply] = loop.create_future()
        self._waiting.append(self._greeting)
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(cls, path: Path) -> "Control":
        """Connect to the bird at a socket.

        Raises:
            BirdError: nobody is there.
            BirdFrozenError: there is, and says nothing.
        """
        loop = asyncio.get_running_loop()
        try:
            _, control = await loop.create_unix_connection(cls, str(path))
        except OSError as exc:
            raise BirdError(f"bird's control socket {path}: {exc.strerror or exc}") from exc
        try:
            await control._answer(control._greeting)
        except BaseException:
            control.close()
            raise
        return control

    async def ask(self, command: str) -> Reply:
        """Send a command and return its reply, whatever it says.

        Raises:
            BirdError: bird has gone.
            BirdFrozenError: it does not answer; the connection can't be used any more.
        """
        if self._transport is None or self.closed.done():
            raise BirdError("bird has ended")
        waiting: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        self._transport.write(f"{command}\n".encode())
        return await self._answer(waiting)

    def close(self) -> None:
        """End the connection; bird goes on."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember who is at the other end."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError(f"expected a stream, got {transport!r}")
        self._transport = transport
        peer: socket.socket = transport.get_extra_info("socket")
        raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        self.pid = _CREDENTIALS.unpack(raw)[0]

    def data_received(self, data: bytes) -> None:
        """Hand replies to who waits for them, in order."""
        try:
            replies = self._reader.feed(data)
        except ProtocolError as exc:
            self._fail(BirdError(str(exc)))
            self.close()
            return
        for reply in replies:
            if self._waiting:
                waiting = self._waiting.popleft()
                if not waiting.done():
                    waiting.set_result(reply)

    def connection_lost(self, _: Exception | None) -> None:
        """Tell all who wait."""
        self._fail(BirdError("bird has ended"))
        if not self.closed.done():
            self.closed.set_result(None)

    def _fail(self, exc: BirdError) -> None:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_exception(exc)
                # Who waited may have been cancelled meanwhile; nobody's fault.
                waiting.exception()

    async def _answer(self, waiting: "asyncio.Future[Reply]") -> Reply:
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S):
                return await waiting
        except TimeoutError as exc:
            raise BirdFrozenError(f"bird has not answered for {ANSWER_LIMIT_S:.0f} s") from exc


def ask_once(path: Path, commands: tuple[str, ...]) -> list[Reply]:
    """Ask from a short program, without a loop.

    Raises:
        BirdError: nobody is there, or does not answer.
    """
    reader = ReplyReader()
    replies: list[Reply] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.settimeout(ANSWER_LIMIT_S)
        try:
            peer.connect(os.fspath(path))
            peer.sendall("".join(f"{command}\n" for command in commands).encode())
            while len(replies) <= len(commands):
                data = peer.recv(65536)
                if not data:
                    raise BirdError("bird has ended")
                replies += reader.feed(data)
        except ProtocolError as exc:
            raise BirdError(str(exc)) from exc
        except TimeoutError as exc:
            raise BirdFrozenError(f"bird has not answered for {ANSWER_LIMIT_S:.0f} s") from exc
        except OSError as exc:
            raise BirdError(f"bird's control socket {path}: {exc.strerror or exc}") from exc
    return replies[1:]
