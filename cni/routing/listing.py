"""What each route of a node is for: rows for people, out of the kernel's routes and the datastore.

Nothing of the running agent is needed; it only adds when it wrote a route, which the kernel does not keep.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from ipaddress import ip_network

import msgspec

from cni.routing.ownership import is_agents
from cni.routing.vxlan import LINK_NAMES
from ipam.model import Block, Mode, Pool
from ipam.watch import Tunnel
from nodeplane.datapath.rtnl import ROUTE_PROTOCOL, Address, Network, Route
from nodeplane.runtime.output import Row

_KERNEL, _BIRD = 2, 12
# /etc/iproute2/rt_protos has more; an unknown one is its number.
_PROTOCOLS = {
    ROUTE_PROTOCOL: "nodeplane",
    0: "unspec",
    1: "redirect",
    _KERNEL: "kernel",
    3: "boot",
    4: "static",
    9: "ra",
    11: "zebra",
    _BIRD: "bird",
    16: "dhcp",
    186: "bgp",
}


class Known(msgspec.Struct, frozen=True):
    """What the datastore has, and what else is known.

    Attributes:
        node: This node's name.
        pools: All pools.
        blocks: All blocks.
        tunnels: The nodes' own addresses in pools.
        resolved: Gateways on VXLAN links that have a neighbour and a forwarding entry.
        sessions: The states of the BGP sessions that a destination's next hop was learned by.
        written_s: When the agent wrote the route to a destination, by its text, in seconds since the epoch.
    """

    node: str
    pools: tuple[Pool, ...] = ()
    blocks: tuple[Block, ...] = ()
    tunnels: tuple[Tunnel, ...] = ()
    resolved: Container[Address] = frozenset()
    sessions: Mapping[tuple[Network, Address], frozenset[str]] = {}
    written_s: Mapping[str, float] = {}


class _Purpose(msgspec.Struct, frozen=True):
    origin: str
    mode: Mode | None = None


def describe_routes(
    routes: Iterable[Route], known: Known, now_s: float, *, has_pods: bool = False
) -> list[Row]:
    """Return a row for each route inside the pools and each of ours, and for each block that lacks one.

    Routes to this node's own pods are left out, unless `has_pods`: there is one for each.
    """
    purposes = dict(_purposes(known))
    rows: dict[tuple[Network, int], Row] = {}
    for route in routes:
        purpose = purposes.get(route.destination) or _guess(route, known)
        is_pods = purpose.origin == "pod"
        if purpose.origin and (has_pods or not is_pods):
            rows[route.destination, route.metric] = _row(route, purpose, known, now_s)
    there = {destination for destination, _ in rows}
    for destination, purpose in purposes.items():
        if destination not in there and _needs_route(purpose):
            rows[destination, 0] = {**_EMPTY, "destination": str(destination), "origin": purpose.origin} | {
                "mode": purpose.mode,
                "state": "missing",
            }
    ordered = sorted(rows.items(), key=lambda item: (item[0][0].version, item[0][0], item[0][1]))
    return [row for _, row in ordered]


_EMPTY: Row = {
    "destination": "",
    "origin": "",
    "mode": "",
    "via": [],
    "dev": [],
    "protocol": "",
    "state": "",
    "age_s": None,
}


def _purposes(known: Known) -> Iterator[tuple[Network, _Purpose]]:
    """Yield what the datastore says of networks; of two that are equal, the later one counts."""
    modes = {pool.name: pool.mode for pool in known.pools if not pool.on_link}
    linked = {pool.name for pool in known.pools if pool.on_link}
    for block in known.blocks:
        if block.pool in linked:
            continue
        mode = modes.get(block.pool, "direct")
        owner = f"block of {block.node}" if block.node else "block of no node"
        yield block.network, _Purpose("own block" if block.node == known.node else owner, mode)
        for item in block.lent:
            destination = ip_network(block.network[item.ordinal])
            yield destination, _Purpose(f"borrowed by {item.node}", mode)
    for tunnel in known.tunnels:
        yield ip_network(tunnel.address), _Purpose(f"tunnel of {tunnel.node}", modes.get(tunnel.pool))


def _guess(route: Route, known: Known) -> _Purpose:
    """Say what a route is for that the datastore does not speak of."""
    if route.protocol == ROUTE_PROTOCOL:
        if is_agents(route):
            return _Purpose("stale")
        return _Purpose("pod") if route.kind == "unicast" else _Purpose("")
    destination = route.destination
    is_inside = any(
        pool.network.version == destination.version
        and pool.network.overlaps(destination)
        and destination.prefixlen >= pool.network.prefixlen
        for pool in known.pools
    )
    return _Purpose("foreign" if is_inside and route.protocol != _KERNEL else "")


def _needs_route(purpose: _Purpose) -> bool:
    # An address that is borrowed here has its pod's route, which a pod that starts has not yet.
    return purpose.origin.startswith(("block of", "own block")) and purpose.origin != "block of no node"


def _row(route: Route, purpose: _Purpose, known: Known, now_s: float) -> Row:
    hops: list[tuple[Address | None, str | None]] = [(hop.gateway, hop.link) for hop in route.next_hops]
    hops = hops or [(route.gateway, route.link)]
    written_s = known.written_s.get(str(route.destination))
    is_ours = route.protocol == ROUTE_PROTOCOL
    return {
        "destination": str(route.destination),
        "origin": purpose.origin,
        "mode": purpose.mode or "",
        "via": [str(gateway) for gateway, _ in hops if gateway]
        or ([route.kind] if route.kind != "unicast" else []),
        "dev": [link for _, link in hops if link and route.kind == "unicast"],
        "protocol": _PROTOCOLS.get(route.protocol, str(route.protocol)),
        "state": _state(route, purpose, known),
        "age_s": round(max(0.0, now_s - written_s), 1) if is_ours and written_s is not None else None,
    }


def _state(route: Route, purpose: _Purpose, known: Known) -> str:
    """Say whether packets get anywhere, as far as this node can tell."""
    if route.link in LINK_NAMES.values() and route.gateway is not None:
        return "resolved" if route.gateway in known.resolved else "unresolved"
    if route.protocol == _BIRD:
        gateways = [hop.gateway for hop in route.next_hops] if route.next_hops else [route.gateway]
        ways = [(route.destination, gateway) for gateway in gateways if gateway is not None]
        return ", ".join(sorted({state for way in ways for state in known.sessions.get(way, ())}))
    if route.protocol == ROUTE_PROTOCOL and purpose.mode == "bgp" and route.kind == "unicast":
        # Of before; it goes when bird's has come.
        return "until BGP"
    return "active" if route.protocol == ROUTE_PROTOCOL else ""
