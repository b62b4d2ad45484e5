"""What a node's bird is to do: whom to speak to, which prefixes are the node's own, what may come in."""

from ipaddress import IPv4Address

import msgspec

from cni.bgp.config import BgpConfig, Community, sort_networks
from cni.bgp.neighbors import (
    Neighbor,
    Speaker,
    build_neighbors,
    choose_by_address,
    is_reflector,
    keep_router_id,
    read_speakers,
)
from cni.bgp.service_routes import EXCLUDED
from ipam.model import Network, Pool
from nodeplane.kube.objects import Node


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A node's BGP, as a value.

    Attributes:
        own: The node itself.
        pools: Networks whose blocks are announced, with the length of a block.
        borrowed: Addresses out of other nodes' blocks whose pods are here.
        services: Services' networks and addresses to announce.
        ranges: All networks of services that any node may announce.
        reflects: Whether others' routes go on to clients, those of services too.
    """

    own: Speaker
    neighbors: tuple[Neighbor, ...] = ()
    pools: tuple[tuple[Network, int], ...] = ()
    borrowed: tuple[Network, ...] = ()
    services: tuple[Network, ...] = ()
    ranges: tuple[Network, ...] = ()
    reflects: bool = False
    communities: tuple[tuple[Network, tuple[Community, ...]], ...] = ()
    uplinks: tuple[str, ...] = ("*",)
    prefer_node_address: bool = False
    bfd_interval_s: float = 0.3
    bfd_multiplier: int = 3
    port: int = 179


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the cluster.

    Attributes:
        announced: Blocks of this node, and addresses that it borrows from others' blocks, in full length.
        local_services: Addresses of Services with policy Local that this node has endpoints for.
        router_id: What this node's bird is called now; None if there is none yet.
    """

    nodes: tuple[Node, ...] = ()
    pools: tuple[Pool, ...] = ()
    announced: frozenset[Network] = frozenset()
    local_services: frozenset[Network] = frozenset()
    router_id: IPv4Address | None = None


def build_plan(config: BgpConfig, node_name: str, cluster: Cluster) -> tuple[Plan | None, list[str]]:
    """Build what a node's bird is to do, and say what is wrong with what nodes say of themselves.

    None for a node that is not in the cluster yet: without addresses there is nobody to be.
    """
    speakers, wrong = read_speakers(config, cluster.nodes)
    own = speakers.pop(node_name, None)
    if own is None or not own.addresses:
        return None, wrong
    own = keep_router_id(own, cluster.router_id, speakers.values())
    others, double = choose_by_address(own, speakers.values())
    wrong += double
    routed = (pool for pool in cluster.pools if pool.mode == "bgp" and not pool.on_link)
    sizes = {pool.network: pool.block_size for pool in routed}
    services: set[Network] = set()
    if EXCLUDED not in own.labels:
        services = {*config.services.all, *cluster.local_services}
    plan = Plan(
        own=own,
        neighbors=build_neighbors(config, own, others),
        pools=tuple((network, sizes[network]) for network in sort_networks(sizes)),
        # Of a pool with blocks of one address these are blocks; to name them too does no harm.
        borrowed=sort_networks(
            network for network in cluster.announced if network.prefixlen == network.max_prefixlen
        ),
        services=sort_networks(services),
        ranges=config.services.all,
        reflects=is_reflector(config, own) or any(peer.announce == "cluster" for peer in config.peers),
        communities=config.communities,
        uplinks=config.uplinks,
        prefer_node_address=config.prefer_node_address,
        bfd_interval_s=config.bfd_interval_s,
        bfd_multiplier=config.bfd_multiplier,
        port=config.port,
    )
    return plan, wrong
