"""What segments, routers and address ranges must be beyond their types."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network

from netns_lab.address_plan import split_addresses
from netns_lab.names import is_segment_name
from netns_lab.topology import Network, PeerSpec, RouterSpec, Topology, split_ranges
from nodeplane.datapath.rtnl import Address
from nodeplane.datapath.rtnl import Network as IpNetwork
from nodeplane.yamldoc import FieldPath, Problem

SEGMENT_WORDS = "expected up to 15 lower case letters, digits, '-', not lo, all, default, nor to- in front"
# BIRD's words have no quotes in them, and TCP MD5 keys are at most 80 bytes long (linux/tcp.h).
_PASSWORD_BYTES = 80

# What the kernel never routes from host to host as an ordinary address; pods' gateway is link-local too.
_UNUSABLE: dict[IpNetwork, str] = {
    IPv4Network("0.0.0.0/8"): "this host's",
    IPv4Network("127.0.0.0/8"): "loopback",
    IPv4Network("169.254.0.0/16"): "link-local",
    IPv4Network("224.0.0.0/4"): "multicast",
    IPv6Network("::/8"): "reserved",
    IPv6Network("fe80::/10"): "link-local",
    IPv6Network("ff00::/8"): "multicast",
}

# `netns-lab apiserver` takes no smaller ranges.
_SMALLEST_RANGE = 8
_EXAMPLES = {
    False: "expected an IPv4 network such as 10.0.0.0/16, host bits zero",
    True: "expected an IPv4 and an IPv6 network such as 10.0.0.0/16,fd00::/48, host bits zero",
}


def range_problems(topology: Topology) -> Iterator[Problem]:
    """Yield what is wrong with the ranges of segments, pods and Services; they must not overlap."""
    network = topology.network
    fields: list[tuple[FieldPath, str, str]] = [
        *(
            (("segments", index, "network"), f"segment {segment.name}", segment.network)
            for index, segment in enumerate(topology.segments)
        ),
        (("network", "podPool"), "podPool", network.pod_pool),
        (("network", "serviceCIDR"), "serviceCIDR", network.service_cidr),
    ]
    if not topology.segments:
        fields.insert(0, (("network", "segment"), "segment", network.segment))
    elif network.segment != Network().segment:
        yield ("network", "segment"), "expected no network here, the segments have their own"
    taken: dict[str, tuple[IpNetwork, ...]] = {}
    for path, name, text in fields:
        ranges = _parse_ranges(text)
        if ranges is None:
            yield path, _EXAMPLES["," in text]
            continue
        for each in ranges:
            yield from ((path, words) for words in _misplaced(each, taken))
            if path[0] == "network" and path[1] != "segment" and each.num_addresses < _SMALLEST_RANGE:
                yield path, f"expected a network of {_SMALLEST_RANGE} addresses or more"
        taken[name] = ranges
    pools = taken.get("podPool", ())
    for field, length, pool in zip(
        ("blockSize", "blockSize6"), (network.block_size, network.block_size6), pools, strict=False
    ):
        if length < pool.prefixlen:
            yield ("network", field), f"expected at least the pool's prefix length {pool.prefixlen}"


def segment_problems(topology: Topology) -> Iterator[Problem]:
    """Yield what is wrong with the segments, once their ranges are right."""
    names = [segment.name for segment in topology.all_segments]
    families = len(topology.network.pod_pools)
    for index, segment in enumerate(topology.segments):
        if not is_segment_name(segment.name):
            yield ("segments", index, "name"), SEGMENT_WORDS
        elif segment.name in names[:index]:
            yield ("segments", index, "name"), "expected each segment once"
    for index, node in enumerate(topology.nodes):
        if node.segment and node.segment not in names:
            yield ("nodes", index, "segment"), "expected the name of a segment"
    for index, segment in enumerate(topology.all_segments):
        path: FieldPath = ("segments", index, "network") if topology.segments else ("network", "segment")
        nodes = sum(topology.segment_of(node) == segment.name for node in topology.nodes)
        routers = sum(
            each.segment == segment.name for router in topology.routers for each in router.interfaces
        )
        clients = sum(
            (client.segment or topology.all_segments[0].name) == segment.name for client in topology.clients
        )
        ranges = split_ranges(segment.network)
        if nodes and len(ranges) < families:
            yield path, "expected an IPv4 and an IPv6 network, podPool has both"
        # The fabric has an address of its own where there are nodes.
        needed = nodes + routers + clients + bool(nodes)
        if any(_count_hosts(each) < needed for each in ranges):
            has_others = topology.routers or topology.clients
            what = f"{needed} addresses" if has_others else f"{nodes} nodes and a gateway"
            yield path, f"expected room for {what}"


def node_address_problems(topology: Topology) -> Iterator[Problem]:
    """Yield what is wrong with the addresses that hosts and routers name, once the segments are right."""
    segments = {segment.name: segment for segment in topology.all_segments}
    with_nodes = {topology.segment_of(node) for node in topology.nodes}
    taken: set[tuple[str, Address]] = set()
    places: list[tuple[FieldPath, str, str]] = [
        (("nodes", index, "address"), topology.segment_of(node), node.address)
        for index, node in enumerate(topology.nodes)
        if node.address is not None
    ]
    places += [
        (("clients", index, "address"), topology.segment_of(client), client.address)
        for index, client in enumerate(topology.clients)
        if client.address is not None
    ]
    places += [
        (("routers", index, "interfaces", number, "address"), each.segment, each.address)
        for index, router in enumerate(topology.routers)
        for number, each in enumerate(router.interfaces)
        if each.address is not None
    ]
    for path, segment, text in places:
        ranges = split_ranges(segments[segment].network)
        addresses = _parse_addresses(text)
        if not addresses or not _fits(addresses, ranges):
            yield path, f"expected a host's address in segment {segments[segment].network}"
            continue
        for address in addresses:
            network = next(each for each in ranges if each.version == address.version)
            if segment in with_nodes and address == next(iter(network.hosts())):
                yield path, f"expected another address, {address} is the segment's gateway"
            elif (segment, address) in taken:
                yield path, "expected each address once"
            taken.add((segment, address))


def router_problems(topology: Topology, router: RouterSpec) -> Iterator[Problem]:
    """Yield what is wrong with a router but for its name and addresses."""
    segments = {segment.name: segment for segment in topology.all_segments}
    if not router.interfaces:
        yield ("interfaces",), "expected at least one"
    for number, each in enumerate(router.interfaces):
        if each.segment not in segments:
            yield ("interfaces", number, "segment"), "expected the name of a segment"
        elif each.segment in {other.segment for other in router.interfaces[:number]}:
            yield ("interfaces", number, "segment"), "expected each segment once"
    reached = [
        network for each in router.interfaces for network in split_ranges(segments[each.segment].network)
    ]
    for number, route in enumerate(router.routes):
        destination = _parse_network(route.to)
        if destination is None:
            yield ("routes", number, "to"), "expected a network such as 10.1.0.0/16 or ::/0, host bits zero"
            continue
        via = _parse_addresses(route.via)
        is_hop = len(via) == 1 and via[0].version == destination.version
        if not is_hop or not any(via[0] in network for network in reached):
            yield (
                ("routes", number, "via"),
                f"expected an IPv{destination.version} address on one of the router's segments",
            )
        if destination in {_parse_network(other.to) for other in router.routes[:number]}:
            yield ("routes", number, "to"), "expected each destination once"
    for number, peer in enumerate(router.peers):
        yield from (
            (("peers", number, *path), words) for path, words in _peer_problems(topology, router, peer)
        )
        if (peer.router, peer.segment) in {(other.router, other.segment) for other in router.peers[:number]}:
            yield ("peers", number), "expected each peer once"


def _peer_problems(topology: Topology, router: RouterSpec, peer: PeerSpec) -> Iterator[Problem]:
    own = {each.segment for each in router.interfaces}
    if router.asn is None:
        yield (), "expected only with the router's own asn"
    if bool(peer.router) == bool(peer.segment):
        yield (), "expected either a router or a segment"
    elif peer.segment and peer.segment not in own:
        yield ("segment",), "expected one of the router's segments"
    elif peer.router:
        other = next((each for each in topology.routers if each.name == peer.router), None)
        if other is None or other.asn is None or other == router:
            yield ("router",), "expected the name of another router with an asn"
        elif not own & {each.segment for each in other.interfaces}:
            yield ("router",), "expected a router on one of this one's segments"
        if peer.asn is not None:
            yield ("asn",), "expected only with segment, a router has its own"
    if (
        len(peer.password.encode()) > _PASSWORD_BYTES
        or not peer.password.isprintable()
        or '"' in peer.password
    ):
        yield ("password",), f"expected up to {_PASSWORD_BYTES} printable characters without quotes"


def _misplaced(network: IpNetwork, taken: dict[str, tuple[IpNetwork, ...]]) -> Iterator[str]:
    for unusable, words in _UNUSABLE.items():
        if _overlap(network, unusable):
            yield f"expected a network apart from {unusable} ({words} addresses)"
    for name, ranges in taken.items():
        for other in ranges:
            if _overlap(network, other):
                yield f"expected a network apart from {name} {other}"


def _overlap(one: IpNetwork, other: IpNetwork) -> bool:
    return one.version == other.version and one.overlaps(other)


def _count_hosts(network: IpNetwork) -> int:
    if network.prefixlen >= network.max_prefixlen - 1:
        return network.num_addresses
    # Network and broadcast address; of IPv6 the Subnet-Router anycast address (RFC 4291, 2.6.1).
    return network.num_addresses - (2 if network.version == 4 else 1)


def _fits(addresses: tuple[Address, ...], ranges: tuple[IpNetwork, ...]) -> bool:
    """Say whether there is at most one address for each family's range, a host's in it."""
    by_family = {network.version: network for network in ranges}
    versions = [address.version for address in addresses]
    return len({*versions}) == len(versions) and all(
        address.version in by_family and _is_host(address, by_family[address.version])
        for address in addresses
    )


def _is_host(address: Address, network: IpNetwork) -> bool:
    if network.prefixlen >= network.max_prefixlen - 1:
        return address in network
    ends = {network.network_address}
    if isinstance(address, IPv4Address):
        ends.add(network.broadcast_address)
    return address in network and address not in ends


def _parse_ranges(text: str) -> tuple[IpNetwork, ...] | None:
    """Return the networks of a range, None if they are not IPv4, or IPv4 and IPv6."""
    try:
        ranges = split_ranges(text)
    except ValueError:
        return None
    return ranges if [network.version for network in ranges] in ([4], [4, 6]) else None


def _parse_addresses(text: str) -> tuple[Address, ...]:
    try:
        return split_addresses(text)
    except ValueError:
        return ()


def _parse_network(text: str) -> IpNetwork | None:
    try:
        return ip_network(text)
    except ValueError:
        return None
