"""A guest's run seen from the host: carries streams and signals, keeps limits, learns the exit code.

All in one loop over what can be read and written, so a slow reader of the output delays no signal and no
limit.
"""

import os
import select
import signal
import socket
import time
from collections import deque

import msgspec

from netns_lab.vm import frames
from netns_lab.vm.console import Console
from netns_lab.vm.terminal import raw_terminal, size_of
from netns_lab.vm.wakeup import caught_signals
from nodeplane.errors import NodeplaneError

BOOT_LIMIT_S = 300.0
"""8 s on a quiet machine; the emulated processor shares a busy one."""

GRACE_S = 5.0
"""How long the command may take to end after a signal, and at its time limit."""

TIMED_OUT = 124
"""The exit code of timeout(1) for a command that took too long."""

_READ_BYTES = 64 * 1024
_MS = 1000


class GuestError(NodeplaneError):
    """The command was not started, or the guest ended before it."""

    def __init__(self, text: str, exit_code: int = 1) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class Streams(msgspec.Struct, frozen=True):
    """The caller's descriptors."""

    stdin: int = 0
    stdout: int = 1
    stderr: int = 2


class Session:
    """One request, from the start of the guest to the command's exit code."""

    def __init__(
        self,
        port: socket.socket,
        console: Console,
        request: frames.Request,
        streams: Streams,
        timeout_s: float | None = None,
    ) -> None:
        self._port = port
        self._console = console
        self._request = request
        self._timeout_s = timeout_s
        self._stdin = streams.stdin
        self._outputs = {frames.STDOUT: streams.stdout, frames.STDERR: streams.stderr}
        self._decoder = frames.FrameDecoder()
        self._unwritten: deque[tuple[int, bytes]] = deque()
        self._wants_stdin = False
        self._has_begun = False
        self._deadline: float | None = time.monotonic() + BOOT_LIMIT_S
        self._told_to_end: int | None = None
        """The exit code if the command does not end by itself, once it has been told to."""
        self._exit_code: int | None = None

    def run(self) -> int:
        """Carry until the end; return the command's exit code, 128 and a signal's number, or `TIMED_OUT`.

        Raises:
            GuestError: the command could not be started, or the guest ended before it.
            BrokenPipeError: nobody reads the output any more.
        """
        with caught_signals() as wakeup, raw_terminal(self._stdin, is_wanted=self._request.size is not None):
            while self._exit_code is None or self._unwritten:
                for descriptor in self._await(wakeup):
                    if descriptor == wakeup:
                        self._take_signals(os.read(wakeup, _READ_BYTES))
                    elif descriptor == self._console.fileno():
                        self._console.read()
                    elif descriptor == self._port.fileno():
                        self._hear()
                    elif self._wants_stdin and descriptor == self._stdin:
                        self._send_stdin()
                    elif self._unwritten:
                        self._write()
                if self._deadline is not None and time.monotonic() >= self._deadline:
                    self._end_in_time()
            return self._exit_code

    def _await(self, wakeup: int) -> list[int]:
        poller = select.poll()
        poller.register(wakeup, select.POLLIN)
        if self._console.is_open:
            poller.register(self._console, select.POLLIN)
        if self._unwritten:
            poller.register(self._unwritten[0][0], select.POLLOUT)
        elif self._exit_code is None:
            poller.register(self._port, select.POLLIN)
        if self._wants_stdin:
            poller.register(self._stdin, select.POLLIN)
        left_s = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
        return [descriptor for descriptor, _ in poller.poll(None if left_s is None else left_s * _MS)]

    def _hear(self) -> None:
        data = self._port.recv(_READ_BYTES)
        if not data:
            raise GuestError(
                f"the guest has ended before the command; its last words: {self._console.last_words()}"
            )
        for kind, payload in self._decoder.feed(data):
            if kind == frames.READY:
                self._begin()
            elif kind == frames.MORE:
                self._wants_stdin = True
            elif kind in self._outputs:
                self._unwritten.append((self._outputs[kind], payload))
            elif kind == frames.FAILED:
                code, _, text = payload.partition(b" ")
                raise GuestError(os.fsdecode(text), int(code))
            elif kind == frames.EXIT:
                has_timed_out = self._told_to_end == TIMED_OUT
                self._exit_code = TIMED_OUT if has_timed_out else int(payload)

    def _begin(self) -> None:
        self._has_begun = True
        self._deadline = None if self._timeout_s is None else time.monotonic() + self._timeout_s
        self._send(frames.REQUEST, frames.encode_request(self._request))

    def _send_stdin(self) -> None:
        self._wants_stdin = False
        try:
            piece = os.read(self._stdin, frames.PIECE_BYTES)
        except OSError:
            # Closed, a directory, a terminal that is gone: nothing comes from there.
            piece = b""
        self._send(frames.STDIN, piece)

    def _write(self) -> None:
        descriptor, data = self._unwritten.popleft()
        # So much never blocks when there is room at all (pipe(7)).
        written = os.write(descriptor, data[: select.PIPE_BUF])
        if written < len(data):
            self._unwritten.appendleft((descriptor, data[written:]))

    def _take_signals(self, numbers: bytes) -> None:
        for number in numbers:
            if number == signal.SIGWINCH:
                if self._request.size is not None and self._has_begun:
                    self._send(frames.SIZE, frames.encode_size(*size_of(self._stdin)))
            elif self._has_begun and self._told_to_end is None:
                self._tell_to_end(number, 128 + number)
            else:
                # Nobody is there yet who could take it, or it is the second one.
                self._exit_code = 128 + number

    def _tell_to_end(self, number: int, exit_code: int) -> None:
        self._told_to_end = exit_code
        self._deadline = time.monotonic() + GRACE_S
        self._send(frames.SIGNAL, b"%d" % number)

    def _end_in_time(self) -> None:
        if not self._has_begun:
            limit = f"the guest has not started within {BOOT_LIMIT_S:.0f} s"
            raise GuestError(f"{limit}; its last words: {self._console.last_words()}")
        if self._told_to_end is None:
            self._tell_to_end(signal.SIGTERM, TIMED_OUT)
        else:
            self._exit_code = self._told_to_end
            self._unwritten.clear()

    def _send(self, kind: bytes, payload: bytes = b"") -> None:
        try:
            self._port.sendall(frames.encode_frame(kind, payload))
        except BrokenPipeError:
            # The guest has ended: what it said before is read first.
            return
