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
    service-cidrs     address                               (ranges)   where such addresses come from
    hairpins          address . address                                endpoints here, to see one reach itself
    node-port-ips     address                                          where node ports are, if restricted

A *pool* is a set of endpoints, a *value* says which pool and how to choose from it (see `pool_value`). Values
are host-endian, the rest network-endian. Addresses and endpoints are kept as the kernel has them, as bytes: a
hundred thousand of them are compared and sent, a few are ever printed.
"""

import struct
from ipaddress import ip_address

import msgspec

from kubeproxy.rules.addresses import Address, Network, PackedAddress

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
    """Encode an element of `service-cidrs`."""
    return network[0].packed + network[-1].packed


def decode_ranges(key: bytes, address_bytes: int) -> tuple[Address, Address]:
    """Decode the addresses of a key of `source-ranges` (its last field) or of `service-cidrs`."""
    first, last = key[: len(key) // 2], key[len(key) // 2 :]
    return ip_address(first[-address_bytes:]), ip_address(last[-address_bytes:])


def _with_port(address: Address, port: int) -> str:
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
