"""The programs of a lab: started in their namespaces, known to be ready, found again by any later command.

A program that runs is described by a record that is written once it is ready. Whatever runs under a lab's
mark without a record that fits (left by a killed command, moved, of an older plan) is ended and started anew.
"""

import hashlib
import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Literal, NamedTuple

import msgspec

from netns_lab.processes import MARK, Process, namespace_id, read_process
from netns_lab.state import StateDirectory
from nodeplane.datapath import netns
from nodeplane.errors import NodeplaneError

READY_LIMIT_S = 60.0

RECORDS = "programs"
"""The group of records of programs that have become ready."""

# struct ucred (unix(7)): pid, uid, gid.
_CREDENTIALS_BYTES = socket.CMSG_SPACE(12)


class Program(msgspec.Struct, frozen=True):
    """A program that is to run.

    `inputs` are the contents that it reads only when it starts: with others it has to start again. `ready`
    says what its readiness is told by: its own READY=1 datagram, or that it has been started.
    """

    name: str
    namespace: str
    command: tuple[str, ...]
    inputs: tuple[bytes, ...] = ()
    ready: Literal["notify", "started"] = "notify"

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
    child: subprocess.Popen[bytes]
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
        process = record.process
        here = namespace_id(netns.NETNS_DIR / program.namespace)
        if process.namespace == here and (process.pid, process.start_ticks, here) in alive:
            found[program.name] = process
    return found


def to_stop(lab: str, kept: Mapping[str, Process], processes: Iterable[Process]) -> dict[str, list[Process]]:
    """Return the lab's own processes of programs that are not kept, by program.

    A process without the lab's mark is a person's (`netns-lab exec`, `ip netns exec`) and stays.
    """
    unwanted: dict[str, list[Process]] = {}
    for process in processes:
        marked_lab, _, name = process.mark.partition("/")
        if marked_lab == lab and name not in kept:
            unwanted.setdefault(name, []).append(process)
    return unwanted


def start(state: StateDirectory, programs: Sequence[Program], limit_s: float = READY_LIMIT_S) -> None:
    """Start programs side by side and wait until each is ready.

    Raises:
        NodeplaneError: one has ended or is not ready after `limit_s` seconds; names it and its log.
    """
    with (
        _notify_socket(state) as notifications,
        selectors.DefaultSelector() as selector,
        ExitStack() as stack,
    ):
        selector.register(notifications, selectors.EVENT_READ)
        pending: dict[int, _Starting] = {}
        for program in programs:
            child = _spawn(state, program)
            if program.ready == "started":
                _save(state, program, child.pid)
                continue
            handle = os.pidfd_open(child.pid)
            stack.callback(os.close, handle)
            pending[child.pid] = _Starting(program, child, handle)
            selector.register(handle, selectors.EVENT_READ, child.pid)
        deadline = time.monotonic() + limit_s
        while pending:
            events = selector.select(max(0.0, deadline - time.monotonic()))
            if not events:
                late = ", ".join(sorted(entry.program.name for entry in pending.values()))
                raise NodeplaneError(f"not ready after {limit_s:g} s: {late}; see {state.path / 'logs'}")
            for key, _ in events:
                pid = _ready_pid(notifications) if key.fileobj is notifications else None
                if pid is None and key.data in pending:
                    raise _ended(state, pending[key.data])
                if pid in pending:
                    entry = pending.pop(pid)
                    selector.unregister(entry.handle)
                    _save(state, entry.program, pid)


def forget(state: StateDirectory, desired: Iterable[Program]) -> None:
    """Drop the records of programs that are not desired."""
    for name in state.records(RECORDS) - {_record_name(program.name) for program in desired}:
        state.drop_record(name)


def environment(lab: str, name: str) -> dict[str, str]:
    """Return the environment of a program: its mark, and nothing that depends on who started the lab."""
    path = os.environ.get("PATH", os.defpath)
    return {"PATH": path, "LANG": "C.UTF-8", "HOME": "/root", MARK: f"{lab}/{name}"}


def _spawn(state: StateDirectory, program: Program) -> subprocess.Popen[bytes]:
    log = state.log_file(program.name)
    log.parent.mkdir(parents=True, exist_ok=True)
    marks = {**environment(state.lab, program.name), "NOTIFY_SOCKET": str(state.notify_socket)}
    with log.open("ab") as output, netns.inside(netns.NETNS_DIR / program.namespace):
        try:
            return subprocess.Popen(
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


def _ready_pid(notifications: socket.socket) -> int | None:
    """Take one datagram and return who says in it that it is ready, None if nobody does."""
    message, control, _, _ = notifications.recvmsg(4096, _CREDENTIALS_BYTES)
    if not control or b"READY=1" not in message.split(b"\n"):
        return None
    return int.from_bytes(control[0][2][:4], sys.byteorder)


def _save(state: StateDirectory, program: Program, pid: int) -> None:
    process = read_process(pid)
    # None: it has ended already. Without a record it counts as not running, which is what it is.
    if process is not None:
        state.save_record(_record_name(program.name), ProgramRecord(program.digest, process))


def _ended(state: StateDirectory, entry: _Starting) -> NodeplaneError:
    log = state.log_file(entry.program.name)
    last = log.read_text(errors="replace").rstrip().rpartition("\n")[2] if log.exists() else ""
    reason = f": {last}" if last else ""
    name, code = entry.program.name, entry.child.wait()
    return NodeplaneError(f"{name} ended with exit code {code} before it was ready{reason}; see {log}")


def _record_name(program: str) -> str:
    return f"{RECORDS}/{program}"
