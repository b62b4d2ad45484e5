"""The settings that make a node a router; whoever takes them away stops its pods' traffic."""

import logging
from contextlib import suppress

from cni.wiring import ipv6_node
from nodeplane.datapath.rtnl import Rtnl
from nodeplane.datapath.sysctl import Sysctls
from nodeplane.errors import KernelNotFoundError

log = logging.getLogger(__name__)

_FORWARD = "net.ipv4.ip_forward"


def ensure_forwarding(sysctls: Sysctls, rtnl: Rtnl, *, has_ipv6: bool) -> None:
    """Make this node a router if it is none: the kernel then forwards on every link."""
    if sysctls.read(_FORWARD) != "1":
        sysctls.write(_FORWARD, 1)
        log.info("forwarding was off, now it is on setting=%s", _FORWARD)
    if has_ipv6:
        with suppress(KernelNotFoundError):
            # A kernel without IPv6 has no pods with IPv6 either.
            if ipv6_node.ensure_forwarding(sysctls, rtnl):
                log.info("forwarding was off, now it is on setting=%s", ipv6_node.FORWARDING)
