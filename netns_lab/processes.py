"""Which processes belong to a lab, read from /proc, and how they are ended.

A process is the lab's if the environment it was started with says so, or if it lives in one of the lab's
namespaces. Nothing has to be written down for that, so nothing is lost when a command is killed.
"""

import os
import select
import signal
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from nodeplane.errors import NodeplaneError

MARK = "NETNS_LAB"
"""The environment variable that names a process: `<lab>/<program>`."""

_PROC = Path("/proc")
_GRACE_S = 3.0
_KILL_LIMIT_S = 10.0
_EXEC_LIMIT_S = 5.0
_POLL_S = 0.001

_PF_KTHREAD = 0x00200000  # linux/sched.h

NamespaceId = tuple[int, int]
"""Device and inode of a namespace: equal for a process in it and for the file that names it."""


class Process(msgspec.Struct, frozen=True):
    """A process; pid and start time (in clock ticks since boot) together are never used again."""

    pid: int
    start_ticks: int
    namespace: NamespaceId
    mark: str = ""


def namespace_id(path: Path) -> NamespaceId | None:
    """Return the identity of the namespace that a path leads to, None if it leads nowhere we may look."""
    try:
        found = path.stat()
    except (FileNotFoundError, PermissionError):
        return None
    return found.st_dev, found.st_ino


def machine_namespaces() -> set[NamespaceId]:
    """Return the namespaces that are never a lab's: the calling thread's, and that of process 1."""
    paths = (_PROC / "thread-self/ns/net", _PROC / "1/ns/net")
    return {found for path in paths if (found := namespace_id(path))}


def read_process(pid: int) -> Process | None:
    """Read one process; None if it has ended (a zombie has no namespace any more) or is not ours to read."""
    folder = _PROC / str(pid)
    deadline = time.monotonic() + _EXEC_LIMIT_S
    while True:
        try:
            # proc(5): the second field is the program's name in brackets, which may hold any character.
            fields = (folder / "stat").read_bytes().rpartition(b")")[2].split()
            environment = (folder / "environ").read_bytes()
            namespace = namespace_id(folder / "ns/net")
        except OSError:
            return None
        if namespace is None:
            return None
        start_ticks, flags, env_end = int(fields[19]), int(fields[6]), int(fields[48])
        # In the middle of execve(2) a process has lost its old environment and not yet got the new one;
        # its close-on-exec files, the lab's lock among them, are closed a moment before.
        if env_end or flags & _PF_KTHREAD or time.monotonic() > deadline:
            return Process(pid, start_ticks, namespace, _mark(environment))
        time.sleep(_POLL_S)


def lab_processes(lab: str, namespaces: Collection[NamespaceId]) -> list[Process]:
    """Return the processes that carry the lab's mark or live in its namespaces; never the calling one."""
    return [
        process
        for process in _other_processes()
        if process.mark.startswith(f"{lab}/") or process.namespace in namespaces
    ]


def marked_labs() -> set[str]:
    """Return the labs whose mark any process carries."""
    return {process.mark.partition("/")[0] for process in _other_processes() if "/" in process.mark}


def stop(processes: Iterable[Process], grace_s: float = _GRACE_S) -> None:
    """End processes and wait until they have: SIGTERM first, SIGKILL after `grace_s` seconds.

    Raises:
        NodeplaneError: a process does not even end by SIGKILL (it hangs in the kernel).
    """
    _end(processes, ((signal.SIGTERM, grace_s), (signal.SIGKILL, _KILL_LIMIT_S)))


def _end(processes: Iterable[Process], ways: Iterable[tuple[signal.Signals, float]]) -> None:
    handles = {handle for process in processes if (handle := _open(process)) is not None}
    try:
        for number, limit_s in ways:
            for handle in handles:
                # One that is stopped (a fault has frozen it) takes no other signal before it goes on.
                for each in (number, signal.SIGCONT):
                    with suppress(ProcessLookupError):
                        signal.pidfd_send_signal(handle, each)
            _await_exit(handles, limit_s)
        if handles:
            raise NodeplaneError(
                f"{len(handles)} processes have not ended {_KILL_LIMIT_S:.0f} s after SIGKILL"
            )
    finally:
        for handle in handles:
            os.close(handle)


def kill(processes: Iterable[Process]) -> None:
    """End processes at once, by SIGKILL, and wait until they have.

    Raises:
        NodeplaneError: as `stop`.
    """
    _end(processes, ((signal.SIGKILL, _KILL_LIMIT_S),))


def send(processes: Iterable[Process], number: signal.Signals) -> None:
    """Send a signal to processes; one that has ended is fine."""
    for process in processes:
        handle = _open(process)
        if handle is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, number)
            os.close(handle)


def _other_processes() -> Iterator[Process]:
    pids = (int(entry) for entry in os.listdir(_PROC) if entry.isdigit())
    for pid in pids:
        if pid != os.getpid() and (process := read_process(pid)) is not None:
            yield process


def _mark(environment: bytes) -> str:
    prefix = f"{MARK}=".encode()
    marks = (entry for entry in environment.split(b"\0") if entry.startswith(prefix))
    return next(marks, prefix).removeprefix(prefix).decode(errors="replace")


def _open(process: Process) -> int | None:
    """Open a pidfd of just this process, None if it has ended."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    # The number may have been given to another process since: the handle is right if the start time is.
    now = read_process(process.pid)
    if now is None or now.start_ticks != process.start_ticks:
        os.close(handle)
        return None
    return handle


def _await_exit(handles: set[int], limit_s: float) -> None:
    """Wait until the processes have ended; take the handles of those that have out of the set."""
    poller = select.poll()
    for handle in handles:
        poller.register(handle, select.POLLIN)
    deadline = time.monotonic() + limit_s
    while handles:
        ended = poller.poll(max(0.0, (deadline - time.monotonic()) * 1000))
        if not ended:
            return
        for handle, _ in ended:
            poller.unregister(handle)
            # A child of ours stays a zombie unless it is waited for; of others' children init takes care.
            with suppress(ChildProcessError):
                os.waitid(os.P_PIDFD, handle, os.WEXITED | os.WNOHANG)
            handles.remove(handle)
            os.close(handle)
