"""What a node is to know of BGP: its AS, whom it speaks to, what it announces.

The words are those of Calico's BGPConfiguration and BGPPeer where these have one; `cni.bgp.config_file` reads
them.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Literal

import msgspec

from ipam.model import Address, Network

BfdMode = Literal["none", "strict", "graceful"]
Community = tuple[int, ...]

DEFAULT_DIRECTORY = "/run/nodeplane/bird"
DEFAULT_UPLINKS = ("*",)
# As Debian's package makes it.
DEFAULT_USER = "bird"
SOCKET_NAME = "bird.ctl"


class Timers(msgspec.Struct, frozen=True):
    """How a session is kept and secured; a keepalive of 0 is a third of the hold time."""

    hold_s: float = 90.0
    keepalive_s: float = 0.0
    graceful_restart_s: float = 120.0
    bfd: BfdMode = "none"
    password_file: Path | None = None


class Reflectors(msgspec.Struct, frozen=True):
    """Nodes that reflect routes, and the nodes that are their clients."""

    node_selector: str
    cluster_id: IPv4Address
    clients: str = ""


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """A router outside of the cluster, and the nodes that speak to it.

    Attributes:
        source: Our own address of the session; None is the one that the routes lead to.
        use_node_address: Take the node's address as the source.
        multihop: Most hops to the peer; 0 is a peer on a link of ours.
        is_passive: The peer connects to us, and we not to it.
        max_prefixes: When the peer announces more, its session is taken down and tried again; 0 is no limit.
        allow_local_as: How often our own AS may be in a path; for racks that share an AS number.
        announce: This node's own prefixes, or all of the cluster's, for reflectors.
        import_only: Take only what lies in these, of the default route only itself; everything without any.
    """

    name: str
    address: Address
    as_number: int
    port: int = 179
    node_selector: str = ""
    source: Address | None = None
    use_node_address: bool = True
    multihop: int = 0
    is_passive: bool = False
    ttl_security: bool = False
    max_prefixes: int = 0
    allow_local_as: int = 0
    keep_next_hop: bool = False
    announce: Literal["own", "cluster"] = "own"
    communities: tuple[Community, ...] = ()
    import_only: tuple[Network, ...] = ()
    timers: Timers = Timers()


class ServiceRanges(msgspec.Struct, frozen=True):
    """The networks out of which Services' addresses are announced."""

    cluster_ips: tuple[Network, ...] = ()
    external_ips: tuple[Network, ...] = ()
    load_balancer_ips: tuple[Network, ...] = ()

    @property
    def all(self) -> tuple[Network, ...]:
        """All of them, each once, in order."""
        found = {*self.cluster_ips, *self.external_ips, *self.load_balancer_ips}
        return sort_networks(found)


def sort_networks(networks: Iterable[Network]) -> tuple[Network, ...]:
    """Put networks into an order that depends on nothing else."""
    return tuple(sorted(networks, key=lambda item: (item.version, int(item.network_address), item.prefixlen)))


class BgpConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a node needs to know to speak BGP.

    Attributes:
        mesh: Whether every node speaks to every other.
        communities: What to attach to prefixes inside a network.
        uplinks: Patterns of the links that lead to next hops.
        prefer_node_address: The node's own packets to pods carry its address, whatever link they leave by.
        user: Whom our bird runs as.
        directory: Where the configuration, the control socket and the log of our bird lie.
        socket: The control socket of a bird that somebody else runs; None to run one.
    """

    as_number: int
    mesh: bool = True
    route_reflectors: tuple[Reflectors, ...] = ()
    nodes: Timers = Timers()
    peers: tuple[Peer, ...] = ()
    communities: tuple[tuple[Network, tuple[Community, ...]], ...] = ()
    services: ServiceRanges = ServiceRanges()
    bfd_interval_s: float = 0.3
    bfd_multiplier: int = 3
    port: int = 179
    uplinks: tuple[str, ...] = DEFAULT_UPLINKS
    prefer_node_address: bool = False
    bird: Path = Path("/usr/sbin/bird")
    user: str = DEFAULT_USER
    directory: Path = Path(DEFAULT_DIRECTORY)
    socket: Path | None = None

    @property
    def control_socket(self) -> Path:
        """Where bird is spoken to."""
        return self.socket or self.directory / SOCKET_NAME
