"""Carry a plan out: every step makes sure of its part, so that a repeated or resumed ADD ends the same.

A step that finds its part done leaves it, and one that finds something of another owner in its place fails.
"""

import logging
from collections.abc import Iterable

from cni.wiring.plan import Plan, Side
from nodeplane.datapath.rtnl import (
    ROUTE_PROTOCOL,
    AddressAddition,
    Change,
    LinkChange,
    Route,
    RouteAddition,
    Rtnl,
)
from nodeplane.datapath.sysctl import Sysctls
from nodeplane.errors import KernelError, KernelExistsError, KernelNotFoundError

log = logging.getLogger(__name__)


def create_links(plan: Plan, host: Rtnl) -> None:
    """Create the veth pair, its far end straight in the pod's namespace, and write whose it is on it."""
    host.add_veth(
        plan.host.link,
        plan.pod.link,
        plan.netns,
        plan.mtu_bytes,
        mac=plan.host.mac,
        peer_mac=plan.pod.mac,
    )
    # First of all the sign whose link this is; see `cni.attachment.is_ours`.
    host.set_alias(plan.host.link, plan.alias)


def adopt_links(plan: Plan, host: Rtnl, pod: Rtnl) -> None:
    """Take over the veth pair of an earlier ADD, which may have had another MTU or no sign yet."""
    host_link = LinkChange(plan.host.link, mtu_bytes=plan.mtu_bytes, mac=plan.host.mac, alias=plan.alias)
    pod_link = LinkChange(plan.pod.link, mtu_bytes=plan.mtu_bytes, mac=plan.pod.mac)
    for rtnl, change in ((host, host_link), (pod, pod_link)):
        for refusal in rtnl.apply([change]).values():
            raise refusal


def apply_plan(plan: Plan, host: Rtnl, pod: Rtnl, host_sysctls: Sysctls, pod_sysctls: Sysctls) -> None:
    """Carry out what a plan says of links that are there.

    Raises:
        KernelExistsError: a route of another owner is in the way.
        KernelError: the kernel refused a step.
    """
    # Before the links are up: what IPv6 does when one comes up (its own address, router solicitations,
    # detection of duplicates) depends on them.
    host_sysctls.write_all(plan.host.sysctls)
    if plan.pod.sysctls:
        pod_sysctls.write_all(plan.pod.sysctls)
    for rtnl, side in ((pod, plan.pod), (host, plan.host)):
        _apply_side(rtnl, side)


def remove_links(rtnl: Rtnl, names: Iterable[str]) -> None:
    """Delete links, and with each its peer, addresses and routes; one that is gone is fine."""
    for name in names:
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
    except KernelExistsError as exc:
        _take_over(rtnl, route, exc)


def _apply_side(rtnl: Rtnl, side: Side) -> None:
    """Send all of one side at once; what is there already is looked at afterwards."""
    changes: list[Change] = [
        LinkChange(side.link, is_up=True),
        *(AddressAddition(side.link, address) for address in side.addresses),
        *(RouteAddition(route) for route in side.routes),
    ]
    for position, refusal in sorted(rtnl.apply(changes).items()):
        _judge(rtnl, changes[position], refusal)


def _judge(rtnl: Rtnl, change: Change, refusal: KernelError) -> None:
    """Let a refusal pass if what was wanted is there.

    Raises:
        KernelError: it is not.
    """
    match change, refusal:
        case AddressAddition(), KernelExistsError():
            # On this very link, which is ours: an earlier ADD gave it, or the kernel (IPv6, link-local).
            return
        case RouteAddition(route), KernelExistsError():
            _take_over(rtnl, route, refusal)
        case _:
            raise refusal


def _take_over(rtnl: Rtnl, route: Route, refusal: KernelExistsError) -> None:
    there = rtnl.routes(ROUTE_PROTOCOL, table=route.table, link=route.link, family=route.destination.version)
    same = [each for each in there if (each.destination, each.metric) == (route.destination, route.metric)]
    if not same:
        raise refusal
    if same != [route]:
        rtnl.replace_route(route)
