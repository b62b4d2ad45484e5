"""Network namespaces by name, as `ip netns` keeps them: files below /run/netns that hold a namespace open.

Decides nothing about who owns which name; a program takes names with a prefix of its own. The calls go to
libc by ctypes, since Python 3.11 has no `os.setns` and importing pyroute2 for three system calls costs
170 ms in every short program.
"""

import ctypes
import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nodeplane.errors import kernel_error

NETNS_DIR = Path("/run/netns")
"""Where iproute2 looks for named namespaces (ip-netns(8) says /var/run/netns, which leads here)."""

# sched.h and mount.h of the kernel's user API.
_CLONE_NEWNET = 0x40000000
_MS_BIND = 1 << 12
_MS_REC = 1 << 14
_MS_SHARED = 1 << 20
_MNT_DETACH = 2

# Tells that NETNS_DIR is a mount point because of us, so that the last `remove` may undo that.
_MOUNTED_BY_US = NETNS_DIR.with_name("nodeplane-netns-mount")

# /proc/self would name the process's first thread; namespaces belong to threads.
_OWN = "/proc/thread-self/ns/net"

_libc = ctypes.CDLL(None, use_errno=True)


def create(name: str) -> Path:
    """Create a namespace and return its path; its loopback is down.

    What a killed `create` left under the name (a file that holds no namespace) is taken over.

    Raises:
        KernelExistsError: a namespace of that name is there.
        KernelPermissionError: only root may.
    """
    path = NETNS_DIR / name
    operation = f"create network namespace {name}"
    with _locked_directory(operation), _os_errors(operation):
        if is_namespace(path):
            raise kernel_error(operation, errno.EEXIST)
        path.touch(mode=0o444)
        back = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _call(_libc.unshare(_CLONE_NEWNET))
            try:
                _call(_libc.mount(_OWN.encode(), bytes(path), b"none", _MS_BIND, None))
            finally:
                _call(_libc.setns(back, _CLONE_NEWNET))
        except OSError:
            path.unlink()
            raise
        finally:
            os.close(back)
    return path


def remove(name: str) -> None:
    """Remove a name; the namespace ends with the last process and socket in it. A name not there is fine.

    Raises:
        KernelPermissionError: only root may.
    """
    path = NETNS_DIR / name
    operation = f"remove network namespace {name}"
    if not path.exists():
        return
    with _locked_directory(operation), _os_errors(operation):
        # Two mounts of one name (an interrupted `ip netns` left them) need two calls.
        while is_namespace(path):
            _call(_libc.umount2(bytes(path), _MNT_DETACH))
        path.unlink(missing_ok=True)
        if not names() and _MOUNTED_BY_US.exists():
            # Lazily, since our own lock is an open file there. Whoever waits for the lock mounts again.
            _call(_libc.umount2(bytes(NETNS_DIR), _MNT_DETACH))
            _MOUNTED_BY_US.unlink()


def names() -> set[str]:
    """Return all names, those that hold no namespace (remains of a killed `create`) included."""
    try:
        return set(os.listdir(NETNS_DIR))
    except FileNotFoundError:
        return set()


def is_namespace(path: Path) -> bool:
    """Say whether a path leads to a namespace: only then it lies on nsfs, a file system of the kernel's."""
    try:
        return path.stat().st_dev == os.stat(_OWN).st_dev
    except FileNotFoundError:
        return False


def is_current(path: Path) -> bool:
    """Say whether a path leads to the namespace that the calling thread is in; no if it leads nowhere."""
    try:
        return path.samefile(_OWN)
    except FileNotFoundError:
        return False


@contextmanager
def inside(path: Path | None) -> Iterator[None]:
    """Move the calling thread into a namespace and back; None is where it is already.

    Sockets opened inside stay in that namespace, child processes started inside inherit it, and
    /proc/sys/net shows its values. Other threads do not move.

    Raises:
        KernelNotFoundError: nothing is at `path`.
        KernelError: what is at `path` is not a network namespace (EINVAL).
        KernelPermissionError: only root may.
    """
    if path is None:
        yield
        return
    with _os_errors(f"enter network namespace {path}"):
        back = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with _os_errors(f"enter network namespace {path}"):
            there = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                _call(_libc.setns(there, _CLONE_NEWNET))
            finally:
                os.close(there)
        try:
            yield
        finally:
            with _os_errors(f"leave network namespace {path}"):
                _call(_libc.setns(back, _CLONE_NEWNET))
    finally:
        os.close(back)


def enter(path: Path) -> None:
    """Move the calling thread into a namespace for good.

    Raises:
        KernelError: as `inside`.
    """
    # Without a context manager: a fork of many has each page of memory to itself that it writes to.
    try:
        there = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _call(_libc.setns(there, _CLONE_NEWNET))
        finally:
            os.close(there)
    except OSError as exc:
        raise kernel_error(f"enter network namespace {path}", exc.errno or 0) from exc


@contextmanager
def _locked_directory(operation: str) -> Iterator[None]:
    """Hold the lock that iproute2 takes too, over a directory whose mounts every mount namespace sees."""
    with _os_errors(operation):
        NETNS_DIR.mkdir(mode=0o755, parents=True, exist_ok=True)
        lock = os.open(NETNS_DIR, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with _os_errors(operation):
            fcntl.flock(lock, fcntl.LOCK_EX)
            # As iproute2 does it: a namespace made here must be visible, and removable, from containers
            # that have a mount namespace of their own. Only a mount point can be shared.
            target = bytes(NETNS_DIR)
            if _libc.mount(b"", target, b"none", _MS_SHARED | _MS_REC, None) != 0:
                _call(_libc.mount(target, target, b"none", _MS_BIND | _MS_REC, None))
                _MOUNTED_BY_US.touch()
                _call(_libc.mount(b"", target, b"none", _MS_SHARED | _MS_REC, None))
        yield
    finally:
        os.close(lock)


@contextmanager
def _os_errors(operation: str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise kernel_error(operation, exc.errno or 0) from exc


def _call(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
