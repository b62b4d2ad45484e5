"""The fake's routes: what the kernel refuses, what it fills in, and where a packet goes."""

import errno
from collections.abc import Iterator
from ipaddress import IPv6Address, ip_network

import msgspec

from nodeplane.datapath.rtnl.address import Address, Family, Network
from nodeplane.datapath.rtnl.fake_state import RouteKey, State
from nodeplane.datapath.rtnl.route import LOCAL_TABLE, MAIN_TABLE, NextHop, Route
from nodeplane.errors import kernel_error

# linux/ipv6_route.h: IP6_RT_PRIO_USER.
_IPV6_METRIC = 1024


def routes(state: State, protocol: int | None, table: int, link: str | None, family: Family) -> list[Route]:
    """Return a table's routes of a family; table 0 means all."""
    if link is not None:
        state.link(f"list routes of {link}", link)
    return [
        route
        for _, route in sorted(state.routes.items(), key=lambda item: str(item[0]))
        if table in {0, route.table}
        and route.destination.version == family
        and protocol in {None, route.protocol}
        and (link in {None, route.link} or link in {hop.link for hop in route.next_hops})
    ]


def add(state: State, route: Route) -> None:
    """Add a route, in nobody's place."""
    operation = f"add route {route}"
    if route.link is not None:
        state.link(operation, route.link)
    if _key(_as_kept(route)) in state.routes:
        raise kernel_error(operation, errno.EEXIST)
    put(state, "add", route)


def put(state: State, verb: str, route: Route) -> None:
    """Make a route, in place of one with its key."""
    operation = f"{verb} route {route}"
    route = _as_kept(route)
    if route.is_onlink:
        _check_onlink(state, operation, route)
    elif route.next_hops:
        hops = tuple(
            NextHop(hop.gateway, _gateway_link(state, operation, hop.gateway, hop.link))
            for hop in route.next_hops
        )
        route = msgspec.structs.replace(route, next_hops=hops)
    elif route.gateway is not None:
        link = _gateway_link(state, operation, route.gateway, route.link)
        route = msgspec.structs.replace(route, link=link)
    elif route.link is not None:
        if not state.link(operation, route.link).is_up and route.kind == "unicast":
            raise kernel_error(operation, errno.ENETDOWN)
    elif route.kind != "blackhole":
        raise kernel_error(operation, errno.ENODEV)
    state.routes[_key(route)] = route
    state.writes += 1


def delete(state: State, route: Route) -> None:
    """Delete the route that `route` describes."""
    if route.link is not None:
        state.link(f"del route {route}", route.link)
    route = _as_kept(route)
    for key, there in state.routes.items():
        if _agrees(there, route):
            del state.routes[key]
            state.writes += 1
            return
    raise kernel_error(f"del route {route}", errno.ESRCH)


def drop(state: State, link: str) -> None:
    """Forget the routes through a link."""
    state.routes = {key: route for key, route in state.routes.items() if route.link != link}


def egress(state: State, destination: Address) -> str:
    """Return the name of the link that packets to an address leave by."""
    operation = f"look up the route to {destination}"
    found = max(_covering(state, destination), key=lambda hit: hit[0].prefixlen, default=None)
    if found is None:
        raise kernel_error(operation, errno.ENETUNREACH)
    if found[1] is None:
        raise kernel_error(operation, errno.EINVAL)
    return found[1]


def is_own(state: State, address: Address) -> bool:
    """Say whether packets to an address are for the namespace itself."""
    held = (item.ip for addresses in state.addresses.values() for item in addresses)
    local = (route.destination for route in state.routes.values() if route.kind == "local")
    return address in held or any(address in network for network in local)


def _check_onlink(state: State, operation: str, route: Route) -> None:
    if route.link is None:
        raise kernel_error(operation, errno.ENODEV)
    if not state.link(operation, route.link).is_up:
        raise kernel_error(operation, errno.ENETDOWN)
    gateway = route.gateway
    if not isinstance(gateway, IPv6Address) or gateway.is_link_local:
        return
    # net/ipv6/route.c, ip6_route_check_nh_onlink: who leads there through another link is in the way.
    refusing = {there.destination for there in state.routes.values() if there.kind == "blackhole"}
    for network, link in sorted(_covering(state, gateway), key=lambda hit: -hit[0].prefixlen)[:1]:
        if network.prefixlen and link != route.link and network not in refusing:
            raise kernel_error(operation, errno.EINVAL)


def _gateway_link(state: State, operation: str, gateway: Address, link: str | None) -> str:
    """Find the link that a gateway is reached by: on its own subnet, or by an on-link route."""
    if link is not None:
        state.link(operation, link)
    hits = [
        (network.prefixlen, name)
        for network, name in _on_link(state)
        if gateway in network and link in {None, name}
    ]
    if not hits:
        raise kernel_error(operation, errno.ENETUNREACH)
    return max(hits)[1]


def _on_link(state: State) -> Iterator[tuple[Network, str]]:
    """Yield the networks that links reach without a gateway."""
    for name, addresses in state.addresses.items():
        if state.links[name].is_up:
            yield from ((address.network, name) for address in addresses)
    for route in state.routes.values():
        if route.kind == "unicast" and route.gateway is None and route.link is not None:
            yield route.destination, route.link


def _covering(state: State, destination: Address) -> Iterator[tuple[Network, str | None]]:
    """Yield the routes to an address: the network and the link, which a blackhole has not."""
    for name, addresses in state.addresses.items():
        if any(address.ip == destination for address in addresses):
            yield ip_network(destination), "lo"
        elif state.links[name].is_up:
            yield from ((address.network, name) for address in addresses if destination in address.network)
    for route in state.routes.values():
        if destination in route.destination and route.table in {MAIN_TABLE, LOCAL_TABLE}:
            yield route.destination, route.link


def _key(route: Route) -> RouteKey:
    return route.table, route.destination, route.metric


def _as_kept(route: Route) -> Route:
    """Return a route as it is read back."""
    if route.destination.version == 4:
        return route
    metric = 0 if route.metric == _IPV6_METRIC else route.metric
    is_bound = route.kind in {"local", "blackhole"}
    link = "lo" if is_bound and route.link is None else route.link
    return msgspec.structs.replace(route, scope="global", metric=metric, link=link)


def _agrees(there: Route, wanted: Route) -> bool:
    """Say whether the kernel would take `wanted`, which may leave some fields out, for `there`."""
    full = msgspec.structs.replace(
        wanted,
        gateway=wanted.gateway or there.gateway,
        next_hops=wanted.next_hops or there.next_hops,
        is_onlink=wanted.is_onlink or there.is_onlink,
        link=wanted.link or there.link,
        source=wanted.source or there.source,
        metric=wanted.metric or there.metric,
    )
    return full == there
