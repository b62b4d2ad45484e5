"""Whom a node speaks BGP to: every other node, or reflectors and their clients, and routers of its rack.

    mesh                    node ── node, each pair
    route reflectors        client ── each of its reflectors;  reflector ── reflector
    peers                   node ── router, for the nodes that the peer's selector names

IPv4 and IPv6 are sessions of their own, between addresses of the family, so that next hops are what the
session itself reaches.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address
from typing import Literal

import msgspec

from cni.bgp.config import BgpConfig, Community, Peer, Reflectors, Timers
from cni.routing.peers import read_peer
from ipam.model import Address, Network
from ipam.selector import selects
from nodeplane.kube.objects import Node

AS_NUMBER = ("nodeplane.io/bgp-as-number", "projectcalico.org/ASNumber")
ROUTER_ID = ("nodeplane.io/bgp-router-id",)
_AS_NUMBER_DIGITS = 10

Role = Literal["node", "client", "reflector", "peer"]


class Speaker(msgspec.Struct, frozen=True):
    """A node as BGP sees it; a family without an address has no sessions.

    `is_named` says that its router id was given to it, by an annotation.
    """

    name: str
    as_number: int
    router_id: IPv4Address
    addresses: tuple[Address, ...]
    labels: Mapping[str, str]
    is_named: bool = False

    def address(self, version: int) -> Address | None:
        """Return its address of a family."""
        return next((item for item in self.addresses if item.version == version), None)


class Neighbor(msgspec.Struct, frozen=True, kw_only=True):
    """One session.

    Attributes:
        protocol: bird's name for it, which lasts as long as the session is to last.
        role: What the neighbour is to this node: a node of the mesh (or this client's reflector), a client of
            this reflector, another reflector, a router outside of the cluster.
        local: Our own address of the session; None is bird's choice.
        is_direct: The neighbour is on a link of ours.
        cluster_id: Of a reflector, for its client.
        announces_all: What others announced goes out too.
        is_passive: The neighbour connects to us, and we not to it.
    """

    protocol: str
    name: str
    role: Role
    address: Address
    as_number: int
    port: int
    local: Address | None
    timers: Timers
    is_direct: bool = False
    multihop: int = 0
    ttl_security: bool = False
    cluster_id: IPv4Address | None = None
    announces_all: bool = False
    is_passive: bool = False
    keeps_next_hop: bool = False
    max_prefixes: int = 0
    allow_local_as: int = 0
    communities: tuple[Community, ...] = ()
    import_only: tuple[Network, ...] = ()


def read_speakers(config: BgpConfig, nodes: Iterable[Node]) -> tuple[dict[str, Speaker], list[str]]:
    """Return all nodes as BGP sees them, by name, and what is wrong with their annotations."""
    speakers: dict[str, Speaker] = {}
    wrong: list[str] = []
    for node in nodes:
        name, annotations = node.metadata.name, node.metadata.annotations or {}
        peer = read_peer(node)
        found = (peer.address(4), peer.address(6))
        addresses = tuple(address for address in found if address is not None)
        as_number, router_id, is_named = config.as_number, _router_id(name, addresses), False
        for key in _given(AS_NUMBER, annotations):
            text = annotations[key]
            # No longer than an AS number: Python refuses to read very long ones.
            number = int(text) if text.isdecimal() and len(text) <= _AS_NUMBER_DIGITS else 0
            if 1 <= number < 2**32 - 1:
                as_number = number
            else:
                wrong.append(f"Node {name}: {key}: expected an AS number, got {annotations[key]!r}")
        for key in _given(ROUTER_ID, annotations):
            try:
                router_id = IPv4Address(annotations[key])
            except ValueError:
                wrong.append(f"Node {name}: {key}: expected four numbers, got {annotations[key]!r}")
            else:
                is_named = True
        speakers[name] = Speaker(name, as_number, router_id, addresses, node.labels, is_named)
    return speakers, wrong


def keep_router_id(own: Speaker, current: IPv4Address | None, others: Iterable[Speaker]) -> Speaker:
    """Return a node with the router id that its bird has: another one would end all its sessions.

    An annotation wins, and so does another node that has this very number by now (RFC 6286, section 2.1: it
    is unique inside an AS).
    """
    taken = {number for item in others for number in (item.router_id, *item.addresses)}
    if current is None or own.is_named or current in taken:
        return own
    return msgspec.structs.replace(own, router_id=current)


def choose_by_address(own: Speaker, others: Iterable[Speaker]) -> tuple[list[Speaker], list[str]]:
    """Return the other nodes, each address at one of them alone, and what is wrong with the rest.

    There is one speaker at an address. It is our own, or that of the first node by name: a Node that came
    anew under another name is what makes two of them, and both names lead to the same bird.
    """
    taken = dict.fromkeys(own.addresses, own.name)
    found: list[Speaker] = []
    wrong: list[str] = []
    for other in sorted(others, key=lambda item: item.name):
        for address in other.addresses:
            if address in taken:
                wrong.append(f"Node {other.name}: InternalIP {address}: Node {taken[address]} has it too")
        left = tuple(address for address in other.addresses if address not in taken)
        found.append(msgspec.structs.replace(other, addresses=left))
        taken |= dict.fromkeys(left, other.name)
    return found, wrong


def build_neighbors(config: BgpConfig, own: Speaker, others: Sequence[Speaker]) -> tuple[Neighbor, ...]:
    """Build a node's sessions, in an order that depends on names alone."""
    found: list[Neighbor] = []
    for other in sorted(others, key=lambda item: item.name):
        role = _role(config, own, other)
        if role is not None:
            found += _to_node(config, own, other, *role)
    for peer in sorted(config.peers, key=lambda item: item.name):
        if selects(peer.node_selector, own.labels):
            found.append(_to_peer(own, peer))
    return tuple(found)


def is_reflector(config: BgpConfig, node: Speaker) -> bool:
    """Say whether a node reflects what it learns."""
    return _reflectors(config, node) is not None


def _role(config: BgpConfig, own: Speaker, other: Speaker) -> tuple[Role, IPv4Address | None] | None:
    """Say what another node is to this one; None if they do not speak to each other."""
    if config.mesh:
        return "node", None
    ours, theirs = _reflectors(config, own), _reflectors(config, other)
    if ours is not None and theirs is not None:
        return "reflector", None
    if ours is not None:
        return ("client", ours.cluster_id) if selects(ours.clients, other.labels) else None
    if theirs is not None:
        return ("node", None) if selects(theirs.clients, own.labels) else None
    return None


def _reflectors(config: BgpConfig, node: Speaker) -> Reflectors | None:
    return next((item for item in config.route_reflectors if selects(item.node_selector, node.labels)), None)


def _to_node(
    config: BgpConfig, own: Speaker, other: Speaker, role: Role, cluster_id: IPv4Address | None
) -> Iterator[Neighbor]:
    is_internal = own.as_number == other.as_number
    for version in (4, 6):
        local, address = own.address(version), other.address(version)
        if local is None or address is None or local == address:
            continue
        yield Neighbor(
            protocol=_protocol_name("node", other.name, version),
            name=other.name,
            role=role,
            address=address,
            as_number=other.as_number,
            port=config.port,
            local=local,
            timers=config.nodes,
            # Nodes may be in different subnets; of the same AS this is what bird takes anyway.
            multihop=0 if is_internal else 64,
            # RFC 4456: clients are of the reflector's own AS.
            cluster_id=cluster_id if is_internal else None,
            announces_all=role in {"client", "reflector"},
            # Of two that connect to one another after a restart, the later connection may end the session
            # that the first has made, and with it what was kept for the restart (bird's proto/bgp/bgp.c,
            # bgp_incoming_connection). So one of each pair waits; RFC 4271, section 6.8, has the higher keep
            # its connection too.
            is_passive=int(local) < int(address),
        )


def _to_peer(own: Speaker, peer: Peer) -> Neighbor:
    return Neighbor(
        protocol=_protocol_name("peer", peer.name, peer.address.version),
        name=peer.name,
        role="peer",
        address=peer.address,
        as_number=peer.as_number,
        port=peer.port,
        local=own.address(peer.address.version) if peer.use_node_address else peer.source,
        timers=peer.timers,
        is_direct=not peer.multihop,
        multihop=peer.multihop,
        ttl_security=peer.ttl_security,
        announces_all=peer.announce == "cluster",
        is_passive=peer.is_passive,
        keeps_next_hop=peer.keep_next_hop,
        max_prefixes=peer.max_prefixes,
        allow_local_as=peer.allow_local_as,
        communities=peer.communities,
        import_only=peer.import_only,
    )


def _protocol_name(kind: str, name: str, version: int) -> str:
    """Name a session by a hash: names of nodes have characters that bird's have not."""
    return f"{kind}_{hashlib.sha256(name.encode()).hexdigest()[:12]}_{version}"


def _router_id(name: str, addresses: Iterable[Address]) -> IPv4Address:
    """Return the node's IPv4 address, or, where it has none, a number out of its name."""
    for address in addresses:
        if isinstance(address, IPv4Address):
            return address
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    # RFC 6286: any number but zero.
    return IPv4Address(number or 1)


def _given(keys: Iterable[str], annotations: Mapping[str, str]) -> list[str]:
    """Return the first of these annotations that is there, ours before Calico's."""
    return [key for key in keys if key in annotations][:1]
