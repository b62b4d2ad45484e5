"""One exception tree: who has to act is the class, what happened is the data."""

import errno as errno_names
import os

_CAP_NET_ADMIN = 12  # linux/capability.h


class NodeplaneError(Exception):
    """The base of everything that `main` turns into one line and an exit code."""

    exit_code = 1


class ConfigError(NodeplaneError):
    """Input that its author has to change: one line that names place, field and what is expected."""

    exit_code = 2

    def __init__(self, place: str, field: str, expected: str) -> None:
        super().__init__(": ".join(part for part in (place, field, expected) if part))
        self.place = place
        self.field = field
        self.expected = expected


class SetupError(NodeplaneError):
    """The machine lacks something: a right, a program, a kernel feature."""

    exit_code = 2


class ApiError(NodeplaneError):
    """The source of objects failed: retry with backoff."""


class ProtocolError(NodeplaneError):
    """The peer sent what its protocol forbids: answer it, count it, go on."""


class KernelError(NodeplaneError):
    """The kernel refused an operation: read it again and resync."""

    def __init__(self, operation: str, errno: int) -> None:
        name = errno_names.errorcode.get(errno, str(errno))
        super().__init__(f"{operation}: {os.strerror(errno)} ({name})")
        self.operation = operation
        self.errno = errno


class KernelNotFoundError(KernelError):
    """The object that the operation names is not there (ENOENT, ENODEV, ESRCH)."""


class KernelExistsError(KernelError):
    """The object that the operation creates is there already (EEXIST)."""


class KernelPermissionError(KernelError):
    """The operation needs a right in this namespace (EPERM, EACCES); says which one is missing, if one is."""

    exit_code = 2

    def __str__(self) -> str:
        missing = missing_right(*own_rights())
        return super().__str__() + (f": {missing}" if missing else "")


def missing_right(uid: int, capabilities: int) -> str:
    """Say what a user with some capabilities lacks for what our programs do; empty if nothing.

    Being root is not enough: containers have a root without CAP_NET_ADMIN (capabilities(7)).
    """
    if capabilities >> _CAP_NET_ADMIN & 1:
        return "" if uid == 0 else "must run as root"
    return "must have the capability CAP_NET_ADMIN" if uid == 0 else "must run as root, or with CAP_NET_ADMIN"


def own_rights() -> tuple[int, int]:
    """Return this process's effective user and its effective capabilities, as a set of bits."""
    with open("/proc/self/status", "rb") as status:
        words = next(line.split() for line in status if line.startswith(b"CapEff:"))
    return os.geteuid(), int(words[1], 16)


_BY_ERRNO: dict[int, type[KernelError]] = {
    errno_names.ENOENT: KernelNotFoundError,
    errno_names.ENODEV: KernelNotFoundError,
    errno_names.ESRCH: KernelNotFoundError,
    errno_names.EEXIST: KernelExistsError,
    errno_names.EPERM: KernelPermissionError,
    errno_names.EACCES: KernelPermissionError,
}


def kernel_error(operation: str, errno: int) -> KernelError:
    """Build the error of the right class for `errno` (a positive number)."""
    return _BY_ERRNO.get(errno, KernelError)(operation, errno)
