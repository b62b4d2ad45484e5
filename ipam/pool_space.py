"""The arithmetic of a pool: its blocks by number, and which of its addresses are never given out."""

import zlib
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network

from ipam.model import Address, Network, Pool


def block_at(pool: Pool, number: int) -> Network:
    """Return the block of that number, counted from the start of the pool."""
    size = 1 << (pool.network.max_prefixlen - pool.block_size)
    first = int(pool.network.network_address) + number * size
    # By kind: an integer alone does not tell the family.
    kind = IPv4Network if pool.network.version == 4 else IPv6Network
    return kind((first, pool.block_size))


def number_of(pool: Pool, address: Address) -> int:
    """Return the number of the block that an address of the pool lies in."""
    offset = int(address) - int(pool.network.network_address)
    return offset >> (pool.network.max_prefixlen - pool.block_size)


def start_of(pool: Pool, node: str) -> int:
    """Return the number of the block at which a node begins to look for one to claim.

    Each node has a place of its own (a hash of its name): nodes that claim at the same moment, as at the
    start of a cluster, seldom meet.
    """
    return zlib.crc32(node.encode()) % pool.block_count


def edges(network: Network) -> tuple[Network, ...]:
    """Return the addresses of a link's subnet that no host may have.

    IPv4: its own and the broadcast address, save in a /31 (RFC 3021) and a /32. IPv6: the Subnet-Router
    anycast address (RFC 4291, 2.6.1), save in a /127 (RFC 6164) and a /128.
    """
    if network.prefixlen >= network.max_prefixlen - 1:
        return ()
    first = ip_network(network.network_address)
    return (first,) if network.version == 6 else (first, ip_network(network.broadcast_address))


def excluded(pool: Pool) -> tuple[Network, ...]:
    """Return what is never given out of a pool: reserved, or an edge of the link that it is on."""
    if not pool.on_link:
        return pool.reserved
    parts = [*pool.reserved, *edges(pool.network)]
    # Collapsed, so that a block with nothing to give lies in one of them.
    return (
        *collapse_addresses(part for part in parts if isinstance(part, IPv4Network)),
        *collapse_addresses(part for part in parts if isinstance(part, IPv6Network)),
    )


def covering(networks: tuple[Network, ...], block: Network) -> Network | None:
    """Return the one of `networks` that the whole block lies in."""
    for network in networks:
        if block.network_address in network and block.broadcast_address in network:
            return network
    return None
