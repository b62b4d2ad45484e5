"""The guest's one program of ours: runs the command, and carries its streams, signals and exit code.

It imports little (`python -I -S`): every file of the host is read through the emulated kernel, so an import
costs ten times what it costs here. It speaks through one port, see `netns_lab.vm.frames`; when that ends, the
host's side is gone, and so does the agent end; what started it ends the guest then (`init.sh`).
"""

import os
import select
from contextlib import suppress

from netns_lab.vm import frames
from netns_lab.vm.guest_process import GuestProcess, start

_MODPROBE = "/sbin/modprobe"

# A command that was never started, in a shell's words: 127 is not there, 126 is no program.
_NOT_THERE, _NO_PROGRAM = 127, 126

_CONNECT_MS = 10


def main(arguments: list[str]) -> None:
    """Serve the port whose path is the argument, until the host's side ends."""
    port = os.open(arguments[0], os.O_RDWR)
    _await_host(port)
    Agent(port).serve()


class Agent:
    """One command, from the host's request to its exit code."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._decoder = frames.FrameDecoder()
        self._process: GuestProcess | None = None
        self._is_asked = False
        """Whether the host has been asked for a piece of standard input, and has not sent it."""

    def serve(self) -> None:
        """Run what the host asks for and tell what becomes of it, until the host's side ends.

        Having heard the exit code, the host ends the guest: one that ends itself may lose what is under way.
        """
        with suppress(ConnectionError):
            self._send(frames.READY)
            while True:
                for descriptor in self._await():
                    if descriptor == self._port:
                        self._hear()
                    elif self._process is not None:
                        self._serve_process(self._process, descriptor)

    def _await(self) -> list[int]:
        """Return the descriptors that something can be done with, the process's end last."""
        poller = select.poll()
        poller.register(self._port, select.POLLIN)
        process = self._process
        if process is not None:
            for outlet in process.outlets:
                poller.register(outlet, select.POLLIN)
            if process.inlet.unwritten:
                poller.register(process.inlet.descriptor, select.POLLOUT)
            elif process.inlet.is_open and not self._is_asked:
                self._is_asked = True
                self._send(frames.MORE)
            poller.register(process.handle, select.POLLIN)
        return [descriptor for descriptor, _ in poller.poll()]

    def _hear(self) -> None:
        data = os.read(self._port, frames.PIECE_BYTES)
        if not data:
            raise ConnectionResetError
        for kind, payload in self._decoder.feed(data):
            if kind == frames.REQUEST:
                self._process = self._begin(frames.decode_request(payload))
            elif self._process is None:
                pass  # it has ended, or was never started
            elif kind == frames.STDIN:
                self._is_asked = False
                self._process.inlet.take(payload)
            elif kind == frames.SIGNAL:
                self._process.signal(int(payload))
            elif kind == frames.SIZE:
                self._process.resize(*frames.decode_size(payload))

    def _begin(self, request: frames.Request) -> GuestProcess | None:
        for module in request.modules:
            modprobe = os.posix_spawn(_MODPROBE, [_MODPROBE, "-q", os.fsdecode(module)], {})
            if os.waitpid(modprobe, 0)[1] != 0:
                self._fail(2, f"{os.fsdecode(module)}: expected a module of the guest's kernel")
                return None
        try:
            return start(request)
        except OSError as exc:
            code = _NOT_THERE if isinstance(exc, FileNotFoundError) else _NO_PROGRAM
            self._fail(code, f"can't start {os.fsdecode(exc.filename)}: {exc.strerror}")
            return None

    def _serve_process(self, process: GuestProcess, descriptor: int) -> None:
        if descriptor == process.handle:
            # What it wrote is in the pipes; a child that it leaves behind may hold them open for ever.
            for outlet in [*process.outlets]:
                os.set_blocking(outlet, False)
                while self._carry(process, outlet):
                    pass
            self._send(frames.EXIT, b"%d" % process.exit_code())
            self._process = None
        elif descriptor in process.outlets:
            self._carry(process, descriptor)
        else:
            process.inlet.write()

    def _carry(self, process: GuestProcess, outlet: int) -> bool:
        """Send a piece of what the command has written; False when there is none."""
        try:
            piece = os.read(outlet, frames.PIECE_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            # EIO: nobody has the terminal open any more (ioctl_tty(2) calls that a hangup).
            piece = b""
        if piece:
            self._send(process.outlets[outlet], piece)
        else:
            del process.outlets[outlet]
        return bool(piece)

    def _fail(self, code: int, text: str) -> None:
        self._send(frames.FAILED, b"%d %s" % (code, os.fsencode(text)))

    def _send(self, kind: bytes, payload: bytes = b"") -> None:
        data = frames.encode_frame(kind, payload)
        while data:
            data = data[os.write(self._port, data) :]


def _await_host(port: int) -> None:
    """Wait until the port is connected: before, it answers as if the host had closed it."""
    poller = select.poll()
    poller.register(port, select.POLLOUT)
    while any(event & select.POLLHUP for _, event in poller.poll()):
        # Nothing tells when POLLHUP goes.
        select.poll().poll(_CONNECT_MS)
