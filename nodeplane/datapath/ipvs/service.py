"""Virtual services and real servers as values, and what can be changed about them (linux/ip_vs.h).

Addresses are as the kernel has them, as bytes: tens of thousands are compared and sent, a few are printed.
"""

import struct
from enum import IntEnum, IntFlag
from ipaddress import ip_address

import msgspec

from nodeplane.datapath.nft.expr import Family

WHOLE_ADDRESS = {"ip": 0xFFFFFFFF, "ip6": 128}
"""The netmask of persistence that tells every client from the others: for IPv6 a length of prefix."""


PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
"""What virtual services are of, as the kernel lists them."""

_PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}


class ServiceFlags(IntFlag):
    """IP_VS_SVC_F_…; the kernel's own, HASHED, is not among them."""

    PERSISTENT = 0x1
    ONE_PACKET = 0x4
    FALLBACK = 0x8
    """Of sh and mh: take another real server where the hash's is overloaded or gone."""
    BY_PORT = 0x10
    """Of sh and mh: hash the client's port too."""


class Method(IntEnum):
    """How packets reach a real server (IP_VS_CONN_F_…)."""

    MASQUERADE = 0
    LOCAL = 1
    TUNNEL = 2
    ROUTE = 3
    BYPASS = 4


class ServiceKey(msgspec.Struct, frozen=True, order=True, gc=False):
    """What names a virtual service: protocol, address and port, or with `mark` a packet's mark alone."""

    family: Family
    protocol: int = 0
    address: bytes = b""
    port: int = 0
    mark: int = 0

    def __str__(self) -> str:
        if self.mark:
            return f"{self.family} mark {self.mark:#x}"
        protocol = _PROTOCOL_NAMES.get(self.protocol, str(self.protocol))
        return f"{protocol} {_with_port(self.address, self.port)}"


class ServiceOptions(msgspec.Struct, frozen=True, gc=False):
    """How a virtual service chooses.

    Attributes:
        timeout_s: How long a client is remembered, if `flags` say that it is (PERSISTENT).
        netmask: Which part of a client's address counts then; see `WHOLE_ADDRESS`.
    """

    scheduler: str
    flags: int = 0
    timeout_s: int = 0
    netmask: int = WHOLE_ADDRESS["ip"]


class ServerKey(msgspec.Struct, frozen=True, order=True, gc=False):
    """What names a real server within its virtual service."""

    address: bytes
    port: int

    def __str__(self) -> str:
        return _with_port(self.address, self.port)


class RealServer(msgspec.Struct, frozen=True, gc=False):
    """How a real server is used: with a weight of 0 it gets no new connections, and keeps those it has."""

    weight: int = 1
    method: int = Method.MASQUERADE


class ServerUse(msgspec.Struct, frozen=True, gc=False):
    """A real server with the connections that it has now: established, other, and remembered clients."""

    server: RealServer
    active: int = 0
    inactive: int = 0
    persistent: int = 0


class Timeouts(msgspec.Struct, frozen=True):
    """After how many seconds idle connections are forgotten."""

    tcp_s: int
    tcp_fin_s: int
    udp_s: int


class NewService(msgspec.Struct, frozen=True, gc=False):
    """A virtual service that is to come (EEXIST, ENOENT: no such scheduler)."""

    key: ServiceKey
    options: ServiceOptions


class SetService(msgspec.Struct, frozen=True, gc=False):
    """A virtual service that is to choose otherwise (ESRCH)."""

    key: ServiceKey
    options: ServiceOptions


class DeleteService(msgspec.Struct, frozen=True, gc=False):
    """A virtual service that is to go, with its real servers (ESRCH)."""

    key: ServiceKey


class NewServer(msgspec.Struct, frozen=True, gc=False):
    """A real server that is to come (ESRCH: no such service, EEXIST, EINVAL: no address to send to)."""

    key: ServiceKey
    server: ServerKey
    use: RealServer


class NewServers(msgspec.Struct, frozen=True, gc=False):
    """Real servers of one virtual service that are to come, masqueraded: a full load has forty thousand.

    Each is its address, port and weight, the last two as numbers of two bytes. They are sent together, so a
    thousand at most.
    """

    key: ServiceKey
    servers: tuple[bytes, ...]


class SetServer(msgspec.Struct, frozen=True, gc=False):
    """A real server that is to be used otherwise (ESRCH, ENOENT)."""

    key: ServiceKey
    server: ServerKey
    use: RealServer


class DeleteServer(msgspec.Struct, frozen=True, gc=False):
    """A real server that is to go (ESRCH, ENOENT)."""

    key: ServiceKey
    server: ServerKey


SingleChange = NewService | SetService | DeleteService | NewServer | SetServer | DeleteServer
Change = SingleChange | NewServers


def pack_server(server: ServerKey, weight: int) -> bytes:
    """Encode a real server as `NewServers` has it."""
    return server.address + struct.pack(">HH", server.port, weight)


def unpack_server(packed: bytes) -> tuple[ServerKey, int]:
    """Decode a real server of `NewServers`."""
    port, weight = struct.unpack(">HH", packed[-4:])
    return ServerKey(packed[:-4], port), weight


def describe(change: Change) -> str:
    """Name a change, as errors and plans do."""
    match change:
        case NewService(key, options) | SetService(key, options):
            verb = "add" if isinstance(change, NewService) else "set"
            return f"{verb} virtual service {key} with scheduler {options.scheduler}"
        case DeleteService(key):
            return f"delete virtual service {key}"
        case NewServer(key, server, use) | SetServer(key, server, use):
            verb = "add" if isinstance(change, NewServer) else "set"
            return f"{verb} real server {server} of {key} with weight {use.weight}"
        case NewServers(key, servers):
            named = ", ".join(str(unpack_server(packed)[0]) for packed in servers)
            return f"add real servers of {key}: {named}"
        case DeleteServer(key, server):
            return f"delete real server {server} of {key}"


def _with_port(packed: bytes, port: int) -> str:
    address = ip_address(packed)
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
