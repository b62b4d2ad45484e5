"""The first packet of a connection: as it is asked about, and as it is at one point of its way."""

from socket import IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP

import msgspec

from kubeproxy.rules.addresses import Address
from nodeplane.datapath.nft.expr import Family

PROTOCOLS = {"tcp": IPPROTO_TCP, "udp": IPPROTO_UDP, "sctp": IPPROTO_SCTP}
PROTOCOL_NAMES = {int(number): name for name, number in PROTOCOLS.items()}


class Packet(msgspec.Struct, frozen=True):
    """The packet that is asked about.

    Attributes:
        protocol: tcp, udp or sctp.
        source_port: None if it is not known.
        link: The interface that it comes in by; None if a process of this node sends it.
    """

    source: Address
    protocol: str
    destination: Address
    port: int
    source_port: int | None = None
    link: str | None = None

    @property
    def family(self) -> Family:
        """The table that sees it."""
        return "ip" if self.destination.version == 4 else "ip6"

    def __str__(self) -> str:
        source = with_port(self.source, self.source_port) if self.source_port else str(self.source)
        return f"{self.protocol} {source} -> {with_port(self.destination, self.port)}"


class Change(msgspec.Struct, frozen=True):
    """What the packet's rules have written to a dynamic map; `data` is None for an element taken away."""

    map_name: str
    key: bytes
    data: bytes | None
    timeout_s: float = 0.0


class State(msgspec.Struct, frozen=True, cache_hash=True):
    """The packet at one point of its way.

    Attributes:
        link_in: The interface that it came in by, empty on its way out of a process.
        link_out: The interface that it leaves by, empty before it is routed.
        is_translated: Whether it has another destination than it came with.
        is_masqueraded: Whether it leaves with another source.
        changes: What it has left behind in dynamic maps.
    """

    protocol: int
    source: bytes
    source_port: int | None
    destination: bytes
    port: int
    link_in: str = ""
    link_out: str = ""
    mark: int = 0
    priority: int = 0
    is_translated: bool = False
    is_masqueraded: bool = False
    changes: tuple[Change, ...] = ()

    @property
    def family(self) -> Family:
        """The table that sees it."""
        return "ip" if len(self.destination) == 4 else "ip6"


def first_state(packet: Packet) -> State:
    """Return the packet as it comes to the first chain."""
    return State(
        protocol=PROTOCOLS[packet.protocol],
        source=packet.source.packed,
        source_port=packet.source_port,
        destination=packet.destination.packed,
        port=packet.port,
        link_in=packet.link or "",
    )


def with_port(address: Address, port: int) -> str:
    """Write an address and a port, an IPv6 address in brackets."""
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
