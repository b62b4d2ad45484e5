"""Programs started in their namespaces, side by side, and waited for until each says that it is ready."""

import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

from netns_lab.job import EXIT_FILE
from netns_lab.launcher.crew import Forked, ForkServers
from netns_lab.programs import Program, environment, save_record
from netns_lab.state import StateDirectory
from nodeplane.datapath import netns
from nodeplane.errors import NodeplaneError

READY_LIMIT_S = 60.0

FORK_SERVER = "launcher"
"""What the marks of a lab's fork servers say."""

# struct ucred (unix(7)): pid, uid, gid.
_CREDENTIALS_BYTES = socket.CMSG_SPACE(12)


class _Starting(NamedTuple):
    program: Program
    forked: Forked
    handle: int


def start(state: StateDirectory, programs: Iterable[Program], limit_s: float = READY_LIMIT_S) -> None:
    """Start programs side by side and wait until each is ready.

    Raises:
        NodeplaneError: as `Launch.await_ready`.
    """
    with launching(state) as launch:
        launch.begin(programs)
        launch.await_ready(limit_s)


@contextmanager
def launching(state: StateDirectory) -> Iterator["Launch"]:
    """Start programs that get ready while something else is done; one launch of a lab at a time."""
    with (
        _notify_socket(state) as notifications,
        selectors.DefaultSelector() as selector,
        ExitStack() as stack,
    ):
        selector.register(notifications, selectors.EVENT_READ)
        yield Launch(state, notifications, selector, stack)


class Launch:
    """Programs that are being started; see `launching`."""

    def __init__(
        self,
        state: StateDirectory,
        notifications: socket.socket,
        selector: selectors.BaseSelector,
        stack: ExitStack,
    ) -> None:
        self._state = state
        self._notifications = notifications
        self._selector = selector
        self._stack = stack
        self._pending: dict[int, _Starting] = {}
        self._servers = stack.enter_context(ForkServers(environment(state.lab, FORK_SERVER)))

    def expect(self, programs: Iterable[Program]) -> None:
        """Prepare for starting programs of ours, while something else is done."""
        self._servers.expect([program.command for program in programs])

    def call(
        self, command: tuple[str, ...], marks: Mapping[str, str], namespace: str, stdin: bytes, log: Path
    ) -> tuple[int, bytes]:
        """Run a command in a namespace to its end; return its exit code and what it wrote to stdout."""
        called = self._servers.call(command, marks, namespace, stdin, log)
        return call(command, marks, namespace, stdin, log) if called is None else called

    def begin(self, programs: Iterable[Program]) -> None:
        """Start programs.

        Raises:
            NodeplaneError: one can't be started.
        """
        for program in programs:
            forked = _spawn(self._state, program, self._servers)
            handle = os.pidfd_open(forked.pid)
            self._stack.callback(os.close, handle)
            self._pending[forked.pid] = _Starting(program, forked, handle)
            self._selector.register(handle, selectors.EVENT_READ, forked.pid)

    def await_ready(self, limit_s: float = READY_LIMIT_S) -> None:
        """Wait until each program that was started is ready.

        Raises:
            NodeplaneError: one has ended, or none has become ready for `limit_s` seconds; names it and its
                log. The others are waited for all the same.
        """
        failures: list[NodeplaneError] = []
        deadline = time.monotonic() + limit_s
        while self._pending:
            events = self._selector.select(max(0.0, deadline - time.monotonic()))
            if not events:
                late = ", ".join(sorted(entry.program.name for entry in self._pending.values()))
                failures.append(
                    NodeplaneError(f"not ready after {limit_s:g} s: {late}; see {self._state.path / 'logs'}")
                )
                break
            # Before the ends: a short job has said that it runs, and has ended since.
            for pid in _ready_pids(self._notifications):
                if pid in self._pending:
                    entry = self._take(pid)
                    save_record(self._state, entry.program, pid)
                    # Of hundreds the last one waits for all others: what counts is that it goes on.
                    deadline = time.monotonic() + limit_s
            for pid in [key.data for key, _ in events if key.data in self._pending]:
                failures.append(_ended(self._state, self._take(pid)))
        if failures:
            raise failures[0]

    def _take(self, pid: int) -> _Starting:
        entry = self._pending.pop(pid)
        self._selector.unregister(entry.handle)
        return entry


def call(
    command: tuple[str, ...], marks: Mapping[str, str], namespace: str, stdin: bytes, log: Path
) -> tuple[int, bytes]:
    """Run a command in a namespace to its end; return its exit code and what it wrote to stdout."""
    with log.open("ab") as errors, netns.inside(netns.NETNS_DIR / namespace):
        done = subprocess.run(
            command,
            env=marks,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
            check=False,
        )
    return done.returncode, done.stdout


def _spawn(state: StateDirectory, program: Program, servers: ForkServers) -> Forked:
    """Start a program."""
    log = state.log_file(program.name)
    log.parent.mkdir(parents=True, exist_ok=True)
    exit_file = state.exit_file(program.digest)
    exit_file.parent.mkdir(exist_ok=True)
    exit_file.unlink(missing_ok=True)
    own = {"NOTIFY_SOCKET": str(state.notify_socket), EXIT_FILE: str(exit_file)}
    marks = {**environment(state.lab, program.name), **own}
    if not program.moves_in:
        forked = servers.start(program.command, marks, program.namespace, log)
        if forked is not None:
            return forked
    place = nullcontext() if program.moves_in else netns.inside(netns.NETNS_DIR / program.namespace)
    with log.open("ab") as output, place:
        try:
            child = subprocess.Popen(
                program.command,
                cwd="/",
                env=marks,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # A session of its own: Ctrl-C at the terminal is for the command, not for the lab.
                start_new_session=True,
            )
        except OSError as exc:
            raise NodeplaneError(f"{program.name}: can't start {program.command[0]}: {exc.strerror}") from exc
    return Forked(child.pid, child.wait)


@contextmanager
def _notify_socket(state: StateDirectory) -> Iterator[socket.socket]:
    """Listen for READY=1; a socket in the file system is reached from every network namespace."""
    state.notify_socket.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as listener:
        # The kernel adds the sender's pid to each datagram (unix(7)): nobody can speak for another.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        listener.bind(str(state.notify_socket))
        try:
            yield listener
        finally:
            state.notify_socket.unlink(missing_ok=True)


def _ready_pids(notifications: socket.socket) -> Iterator[int]:
    """Take all datagrams that have come and yield who says that it is ready."""
    while True:
        try:
            message, control, _, _ = notifications.recvmsg(4096, _CREDENTIALS_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        if control and b"READY=1" in message.split(b"\n"):
            yield int.from_bytes(control[0][2][:4], sys.byteorder)


def _ended(state: StateDirectory, entry: _Starting) -> NodeplaneError:
    log = state.log_file(entry.program.name)
    last = log.read_text(errors="replace").rstrip().rpartition("\n")[2] if log.exists() else ""
    reason = f": {last}" if last else ""
    name, code = entry.program.name, entry.forked.exit_code()
    return NodeplaneError(f"{name} ended with exit code {code} before it was ready{reason}; see {log}")
