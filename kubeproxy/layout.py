"""How service state is laid out in the kernel: map names, and what their keys and data mean.

    frontends   address . protocol . port  ->  class | pool     where a service is published
    slots       class | pool . index       ->  address . port   the endpoints of a pool
    hairpins    address . address                               local endpoints, to see one reach itself

A *pool* is a set of endpoints, numbered in 24 bits. Its *class*, the top byte, says what becomes of a
new connection: translated by the chain for pools of its size, or refused. Between rules the two travel
in the packet's `meta priority` (see the skeleton). Numbers there are host-endian, the rest network-endian.
"""

import struct
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address

import msgspec

from nodeplane.datapath.nft.expr import Family

TABLE = "nodeplane-kubeproxy"

FRONTENDS, SLOTS, HAIRPINS = "frontends", "slots", "hairpins"
"""The maps whose elements are service state."""

PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
_PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}

# Exact sizes first, then steps of 3/2 and 4/3: a pool of n endpoints uses the next size up and leaves the
# rest of its slots empty (see `skeleton.balance`), so a handful of chains serves every size.
SIZES = (*range(1, 17), *(size << shift for shift in range(12) for size in (24, 32)))
MAX_ENDPOINTS = SIZES[-1]

CLASS_REJECT = 0xFF
POOL_BITS = 24
CLASS_MASK = 0xFF << POOL_BITS

Address = IPv4Address | IPv6Address


class Frontend(msgspec.Struct, frozen=True, order=True):
    """An address that clients connect to."""

    address: Address
    protocol: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{self.protocol} {host}:{self.port}"


class Endpoint(msgspec.Struct, frozen=True, order=True):
    """An address that connections are translated to."""

    address: Address
    port: int

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{host}:{self.port}"


class Pool(msgspec.Struct, frozen=True, order=True):
    """What a frontend leads to: `class_` is the place of the pool's size in SIZES, or CLASS_REJECT."""

    class_: int
    number: int

    @property
    def is_reject(self) -> bool:
        """Whether connections are refused."""
        return self.class_ == CLASS_REJECT

    @property
    def size(self) -> int:
        """How many slots a connection chooses from."""
        return 0 if self.is_reject else SIZES[self.class_]

    def __str__(self) -> str:
        # As `nft list` prints it: a classid, both halves in hexadecimal.
        number = self.class_ << POOL_BITS | self.number
        return f"{number >> 16:x}:{number & 0xFFFF:x}"

    def encode(self) -> bytes:
        """Encode for `frontends` data and as the first field of a `slots` key."""
        return struct.pack("=I", self.class_ << POOL_BITS | self.number)


REJECT = Pool(CLASS_REJECT, 0)


def pool_for(number: int, endpoints: int) -> Pool:
    """Return the pool of this number, of the smallest size that holds so many endpoints."""
    for class_, size in enumerate(SIZES):
        if size >= endpoints:
            return Pool(class_, number)
    raise ValueError(f"a pool holds at most {MAX_ENDPOINTS} endpoints, got {endpoints}")


def family_of(address: Address) -> Family:
    """Return the table family that an address belongs to."""
    return "ip" if address.version == 4 else "ip6"


def encode_frontend(frontend: Frontend) -> bytes:
    """Encode a key of `frontends`."""
    return frontend.address.packed + struct.pack(">B3xH2x", PROTOCOLS[frontend.protocol], frontend.port)


def decode_frontend(key: bytes) -> Frontend:
    """Decode a key of `frontends`."""
    protocol, port = struct.unpack(">B3xH2x", key[-8:])
    return Frontend(ip_address(key[:-8]), _PROTOCOL_NAMES.get(protocol, str(protocol)), port)


def decode_pool(data: bytes) -> Pool:
    """Decode data of `frontends`."""
    (number,) = struct.unpack("=I", data)
    return Pool(number >> POOL_BITS, number & ~CLASS_MASK)


def encode_slot(pool: Pool, index: int) -> bytes:
    """Encode a key of `slots`."""
    return struct.pack("=II", pool.class_ << POOL_BITS | pool.number, index)


def decode_slot(key: bytes) -> tuple[Pool, int]:
    """Decode a key of `slots`."""
    return decode_pool(key[:4]), int(struct.unpack("=I", key[4:])[0])


def encode_endpoint(endpoint: Endpoint) -> bytes:
    """Encode data of `slots`."""
    return endpoint.address.packed + struct.pack(">H2x", endpoint.port)


def decode_endpoint(data: bytes) -> Endpoint:
    """Decode data of `slots`."""
    return Endpoint(ip_address(data[:-4]), int(struct.unpack(">H2x", data[-4:])[0]))


def encode_hairpin(address: Address) -> bytes:
    """Encode an element of `hairpins`."""
    return address.packed * 2


def decode_hairpin(key: bytes) -> Address:
    """Decode an element of `hairpins`."""
    return ip_address(key[: len(key) // 2])


def read_services(
    elements: Mapping[str, Mapping[bytes, bytes]],
) -> dict[Frontend, tuple[Pool, list[Endpoint]]]:
    """Decode a table's elements: each frontend with its pool and, in order, the pool's endpoints."""
    slots: dict[Pool, list[tuple[int, Endpoint]]] = {}
    for key, data in elements.get(SLOTS, {}).items():
        pool, index = decode_slot(key)
        slots.setdefault(pool, []).append((index, decode_endpoint(data)))
    published = {decode_frontend(key): decode_pool(data) for key, data in elements.get(FRONTENDS, {}).items()}
    return {
        frontend: (pool, [endpoint for _, endpoint in sorted(slots.get(pool, []))])
        for frontend, pool in sorted(published.items(), key=lambda item: str(item[0]))
    }
