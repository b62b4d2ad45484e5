"""What a node must be for pods with IPv6 addresses: one that speaks IPv6 and forwards it."""

from cni.error_codes import NO_IPV6
from nodeplane.cnispec import CniError
from nodeplane.datapath.rtnl import Rtnl
from nodeplane.datapath.sysctl import Sysctls
from nodeplane.errors import KernelNotFoundError

_DISABLED = "net.ipv6.conf.all.disable_ipv6"
FORWARDING = "net.ipv6.conf.all.forwarding"


def require_ipv6(sysctls: Sysctls) -> None:
    """Refuse a node whose administrator switched IPv6 off: the pod would have an address that leads nowhere.

    Raises:
        CniError: it is off, or the kernel has none.
    """
    try:
        value = sysctls.read(_DISABLED)
    except KernelNotFoundError:
        value = "absent: the kernel has no IPv6"
    if value != "0":
        raise CniError(
            NO_IPV6, "the pod got an IPv6 address, but IPv6 is off on this node", f"{_DISABLED} is {value}"
        )


def ensure_forwarding(sysctls: Sysctls, host: Rtnl) -> bool:
    """Make the node a router of IPv6 if it is none; say whether it was none.

    IPv6 has one switch for all links (net/ipv6/ip6_output.c, ip6_forward). A router no longer listens to
    other routers unless told twice (accept_ra 2, Documentation/networking/ip-sysctl.rst), so links that did
    are told.
    """
    if sysctls.read(FORWARDING) == "1":
        return False
    for name in host.links():
        setting = f"net/ipv6/conf/{name}/accept_ra"
        try:
            if sysctls.read(setting) == "1":
                sysctls.write(setting, 2)
        except KernelNotFoundError:
            # The link has just gone, or has no IPv6 (its MTU is too small).
            continue
    sysctls.write(FORWARDING, 1)
    return True
