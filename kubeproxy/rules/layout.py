"""How service state is laid out in the kernel: the maps, and what their keys and data mean.

    frontends         address . protocol . port             -> value   where a service is published
    node-ports        protocol . port                       -> value   the same on this node's addresses
    local-pools       value                                 -> value   the endpoints on this node
    slots             value . index                         -> address . port
    members           value . index                         -> member  slots of a pool with session affinity
    member-addresses  member                                -> address . port
    members-alive     member
    affine-pools      pool number                           -> value   the way back from a member
    affinity          client . pool number                  -> member  written by the rules
    source-ranges     address . protocol . port . client    (ranges)   who may use a load balancer's address
    cluster-ips       address                                          addresses of our own, whatever the port
    service-cidrs     address . protocol                    (ranges)   where such addresses come from
    hairpins          address . address                                endpoints here, to see one reach itself
    node-port-ips     address                                          where node ports are, if restricted

A *pool* is a set of endpoints, a *value* says which pool and how to choose from it (see `pool_value`). Values
are host-endian, the rest network-endian. Addresses and endpoints are kept as the kernel has them, as bytes: a
hundred thousand of them are compared and sent, a few are ever printed.
"""

import re
import struct
from collections.abc import Iterable, Mapping
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    collapse_addresses,
    ip_address,
    ip_network,
)
from socket import AF_INET, AF_INET6, inet_pton

import msgspec

from kubeproxy.rules.pool_value import WITHOUT_KIND
from nodeplane.datapath.nft.expr import Family

TABLE = "nodeplane-kubeproxy"

FRONTENDS, NODE_PORTS, LOCAL_POOLS = "frontends", "node-ports", "local-pools"
SLOTS, MEMBERS = "slots", "members"
MEMBER_ADDRESSES, MEMBERS_ALIVE, AFFINE_POOLS = "member-addresses", "members-alive", "affine-pools"
AFFINITY = "affinity"
SOURCE_RANGES, CLUSTER_IPS, SERVICE_CIDRS = "source-ranges", "cluster-ips", "service-cidrs"
HAIRPINS, NODE_PORT_IPS = "hairpins", "node-port-ips"

STATE_MAPS = (
    *(FRONTENDS, NODE_PORTS, LOCAL_POOLS, SLOTS, MEMBERS, MEMBER_ADDRESSES, MEMBERS_ALIVE, AFFINE_POOLS),
    *(SOURCE_RANGES, CLUSTER_IPS, SERVICE_CIDRS, HAIRPINS, NODE_PORT_IPS),
)
"""The maps whose elements are service state; `affinity` is the rules' own."""

PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

PackedAddress = bytes
PackedEndpoint = bytes
"""An address and a port as `slots` has them: `decode_endpoint` reads it."""


class Frontend(msgspec.Struct, frozen=True, order=True):
    """What clients connect to: an address and a port, or (`address` is None) a port of this node."""

    address: Address | None
    protocol: str
    port: int

    def __str__(self) -> str:
        if self.address is None:
            return f"{self.protocol} node port {self.port}"
        return f"{self.protocol} {_with_port(self.address, self.port)}"


class Endpoint(msgspec.Struct, frozen=True, order=True):
    """What connections are translated to."""

    address: Address
    port: int

    def __str__(self) -> str:
        return _with_port(self.address, self.port)


def family_of(address: Address) -> Family:
    """Return the table family that an address belongs to."""
    return "ip" if address.version == 4 else "ip6"


def pack_address(text: str) -> PackedAddress:
    """Encode an address of either family.

    Raises:
        OSError: it is none.
    """
    if ":" in text:
        return inet_pton(AF_INET6, text)
    try:
        return inet_pton(AF_INET, text)
    except OSError:
        return inet_pton(AF_INET, _without_leading_zeros(text))


def parse_network(text: str) -> Network:
    """Parse a network of either family, spaces around it and host bits in it allowed.

    Raises:
        ValueError: it is none.
    """
    return ip_network(_without_leading_zeros(text.strip()), strict=False)


def _without_leading_zeros(text: str) -> str:
    """Return an IPv4 address or network as it is written today.

    API servers once took 010.0.0.1 for 10.0.0.1, and what they have stored so stays valid (KEP-4858).
    """
    return text if ":" in text else re.sub(r"(^|\.)0+(?=[0-9])", r"\1", text)


def collapse(networks: Iterable[Network]) -> tuple[Network, ...]:
    """Return the same addresses without overlaps, which the kernel refuses; all are of one family."""
    return tuple(collapse_addresses(networks))  # type: ignore[type-var]  # one family, which types don't say


def encode_frontend(address: PackedAddress, protocol: str, port: int) -> bytes:
    """Encode a key of `frontends`."""
    return address + struct.pack(">B3xH2x", PROTOCOLS[protocol], port)


def encode_node_port(protocol: str, port: int) -> bytes:
    """Encode a key of `node-ports`."""
    return struct.pack(">B3xH2x", PROTOCOLS[protocol], port)


def decode_frontend(key: bytes) -> Frontend:
    """Decode a key of `frontends` or of `node-ports`."""
    protocol, port = struct.unpack(">B3xH2x", key[-8:])
    address = ip_address(key[:-8]) if len(key) > 8 else None
    return Frontend(address, PROTOCOL_NAMES.get(protocol, str(protocol)), port)


def encode_value(value: int) -> bytes:
    """Encode a value or a member."""
    return struct.pack("=I", value)


def decode_value(data: bytes) -> int:
    """Decode a value or a member."""
    return int(struct.unpack("=I", data)[0])


def encode_slot(value: int, index: int) -> bytes:
    """Encode a key of `slots` or of `members`."""
    return struct.pack("=II", value, index)


def decode_slot(key: bytes) -> tuple[int, int]:
    """Decode a key of `slots` or of `members`."""
    value, index = struct.unpack("=II", key)
    return value, index


def encode_endpoint(address: PackedAddress, port: int) -> PackedEndpoint:
    """Encode data of `slots`."""
    return address + struct.pack(">H2x", port)


def decode_endpoint(data: PackedEndpoint) -> Endpoint:
    """Decode data of `slots`."""
    return Endpoint(ip_address(data[:-4]), int(struct.unpack(">H2x", data[-4:])[0]))


def encode_hairpin(address: PackedAddress) -> bytes:
    """Encode an element of `hairpins`."""
    return address * 2


def encode_source_range(frontend: bytes, network: Network) -> bytes:
    """Encode an element of `source-ranges`: the clients of one network at one frontend."""
    return frontend + network[0].packed + frontend + network[-1].packed


def encode_service_cidr(network: Network) -> bytes:
    """Encode an element of `service-cidrs`: all protocols at the addresses of one network."""
    return network[0].packed + bytes(4) + network[-1].packed + b"\xff\0\0\0"


def decode_ranges(key: bytes, address_bytes: int) -> tuple[Address, Address]:
    """Decode the addresses of a key of `source-ranges` (its last field) or of `service-cidrs` (its first)."""
    first, last = key[: len(key) // 2], key[len(key) // 2 :]
    if len(first) == address_bytes + 4:
        return ip_address(first[:address_bytes]), ip_address(last[:address_bytes])
    return ip_address(first[-address_bytes:]), ip_address(last[-address_bytes:])


def read_services(
    elements: Mapping[str, Mapping[bytes, bytes]],
) -> dict[Frontend, tuple[int, list[Endpoint]]]:
    """Decode a table's elements: each frontend with its value and the endpoints that any client may reach."""
    pools: dict[int, set[bytes]] = {}
    for key, data in elements.get(SLOTS, {}).items():
        pools.setdefault(decode_slot(key)[0], set()).add(data)
    addresses = elements.get(MEMBER_ADDRESSES, {})
    for key, member in elements.get(MEMBERS, {}).items():
        if member in addresses:
            pools.setdefault(decode_slot(key)[0], set()).add(addresses[member])
    published = {
        decode_frontend(key): decode_value(data)
        for name in (FRONTENDS, NODE_PORTS)
        for key, data in elements.get(name, {}).items()
    }
    return {
        frontend: (value, _decode_all(pools.get(value & WITHOUT_KIND, ())))
        for frontend, value in sorted(published.items(), key=lambda item: str(item[0]))
    }


def _decode_all(endpoints: Iterable[bytes]) -> list[Endpoint]:
    return [decode_endpoint(endpoint) for endpoint in sorted(endpoints)]


def _with_port(address: Address, port: int) -> str:
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
