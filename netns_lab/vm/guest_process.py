"""The command inside the guest: started on pipes or on a terminal of its own, and its standard input.

Part of the guest's agent: it imports little.
"""

import os
import signal

from netns_lab.vm.frames import STDERR, STDOUT, Request

# What Python ignores, and a program that is started inherits.
_RESTORED = (signal.SIGPIPE, signal.SIGXFSZ)


class Inlet:
    """Where the command reads: holds the one piece that it has not taken yet."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.unwritten = b""
        self.is_open = True
        os.set_blocking(descriptor, False)

    def take(self, piece: bytes) -> None:
        """Take a piece for the command; an empty one is the end."""
        if not piece:
            self.close()
        elif self.is_open:
            self.unwritten = piece

    def write(self) -> None:
        """Write what fits now; the inlet closes when nobody reads it any more."""
        try:
            self.unwritten = self.unwritten[os.write(self.descriptor, self.unwritten) :]
        except BlockingIOError:
            return
        except OSError:
            # EPIPE, of a terminal EIO.
            self.close()

    def close(self) -> None:
        """Let the command read the end."""
        if self.is_open:
            self.is_open, self.unwritten = False, b""
            os.close(self.descriptor)


class GuestProcess:
    """The command: its inlet, what it writes (descriptor and kind of frame), and a handle for its end."""

    def __init__(self, pid: int, inlet: Inlet, outlets: dict[int, bytes]) -> None:
        self.inlet = inlet
        self.outlets = outlets
        self.handle = os.pidfd_open(pid)
        self._pid = pid

    def signal(self, number: int) -> None:
        """Send a signal to the command and its children, as a terminal does."""
        try:
            os.killpg(self._pid, number)
        except ProcessLookupError:
            return

    def resize(self, lines: int, columns: int) -> None:
        """Give its terminal this size."""
        if self.inlet.is_open:
            _resize(self.inlet.descriptor, lines, columns)

    def exit_code(self) -> int:
        """Return how the command has ended, once it has: as a shell says it, 128 and the signal's number."""
        code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        return 128 - code if code < 0 else code


def start(request: Request) -> GuestProcess:
    """Start the command in its directory, as the leader of a session.

    Raises:
        OSError: it can't be; the error names what is missing.
    """
    os.chdir(request.directory)
    environment = dict(each.partition(b"=")[::2] for each in request.environment)
    # Where posix_spawnp looks for the program.
    os.environb[b"PATH"] = environment.get(b"PATH", os.fsencode(os.defpath))
    if request.size is None:
        return _start_on_pipes(request, environment)
    return _start_on_terminal(request, environment, request.size)


def _start_on_pipes(request: Request, environment: dict[bytes, bytes]) -> GuestProcess:
    (stdin, inlet), (stdout_outlet, stdout), (stderr_outlet, stderr) = (os.pipe() for _ in range(3))
    given = (stdin, stdout, stderr)
    actions = tuple((os.POSIX_SPAWN_DUP2, end, number) for number, end in enumerate(given))
    try:
        pid = _spawn(request, environment, actions)
    finally:
        for end in given:
            os.close(end)
    return GuestProcess(pid, Inlet(inlet), {stdout_outlet: STDOUT, stderr_outlet: STDERR})


def _start_on_terminal(
    request: Request, environment: dict[bytes, bytes], size: tuple[int, int]
) -> GuestProcess:
    master, slave = os.openpty()
    _resize(slave, *size)
    # The first terminal that the leader of a session opens becomes the session's (credentials(7)).
    opened = (os.POSIX_SPAWN_OPEN, 0, os.ttyname(slave), os.O_RDWR, 0)
    copies = tuple((os.POSIX_SPAWN_DUP2, 0, number) for number in (1, 2))
    try:
        pid = _spawn(request, environment, (opened, *copies))
    finally:
        os.close(slave)
    return GuestProcess(pid, Inlet(os.dup(master)), {master: STDOUT})


def _spawn(request: Request, environment: dict[bytes, bytes], actions: tuple[tuple[object, ...], ...]) -> int:
    words = request.words
    return os.posix_spawnp(
        words[0], words, environment, file_actions=actions, setsid=True, setsigdef=_RESTORED
    )


def _resize(terminal: int, lines: int, columns: int) -> None:
    # Imported here: on pipes nobody needs them.
    import fcntl
    import struct
    import termios

    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
