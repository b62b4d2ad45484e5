"""The programs of a lab: started in their namespaces, known to be ready, found again by any later command.

A program that runs is described by a record that is written once it is ready. Whatever runs under a lab's
mark without a record that fits (left by a killed command, moved, of an older plan) is ended and started anew.
A pod's command that has ended leaves its exit code (see `netns_lab.job`); with code 0 it has done its work.
"""

import hashlib
import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

from netns_lab.job import EXIT_FILE
from netns_lab.launcher.client import ForkServer
from netns_lab.launcher.entry import find_entry
from netns_lab.launcher.messages import Start
from netns_lab.processes import MARK, Process, namespace_id, read_process
from netns_lab.state import StateDirectory
from nodeplane.datapath import netns
from nodeplane.errors import NodeplaneError

READY_LIMIT_S = 60.0

RECORDS = "programs"
"""The group of records of programs that have become ready."""

FORK_SERVER = "launcher"
"""What the mark of a lab's fork server says."""

# For fewer the fork server's own start takes longer than it saves.
_MANY = 3

# struct ucred (unix(7)): pid, uid, gid.
_CREDENTIALS_BYTES = socket.CMSG_SPACE(12)


class Program(msgspec.Struct, frozen=True):
    """A program that is to run; its own READY=1 datagram says that it does.

    `inputs` are the contents that it reads only when it starts: with others it has to start again. One that
    `moves_in` is started in the machine's own namespace and goes to its own by itself, before it is ready.
    """

    name: str
    namespace: str
    command: tuple[str, ...]
    inputs: tuple[bytes, ...] = ()
    moves_in: bool = False

    @property
    def digest(self) -> str:
        """Return what two equal programs share."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()


class ProgramRecord(msgspec.Struct, frozen=True):
    """A program that has become ready."""

    digest: str
    process: Process


class _Starting(NamedTuple):
    program: Program
    exit_code: Callable[[], int]
    handle: int


def running(
    state: StateDirectory, desired: Iterable[Program], processes: Collection[Process]
) -> Mapping[str, Process]:
    """Return the main process of each program that runs as desired, by the program's name."""
    alive = {(process.pid, process.start_ticks, process.namespace) for process in processes}
    found: dict[str, Process] = {}
    for program in desired:
        record = state.load_record(_record_name(program.name), ProgramRecord)
        if record is None or record.digest != program.digest:
            continue
        if state.exit_file(program.digest).exists():
            continue  # all that its process does any more is to end
        process = record.process
        here = namespace_id(netns.NETNS_DIR / program.namespace)
        if process.namespace == here and (process.pid, process.start_ticks, here) in alive:
            found[program.name] = process
    return found


def exit_codes(state: StateDirectory, desired: Iterable[Program]) -> dict[str, int]:
    """Return the exit code of each pod's command that was run as desired and has ended, by its name."""
    codes: dict[str, int] = {}
    for program in desired:
        with suppress(FileNotFoundError):
            codes[program.name] = int(state.exit_file(program.digest).read_text())
    return codes


def completed(codes: Mapping[str, int]) -> frozenset[str]:
    """Return the names of the commands that have ended well."""
    return frozenset(name for name, code in codes.items() if code == 0)


def missing(desired: Iterable[Program], running: Collection[str], codes: Mapping[str, int]) -> list[str]:
    """Return, in words, each program that should run and does not."""
    absent = (program.name for program in desired if program.name not in {*running, *completed(codes)})
    return [
        f"{name} running" + (f": ended with code {codes[name]}" if name in codes else "") for name in absent
    ]


def to_stop(
    lab: str, kept: Collection[str], processes: Iterable[Process], outliving: Collection[int] = ()
) -> dict[str, list[Process]]:
    """Return the lab's own processes of programs that are not kept, by program.

    A process without the lab's mark is a person's (`netns-lab exec`, `ip netns exec`) and stays; so do those
    that are to outlive the program that has started them, by their process ids.
    """
    unwanted: dict[str, list[Process]] = {}
    for process in processes:
        marked_lab, _, name = process.mark.partition("/")
        if marked_lab == lab and name not in kept and process.pid not in outliving:
            unwanted.setdefault(name, []).append(process)
    return unwanted


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
        self._server: ForkServer | None = None

    def expect(self, programs: Collection[Program]) -> None:
        """Prepare for starting programs of ours, while something else is done."""
        own = sum(find_entry(program.command) is not None for program in programs)
        if own >= _MANY:
            server = ForkServer(environment(self._state.lab, FORK_SERVER))
            self._server = self._stack.enter_context(server)

    def call(
        self, command: tuple[str, ...], marks: Mapping[str, str], namespace: str, stdin: bytes, log: Path
    ) -> tuple[int, bytes]:
        """Run a command in a namespace to its end; return its exit code and what it wrote to stdout."""
        entry = None if self._server is None else find_entry(command)
        if self._server is not None and entry is not None:
            start = Start(entry, command, dict(marks), namespace, str(log))
            called = _call_forked(self._server, start, stdin)
            if called is not None:
                return called
        return call(command, marks, namespace, stdin, log)

    def begin(self, programs: Iterable[Program]) -> None:
        """Start programs.

        Raises:
            NodeplaneError: one can't be started.
        """
        for program in programs:
            pid, exit_code = _spawn(self._state, program, self._server)
            handle = os.pidfd_open(pid)
            self._stack.callback(os.close, handle)
            self._pending[pid] = _Starting(program, exit_code, handle)
            self._selector.register(handle, selectors.EVENT_READ, pid)

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
                    _save(self._state, entry.program, pid)
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


def forget(state: StateDirectory, desired: Iterable[Program]) -> None:
    """Drop the records and exit codes of programs that are not desired."""
    desired = list(desired)
    state.keep_exit_files({program.digest for program in desired})
    for name in state.records(RECORDS) - {_record_name(program.name) for program in desired}:
        state.drop_record(name)


def environment(lab: str, name: str) -> dict[str, str]:
    """Return the environment of a program: its mark, and nothing that depends on who started the lab."""
    path = os.environ.get("PATH", os.defpath)
    return {"PATH": path, "LANG": "C.UTF-8", "HOME": "/root", MARK: f"{lab}/{name}"}


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


def _call_forked(server: ForkServer, start: Start, stdin: bytes) -> tuple[int, bytes] | None:
    stdin_end, to_stdin = os.pipe()
    from_stdout, stdout_end = os.pipe()
    with os.fdopen(to_stdin, "wb") as given, os.fdopen(from_stdout, "rb") as taken:
        try:
            pid = server.start(start, (stdin_end, stdout_end))
        finally:
            os.close(stdin_end)
            os.close(stdout_end)
        if pid is None:
            return None
        with suppress(BrokenPipeError):
            given.write(stdin)
            given.close()
        output = taken.read()
    return server.exit_code(pid), output


def _spawn(
    state: StateDirectory, program: Program, server: ForkServer | None
) -> tuple[int, Callable[[], int]]:
    """Start a program; return its process id, and what waits for its end and returns its exit code."""
    log = state.log_file(program.name)
    log.parent.mkdir(parents=True, exist_ok=True)
    exit_file = state.exit_file(program.digest)
    exit_file.parent.mkdir(exist_ok=True)
    exit_file.unlink(missing_ok=True)
    own = {"NOTIFY_SOCKET": str(state.notify_socket), EXIT_FILE: str(exit_file)}
    marks = {**environment(state.lab, program.name), **own}
    entry = None if server is None or program.moves_in else find_entry(program.command)
    if server is not None and entry is not None:
        pid = server.start(Start(entry, program.command, marks, program.namespace, str(log)))
        if pid is not None:
            return pid, partial(server.exit_code, pid)
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
    return child.pid, child.wait


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


def _save(state: StateDirectory, program: Program, pid: int) -> None:
    process = read_process(pid)
    # None: it has ended already. Without a record it counts as not running, which is what it is.
    if process is not None:
        state.save_record(_record_name(program.name), ProgramRecord(program.digest, process))


def _ended(state: StateDirectory, entry: _Starting) -> NodeplaneError:
    log = state.log_file(entry.program.name)
    last = log.read_text(errors="replace").rstrip().rpartition("\n")[2] if log.exists() else ""
    reason = f": {last}" if last else ""
    name, code = entry.program.name, entry.exit_code()
    return NodeplaneError(f"{name} ended with exit code {code} before it was ready{reason}; see {log}")


def _record_name(program: str) -> str:
    return f"{RECORDS}/{program}"
