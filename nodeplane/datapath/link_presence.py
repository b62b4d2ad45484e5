"""Whether a link is there, for callers that as a rule hear that it is not, and open no `Rtnl` for that."""

import errno
from pathlib import Path

from nodeplane.errors import kernel_error

# A directory for each link of the calling thread's namespace (net/ipv4/devinet.c). Not SIOCGIFINDEX: asked by
# root for a link that is not there, the kernel runs modprobe for it, twice (net/core/dev_ioctl.c, dev_load).
_LINKS = Path("/proc/sys/net/ipv4/conf")
_NO_LINKS = frozenset({"", "all", "default"})


def has_link(name: str) -> bool:
    """Say whether the calling thread's namespace has a link of that name, which can do IPv4 (an MTU from 68).

    Raises:
        KernelError: the kernel does not say.
    """
    try:
        (_LINKS / name).stat()
    except FileNotFoundError:
        return False
    except OSError as exc:
        raise kernel_error(f"look up link {name}", exc.errno or errno.EIO) from exc
    return name not in _NO_LINKS
