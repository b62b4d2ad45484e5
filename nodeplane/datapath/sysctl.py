"""Kernel settings below net., as sysctl(8) names them, of one network namespace.

`read` and `write` are for the calling thread's namespace: /proc/sys/net shows the namespace of the thread
that opens the file (kernel: net/sysctl_net.c). `KernelSysctls` is the same for a namespace by its path.
"""

import errno
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

from nodeplane.datapath import netns
from nodeplane.errors import kernel_error

_ROOT = "/proc/sys/"
_READ_BYTES = 1 << 12


def read(name: str) -> str:
    """Read one setting, e.g. `net.ipv4.ip_forward`.

    A link's name may hold dots; write it between slashes then: `net/ipv4/conf/eth0.7/forwarding`.

    Raises:
        KernelNotFoundError: this kernel or namespace has no such setting, or the link is gone.
    """
    try:
        # System calls and not a file object: an ADD waits for a dozen of these.
        descriptor = os.open(_path(name), os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(descriptor, _READ_BYTES).decode("ascii").strip()
        finally:
            os.close(descriptor)
    except OSError as exc:
        raise kernel_error(f"read sysctl {name}", exc.errno or errno.EIO) from exc


def write(name: str, value: int | str) -> None:
    """Write one setting.

    Raises:
        KernelNotFoundError: this kernel or namespace has no such setting, or the link is gone.
        KernelPermissionError: only root may, and some settings only outside of namespaces.
        KernelError: the kernel refuses the value (EINVAL).
    """
    try:
        # Without O_CREAT and O_TRUNC, so that a wrong name is "not found" and not "permission denied".
        descriptor = os.open(_path(name), os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, f"{value}\n".encode("ascii"))
        finally:
            os.close(descriptor)
    except OSError as exc:
        raise kernel_error(f"write sysctl {name}={value}", exc.errno or errno.EIO) from exc


class Sysctls(Protocol):
    """One namespace's settings; errors as those of `read` and `write`."""

    def read(self, name: str) -> str:
        """Read one setting."""
        ...

    def write(self, name: str, value: int | str) -> None:
        """Write one setting."""
        ...

    def write_all(self, settings: Iterable[tuple[str, int | str]]) -> None:
        """Write several settings in their order; the first that fails ends it."""
        ...


class KernelSysctls:
    """The settings of the namespace at `namespace`, or of the calling thread's."""

    def __init__(self, namespace: Path | None = None) -> None:
        self._namespace = namespace

    def read(self, name: str) -> str:
        """See `Sysctls`."""
        with netns.inside(self._namespace):
            return read(name)

    def write(self, name: str, value: int | str) -> None:
        """See `Sysctls`."""
        with netns.inside(self._namespace):
            write(name, value)

    def write_all(self, settings: Iterable[tuple[str, int | str]]) -> None:
        """See `Sysctls`; the namespace is entered once."""
        with netns.inside(self._namespace):
            for name, value in settings:
                write(name, value)


class FakeSysctls:
    """Settings in memory. Like the kernel it has no setting that was not given to it; `writes` counts."""

    def __init__(self, values: Mapping[str, int | str]) -> None:
        self.values = {name: str(value) for name, value in values.items()}
        self.writes = 0

    def read(self, name: str) -> str:
        """See `Sysctls`."""
        if name not in self.values:
            raise kernel_error(f"read sysctl {name}", errno.ENOENT)
        return self.values[name]

    def write(self, name: str, value: int | str) -> None:
        """See `Sysctls`."""
        if name not in self.values:
            raise kernel_error(f"write sysctl {name}={value}", errno.ENOENT)
        self.values[name] = str(value)
        self.writes += 1

    def write_all(self, settings: Iterable[tuple[str, int | str]]) -> None:
        """See `Sysctls`."""
        for name, value in settings:
            self.write(name, value)


def _path(name: str) -> str:
    # As sysctl(8): whichever separator comes first is the separator; only the slash is needed here.
    return _ROOT + (name if "/" in name else name.replace(".", "/"))
