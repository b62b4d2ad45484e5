"""A link's name and MTU without the lock of rtnetlink.

RTM_GETLINK waits for whoever holds that lock, for example the end of another namespace: milliseconds, before
a pod's start has begun. These two requests do with RCU (net/core/dev_ioctl.c, dev_ifsioc_locked). They can be
made on any socket and are about its namespace.
"""

import errno
import fcntl
import struct

from nodeplane.errors import kernel_error

_SIOCGIFNAME, _SIOCGIFMTU = 0x8910, 0x8921  # linux/sockios.h
_REQUEST = struct.Struct("16si20x")  # struct ifreq: the name, and an int of its union


def read_name(operation: str, descriptor: int, index: int) -> str:
    """Return the name of the link of an index.

    Raises:
        KernelNotFoundError: there is none (ENODEV).
    """
    name, _ = _ask(operation, descriptor, _SIOCGIFNAME, _REQUEST.pack(b"", index))
    return name.partition(b"\0")[0].decode()


def read_mtu(operation: str, descriptor: int, name: str) -> int:
    """Return a link's MTU in bytes.

    Raises:
        KernelNotFoundError: there is no such link (ENODEV).
    """
    _, mtu_bytes = _ask(operation, descriptor, _SIOCGIFMTU, _REQUEST.pack(name.encode(), 0))
    return mtu_bytes


def _ask(operation: str, descriptor: int, code: int, request: bytes) -> tuple[bytes, int]:
    try:
        name, number = _REQUEST.unpack(fcntl.ioctl(descriptor, code, request))
    except OSError as exc:
        raise kernel_error(operation, exc.errno or errno.EIO) from exc
    return name, number
