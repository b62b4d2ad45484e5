"""Kernel settings below net., as sysctl(8) names them, of the calling thread's network namespace.

To read or write those of another namespace, call inside `nodeplane.datapath.netns.inside`: /proc/sys/net
shows the namespace of the thread that opens the file (kernel: net/sysctl_net.c).
"""

from pathlib import Path

from nodeplane.errors import kernel_error

_ROOT = Path("/proc/sys")


def read(name: str) -> str:
    """Read one setting, e.g. `net.ipv4.ip_forward`.

    A link's name may hold dots; write it between slashes then: `net/ipv4/conf/eth0.7/forwarding`.

    Raises:
        KernelNotFoundError: this kernel or namespace has no such setting, or the link is gone.
    """
    try:
        return _path(name).read_text(encoding="ascii").strip()
    except OSError as exc:
        raise kernel_error(f"read sysctl {name}", exc.errno or 0) from exc


def write(name: str, value: int | str) -> None:
    """Write one setting.

    Raises:
        KernelNotFoundError: this kernel or namespace has no such setting, or the link is gone.
        KernelPermissionError: only root may, and some settings only outside of namespaces.
        KernelError: the kernel refuses the value (EINVAL).
    """
    try:
        # Without O_CREAT and O_TRUNC, so that a wrong name is "not found" and not "permission denied".
        with _path(name).open("r+", encoding="ascii") as file:
            file.write(f"{value}\n")
    except OSError as exc:
        raise kernel_error(f"write sysctl {name}={value}", exc.errno or 0) from exc


def _path(name: str) -> Path:
    # As sysctl(8): whichever separator comes first is the separator.
    if "/" in name:
        return _ROOT / name
    return _ROOT / name.replace(".", "/")
