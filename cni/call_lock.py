"""One call at a time for a container, whoever does it: a thread of cni-agent or a plugin in its own process.

A file beside the agent's socket, in which each container id stands for one byte (of 2^62, by hash) that a
call locks; GC, which is about all containers, locks all of them. Nothing is ever written, so nothing has to
be cleaned up, and the kernel frees what a killed process held.
"""

import errno
import fcntl
import hashlib
import os
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from nodeplane.cniresult import Result
from nodeplane.cnispec import CniError, Command, ErrorCode, Request
from nodeplane.errors import kernel_error

DEFAULT_SOCKET = Path("/run/nodeplane/cni.sock")
"""Where the shims find cni-agent; NODEPLANE_CNI_SOCKET in their environment names another."""

# Longer than the agent's deadline for a call: a plugin that takes over from it waits for the agent's end.
WAIT_S = 60.0

# fcntl's struct flock: type, whence, start, length, pid. Locks of the open file (F_OFD_SETLK) and not of the
# process, so that two threads exclude one another as well.
_FLOCK = struct.Struct("hhqqi4x")
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.001, 0.05


def find_socket(environ: Mapping[str, str]) -> Path:
    """Return where the agent's socket is for a process of that environment."""
    return Path(environ.get("NODEPLANE_CNI_SOCKET") or DEFAULT_SOCKET)


def lock_file(agent_socket: Path) -> Path:
    """Return the lock file that goes with a socket."""
    return agent_socket.with_name("cni.lock")


@contextmanager
def locked(path: Path, container_id: str, wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold the lock of one container, or of all with an empty id.

    Raises:
        CniError: another call for it goes on for longer than `wait_s` (code 11).
        KernelError: the file can't be had.
    """
    operation = f"lock {path}"
    try:
        descriptor = _open(path)
    except OSError as exc:
        raise kernel_error(operation, exc.errno or errno.EIO) from exc
    try:
        start, length = (_place(container_id), 1) if container_id else (0, 0)
        wanted = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)
        _take(operation, descriptor, wanted, container_id, wait_s)
        yield
    finally:
        os.close(descriptor)


def exclusive(commands: Mapping[str, Command], path: Path) -> dict[str, Command]:
    """Return a plugin's commands, each under the lock of its container; STATUS is about none."""

    def hold(name: str, command: Command) -> Command:
        def run(request: Request) -> Result | None:
            with locked(path, "" if name == "GC" else request.container_id):
                return command(request)

        return run

    return {name: each if name == "STATUS" else hold(name, each) for name, each in commands.items()}


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        return os.open(path, flags, 0o600)


def _take(operation: str, descriptor: int, wanted: bytes, container_id: str, wait_s: float) -> None:
    """Take the lock; asked for again and again, since the kernel's wait for one has no end."""
    give_up_s = time.monotonic() + wait_s
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, wanted)
        except OSError as exc:
            if exc.errno not in {errno.EAGAIN, errno.EACCES}:
                raise kernel_error(operation, exc.errno or errno.EIO) from exc
        else:
            return
        if time.monotonic() >= give_up_s:
            owner = f"container {container_id}" if container_id else "a container"
            raise CniError(ErrorCode.TRY_AGAIN_LATER, f"another call for {owner} goes on")
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _place(container_id: str) -> int:
    digest = hashlib.sha1(container_id.encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[:8], "big") >> 2
