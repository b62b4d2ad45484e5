"""How service state is laid out in mode ipvs: virtual services, the link with their addresses, marks.

    virtual-services  a frontend's key, or a mark          -> options, real servers
    link-addresses    address                                  the addresses of `kube-ipvs0`

Both are claimed and compared like the elements of the table, though they are IPVS's and the link's. The table
has maps of `rules.layout` with the same keys. What their values mean is less here: a pool's number is 0, and
the class says only whether a connection is served, refused or dropped. A frontend of policy Local has a
number of its own: this node and its pods reach other endpoints there than clients from outside, and IPVS
tells the two apart by a mark, which is that number behind `MARK_BASE`.
"""

import struct
from collections.abc import Iterable, Mapping
from functools import lru_cache

import msgspec

from kubeproxy.rules.layout import PROTOCOLS, PackedEndpoint
from kubeproxy.rules.pool_value import PLAIN_POOL_BITS
from nodeplane.datapath.ipvs.service import ServerKey, ServiceKey, ServiceOptions
from nodeplane.datapath.nft.expr import Family

LINK = "kube-ipvs0"
"""The dummy link with the services' addresses, called as upstream's."""

VIRTUAL_SERVICES, LINK_ADDRESSES = "virtual-services", "link-addresses"
BALANCER_MAPS = (VIRTUAL_SERVICES, LINK_ADDRESSES)

MARK_BASE = 0x6E4 << 20
"""The top ten bits of our marks; IPVS compares a packet's mark whole."""
MARK_MASK = 0xFFFFFFFF & ~((1 << PLAIN_POOL_BITS) - 1)
_UDP_BIT = 1

SPARE = 0xFFFF
"""Stands for a weight: 0, where the real server is there, which it need not be."""

_OPTIONS = struct.Struct("=16sIII")
_WEIGHT = struct.Struct(">H")
_SERVERS: dict[Family, struct.Struct] = {"ip": struct.Struct(">6sH"), "ip6": struct.Struct(">18sH")}


class VirtualService(msgspec.Struct, frozen=True, gc=False):
    """How a virtual service chooses, and the weights of its real servers (each without the end's padding)."""

    options: ServiceOptions
    servers: Mapping[bytes, int]


def encode_mark(number: int) -> bytes:
    """Encode the key of the virtual service of a port's number."""
    return struct.pack(">I", MARK_BASE | number)


def number_of(place: int, protocol: str) -> int:
    """Return the number that stands for a place among ports; it tells UDP from others, as a mark does not."""
    return (place + 1) << 1 | (protocol == "UDP")


def decode_key(family: Family, key: bytes) -> ServiceKey:
    """Decode a key of `virtual-services`."""
    if len(key) == 4:
        return ServiceKey(family, mark=int.from_bytes(key, "big"))
    return ServiceKey(family, key[-8], key[:-8], int.from_bytes(key[-4:-2], "big"))


def encode_key(key: ServiceKey) -> bytes:
    """Encode a key of `virtual-services`."""
    if key.mark:
        return struct.pack(">I", key.mark)
    return key.address + struct.pack(">B3xH2x", key.protocol, key.port)


def is_datagram(key: bytes) -> bool:
    """Say whether a virtual service is one of UDP, where no connection ever ends."""
    return bool(key[-1] & _UDP_BIT) if len(key) == 4 else key[-8] == PROTOCOLS["UDP"]


def encode_service(options: ServiceOptions, servers: Iterable[tuple[bytes, int]]) -> bytes:
    """Encode a virtual service; `servers`, by name, are addresses with ports, each with its weight."""
    head = _OPTIONS.pack(options.scheduler.encode(), options.flags, options.timeout_s, options.netmask)
    return head + b"".join([server + encode_weight(weight) for server, weight in servers])


def decode_service(family: Family, data: bytes) -> VirtualService:
    """Decode a virtual service."""
    return VirtualService(
        _decode_options(data[: _OPTIONS.size]), dict(_SERVERS[family].iter_unpack(data[_OPTIONS.size :]))
    )


@lru_cache(maxsize=1 << 10)
def _decode_options(data: bytes) -> ServiceOptions:
    scheduler, flags, timeout_s, netmask = _OPTIONS.unpack(data)
    return ServiceOptions(scheduler.rstrip(b"\0").decode(), flags, timeout_s, netmask)


@lru_cache(maxsize=1 << 10)
def encode_weight(weight: int) -> bytes:
    """Encode a real server's weight."""
    return _WEIGHT.pack(weight)


def as_server(endpoint: PackedEndpoint) -> bytes:
    """Return an endpoint without its padding."""
    return endpoint[:-2]


def server_key(server: bytes) -> ServerKey:
    """Return what IPVS calls a real server by."""
    return ServerKey(server[:-2], int.from_bytes(server[-2:], "big"))


def pack_key(server: ServerKey) -> bytes:
    """Return a real server as it is here, from what IPVS calls it by."""
    return server.address + _WEIGHT.pack(server.port)
