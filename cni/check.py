"""CHECK: whether a pod's network is still what ADD made of it.

What must be there is what the chain's last result has of ours (SPEC section 2, CHECK): a plugin behind us may
have taken an address or a route out of the result, moved a route to another table (sbr), or set another MAC,
which the result then says. What it may change without a word, it may: the MTU, the pod's settings, more
addresses and routes.
"""

from collections.abc import Collection, Iterator, Mapping

import msgspec

from cni.attachment import Attachment, build_attachment, is_ours
from cni.error_codes import NOT_AS_ADDED
from cni.features.feature import FEATURES
from cni.ipam_delegate import call_ipam
from cni.network_config import decode_network
from cni.pod import Pod
from cni.pod_netns import require_netns
from cni.prev_result import decode_result
from cni.wiring.plan import Plan, build_plan
from nodeplane.cniresult import Result
from nodeplane.cnispec import PLACE, CniError, Request
from nodeplane.datapath.rtnl import ROUTE_PROTOCOL, Address, Family, Interface, Link, Route, Rtnl, open_rtnl
from nodeplane.datapath.sysctl import KernelSysctls, Sysctls
from nodeplane.errors import ConfigError, KernelNotFoundError

_ALL_TABLES = 0
_FAMILIES: tuple[Family, Family] = (4, 6)


class Seen(msgspec.Struct, frozen=True):
    """What the kernel has of a pod; the routes are those that may be ours."""

    host: Link | None
    pod: Link | None
    addresses: Collection[Interface] = ()
    pod_routes: Collection[Route] = ()
    host_routes: Collection[Route] = ()
    sysctls: Mapping[str, str] = {}


class Told(msgspec.Struct, frozen=True):
    """What the last result has of ours."""

    host_mac: str
    pod_mac: str
    addresses: tuple[Address, ...]
    routes: frozenset[tuple[str, str]]


def check_attachment(request: Request) -> None:
    """Compare what a pod has with what it was given.

    Raises:
        CniError: something differs; the details say all of it.
        ConfigError: there is no result to compare with.
        NodeplaneError: the IPAM plugin found a difference.
    """
    network, attachment = decode_network(request.config), build_attachment(request)
    if network.prev_result is None:
        raise ConfigError(PLACE, "prevResult", "expected, but missing")
    path = require_netns(attachment, request.environ)
    told = read_told(attachment, decode_result(network.prev_result))
    sysctls = KernelSysctls()
    plan = build_plan(
        attachment,
        path,
        told.addresses,
        mtu_bytes=network.mtu_bytes,
        is_arp_strict=sysctls.read("net.ipv4.conf.all.arp_ignore") != "0",
        host_mac=told.host_mac,
        is_loose=not network.is_route_back_needed,
    )
    with open_rtnl() as host, open_rtnl(path) as pod:
        seen = _look(plan, host, pod, sysctls)
    found = [*differences(attachment, plan, told, seen)]
    found += [line for feature in FEATURES for line in feature.check(Pod(request, plan))]
    if found:
        raise CniError(NOT_AS_ADDED, "the pod's network is not as it was added", "; ".join(found))
    call_ipam(network.ipam.type, "CHECK", request)


def read_told(attachment: Attachment, result: Result) -> Told:
    """Read what a result has of an attachment.

    Raises:
        CniError: it does not have the attachment's interface.
    """
    names = {(item.name, bool(item.sandbox)): index for index, item in enumerate(result.interfaces)}
    index = names.get((attachment.interface, True))
    if index is None:
        raise CniError(
            NOT_AS_ADDED,
            "the pod's network is not as it was added",
            f"prevResult has no interface {attachment.interface} in a sandbox",
        )
    host = names.get((attachment.host_link, False))
    return Told(
        host_mac="" if host is None else result.interfaces[host].mac,
        pod_mac=result.interfaces[index].mac,
        addresses=tuple(ip.address.ip for ip in result.ips if ip.interface in {index, None}),
        routes=frozenset((str(route.dst), str(route.gateway or "")) for route in result.routes),
    )


def differences(attachment: Attachment, plan: Plan, told: Told, seen: Seen) -> Iterator[str]:
    """Say what is missing or wrong, a line for each."""
    if seen.pod is None:
        yield f"interface {plan.pod.link} is missing in the pod"
        return
    if seen.host is None:
        yield f"link {plan.host.link} is missing"
        return
    if not is_ours(attachment, seen.host, seen.pod) or seen.host.peer_index != seen.pod.index:
        yield f"link {plan.host.link} is not the other end of {plan.pod.link}"
        return
    for link in (seen.host, seen.pod):
        if not link.is_up:
            yield f"{link.name} is down"
    for told_mac, link in ((told.host_mac, seen.host), (told.pod_mac, seen.pod)):
        if told_mac and told_mac.lower() != link.mac:
            yield f"{link.name} has MAC {link.mac}, not {told_mac.lower()}"
    for address in plan.pod.addresses:
        if address not in seen.addresses:
            yield f"{plan.pod.link} lacks address {address}"
    yield from _missing_routes(plan, told, seen)
    for name, value in plan.host.sysctls:
        if seen.sysctls.get(name) != str(value):
            yield f"{name} is {seen.sysctls.get(name, 'absent')}, not {value}"


def _missing_routes(plan: Plan, told: Told, seen: Seen) -> Iterator[str]:
    in_pod = {(route.destination, route.gateway, route.link) for route in seen.pod_routes}
    for route in plan.pod.routes:
        if (str(route.destination), str(route.gateway or "")) not in told.routes:
            # A plugin behind us took it out.
            continue
        if (route.destination, route.gateway, route.link) not in in_pod:
            yield f"the pod lacks route {route}"
    for route in plan.host.routes:
        if route not in seen.host_routes:
            yield f"the node lacks route {route}"


def _look(plan: Plan, host: Rtnl, pod: Rtnl, sysctls: Sysctls) -> Seen:
    host_link, pod_link = host.find_link(plan.host.link), pod.find_link(plan.pod.link)
    if host_link is None or pod_link is None:
        return Seen(host_link, pod_link)
    families = [family for family in _FAMILIES if family in plan.families]
    own = (plan.host.link, "lo")
    return Seen(
        host=host_link,
        pod=pod_link,
        addresses={each for family in families for each in pod.addresses(pod_link.name, family)},
        pod_routes=[
            route
            for family in families
            for route in pod.routes(table=_ALL_TABLES, link=pod_link.name, family=family)
        ],
        host_routes=[
            route
            for family in families
            for link in own
            for route in host.routes(ROUTE_PROTOCOL, link=link, family=family)
        ],
        sysctls=_read_sysctls(plan, sysctls),
    )


def _read_sysctls(plan: Plan, sysctls: Sysctls) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, _ in plan.host.sysctls:
        try:
            found[name] = sysctls.read(name)
        except KernelNotFoundError:
            continue
    return found
