"""The configuration of BIRD 2 on a lab's routers: leafs, spines, and whatever else has an AS number. Pure.

A session for each family, between the two's addresses on the segment that they share. Nodes of the router's
own AS are its clients as a route reflector (RFC 4456); what it tells them of other ASes has the router as its
next hop, since nothing else would lead there.
"""

from collections.abc import Iterator
from ipaddress import IPv4Interface

import msgspec

from netns_lab.address_plan import AddressPlan, Place, build_address_plan
from netns_lab.topology import PeerSpec, RouterSpec, Topology
from nodeplane.datapath.rtnl import Address, Interface

_HEAD = """\
log stderr all;
router id {router_id};
graceful restart wait 30;
protocol device {{ }}
protocol direct {{ ipv4; ipv6; }}
protocol kernel kernel4 {{
  ipv4 {{ import none; export where source != RTS_DEVICE; }};
  merge paths on;
  graceful restart on;
}}
protocol kernel kernel6 {{
  ipv6 {{ import none; export where source != RTS_DEVICE; }};
  merge paths on;
  graceful restart on;
}}
protocol bfd {{ }}
"""


class _Session(msgspec.Struct, frozen=True):
    """A session: with whom, both addresses, and the other's AS number if it is not the router's."""

    peer: PeerSpec
    name: str
    own: Interface
    neighbor: Address
    asn: int | None


def build_bird_configs(topology: Topology) -> dict[str, bytes]:
    """Return the configuration of each router that speaks BGP, by its name."""
    plan = build_address_plan(topology)
    return {
        router.name: _config(topology, plan, router).encode()
        for router in topology.routers
        if router.asn is not None
    }


def _config(topology: Topology, plan: AddressPlan, router: RouterSpec) -> str:
    own = plan.routers[router.name]
    # Every segment has an IPv4 network.
    router_id = next(each.ip for place in own for each in place.addresses if isinstance(each, IPv4Interface))
    parts = [_HEAD.format(router_id=router_id)]
    for peer in router.peers:
        sessions = _to_nodes(plan, own, peer) if peer.segment else _to_router(topology, plan, own, peer)
        parts += (_render(router, each) for each in sessions)
    return "".join(parts)


def _to_nodes(plan: AddressPlan, own: tuple[Place, ...], peer: PeerSpec) -> Iterator[_Session]:
    here = next(place for place in own if place.segment == peer.segment)
    for name, node in plan.nodes.items():
        if node.segment == peer.segment:
            for address, other in zip(here.addresses, node.addresses, strict=True):
                yield _Session(peer, name, address, other.ip, peer.asn)


def _to_router(
    topology: Topology, plan: AddressPlan, own: tuple[Place, ...], peer: PeerSpec
) -> Iterator[_Session]:
    asn = next(other.asn for other in topology.routers if other.name == peer.router)
    theirs = {place.segment: place for place in plan.routers[peer.router]}
    shared = next(place for place in own if place.segment in theirs)
    for address, other in zip(shared.addresses, theirs[shared.segment].addresses, strict=True):
        yield _Session(peer, peer.router, address, other.ip, asn)


def _render(router: RouterSpec, session: _Session) -> str:
    peer, own = session.peer, session.own
    remote = session.asn or router.asn
    is_client = remote == router.asn
    lines = [
        f"local {own.ip} as {router.asn};",
        f"neighbor {session.neighbor} as {remote};",
        "graceful restart on;",
        "connect retry time 1;",
        "connect delay time 1;",
        "error wait time 1, 4;",
        # A node connects to its router, of two routers the one with the higher address: two that connect to
        # one another after a restart may lose what was kept for it (bird's proto/bgp/bgp.c,
        # bgp_incoming_connection).
        *(["passive on;"] if peer.segment or own.ip.packed < session.neighbor.packed else []),
        *(["rr client;"] if is_client and peer.segment else []),
        *([f'password "{peer.password}";'] if peer.password else []),
        *(["bfd on;"] if peer.bfd else []),
        f"ipv{own.version} {{ import all; export all;{' next hop self ebgp;' if is_client else ''} }};",
    ]
    body = "".join(f"  {line}\n" for line in lines)
    # BIRD's names have no dashes, ours no underscores.
    name = f"to_{session.name.replace('-', '_')}_v{own.version}"
    return f"protocol bgp {name} {{\n{body}}}\n"
