"""Carry a plan out: every step makes sure of its part, so that a repeated or resumed ADD ends the same.

A step that finds its part done leaves it, and one that finds something of another owner in its place fails.
"""

import logging

from cni.wiring import Plan, Side
from nodeplane.datapath.rtnl import ROUTE_PROTOCOL, Route, Rtnl
from nodeplane.datapath.sysctl import Sysctls
from nodeplane.errors import KernelExistsError, KernelNotFoundError

log = logging.getLogger(__name__)


def create_links(plan: Plan, host: Rtnl) -> None:
    """Create the veth pair, its far end straight in the pod's namespace."""
    host.add_veth(plan.host.link, plan.pod.link, plan.netns, plan.mtu_bytes)


def adopt_links(plan: Plan, host: Rtnl, pod: Rtnl) -> None:
    """Take over the veth pair of an earlier ADD, which may have had another MTU."""
    host.set_mtu(plan.host.link, plan.mtu_bytes)
    pod.set_mtu(plan.pod.link, plan.mtu_bytes)


def apply_plan(plan: Plan, host: Rtnl, pod: Rtnl, sysctls: Sysctls) -> None:
    """Carry out what a plan says of links that are there; `sysctls` are the host's.

    Raises:
        KernelExistsError: a route of another owner is in the way.
        KernelError: the kernel refused a step.
    """
    # First of all the sign whose link this is; see `cni.attachment.is_ours`.
    host.set_alias(plan.host.link, plan.alias)
    for name, value in plan.host.sysctls:
        sysctls.write(name, value)
    for rtnl, side in ((pod, plan.pod), (host, plan.host)):
        _apply_side(rtnl, side)


def remove_links(rtnl: Rtnl, name: str) -> None:
    """Delete a link, and with it its peer, addresses and routes; one that is gone is fine."""
    try:
        rtnl.delete_link(name)
    except KernelNotFoundError:
        log.debug("link is gone already link=%s", name)


def ensure_route(rtnl: Rtnl, route: Route) -> None:
    """Make a route be there, in place of another of ours through the same link.

    Raises:
        KernelExistsError: a route of another owner to the same destination is there, or one of ours that
            leads to another pod.
    """
    try:
        rtnl.add_route(route)
    except KernelExistsError:
        ours = [
            there
            for there in rtnl.routes(ROUTE_PROTOCOL, link=route.link)
            if there.destination == route.destination
        ]
        if not ours:
            raise
        if ours != [route]:
            rtnl.replace_route(route)


def _apply_side(rtnl: Rtnl, side: Side) -> None:
    held = rtnl.addresses(side.link)
    for address in side.addresses:
        if address not in held:
            rtnl.add_address(side.link, address)
    rtnl.set_up(side.link)
    for route in side.routes:
        ensure_route(rtnl, route)
