"""What IPAM speaks of: pools, cut into blocks; a node owns blocks and gives addresses out of them.

    pool 10.244.0.0/16 ── blocks of /26 ── block 10.244.7.64/26, node n1
                                             ordinal 0  1  2  3  4 …  63
                                                     │  │  │  └ fresh: never given out from here on
                                                     │  │  └ allocation of handle (container id, interface)
                                                     └──┴ released, the longest ago first

Every address of a block is usable, also the first and the last: pods get a /32 (or /128) and are routed,
so there is no subnet on any link that would have a network or broadcast address (as in Calico, and as
RFC 3021 argues for /31). Only a pool that is `on_link` has such edges. Plain values; nothing here knows the
clock or the datastore. `ipam/README.md` has the whole picture.
"""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Literal

import msgspec

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network
Labels = Mapping[str, str]
Use = Literal["pod", "tunnel"]
Mode = Literal["direct", "vxlan", "cross-subnet", "bgp"]


class Pool(msgspec.Struct, frozen=True):
    """A range of pod addresses; `block_size` is the prefix length of its blocks, as in Calico's IPPool.

    `reserved` holds what is never given out, collapsed and sorted. The selectors (`ipam.selector`) say which
    nodes and namespaces the pool is for; empty is all. A pool that is `on_link` is a subnet that pods share
    with a gateway on one link, as host-local's are: its edges stay out of use and its pods get its prefix
    length. What pods of a pool with `nat_outgoing` send to no pool leaves under their node's address. The
    `mode` is how nodes reach one another's blocks of it (`cni.routing`).
    """

    name: str
    network: Network
    block_size: int
    reserved: tuple[Network, ...] = ()
    disabled: bool = False
    node_selector: str = ""
    namespace_selector: str = ""
    on_link: bool = False
    nat_outgoing: bool = False
    mode: Mode = "direct"

    @property
    def block_count(self) -> int:
        """How many blocks the pool is cut into."""
        return 1 << (self.block_size - self.network.prefixlen)


class Policy(msgspec.Struct, frozen=True):
    """What an operator decides about blocks.

    `strict_affinity`: a node never uses another's block. `max_blocks_per_node`: of each address family, over
    all pools; 0 is no limit. `rest_s`: for so long a freed address rests while another is free.
    """

    strict_affinity: bool = False
    max_blocks_per_node: int = 0
    rest_s: int = 60


class Handle(msgspec.Struct, frozen=True, order=True):
    """Who holds an address: one interface of one container, as the CNI SPEC names an attachment.

    A container id is unique on its node alone: on two nodes of one datastore it is two attachments.
    """

    container_id: str
    interface: str
    node: str

    def __str__(self) -> str:
        return f"{self.container_id}/{self.interface}"


class PodRef(msgspec.Struct, frozen=True):
    """The pod behind a handle, as far as the runtime tells; empty when it is not Kubernetes'."""

    namespace: str = ""
    name: str = ""
    uid: str = ""


class Released(msgspec.Struct, frozen=True, array_like=True):
    """A free address that was in use until `at_s` (Unix time); 0 when it was passed over, never used."""

    ordinal: int
    at_s: int


class Lent(msgspec.Struct, frozen=True, array_like=True, order=True):
    """An address of a block that is in use on another node than the block's."""

    ordinal: int
    node: str


class Block(msgspec.Struct, frozen=True):
    """A block and its free addresses: all from ordinal `fresh` on, then `released`, first in, first out.

    `node` is empty when the block's node is gone while others still borrow from it. `withheld` are the
    ordinals below `fresh` that were passed over because they are reserved; should that end, they count as
    never used. `sequence` grows with each change, so that two states of a block can be told apart.
    """

    network: Network
    pool: str
    node: str
    fresh: int = 0
    released: tuple[Released, ...] = ()
    withheld: tuple[int, ...] = ()
    lent: tuple[Lent, ...] = ()
    sequence: int = 0

    @property
    def size(self) -> int:
        """How many addresses the block has."""
        return self.network.num_addresses

    @property
    def used(self) -> int:
        """How many of them somebody holds."""
        return self.fresh - len(self.released) - len(self.withheld)

    @property
    def free(self) -> int:
        """How many of them it has to give; reserved ones count until they are passed over."""
        return self.size - self.fresh + len(self.released)

    @property
    def idle_since_s(self) -> int | None:
        """When the next address to give out was last in use: 0 for never, None when it has none to give."""
        if self.fresh < self.size:
            return 0
        return self.released[0].at_s if self.released else None


class Request(msgspec.Struct, frozen=True):
    """One wish: for whom, on which node, at what Unix time, and what in particular.

    One address of each family in `families`, or, when that is empty, of each that the node's pools have;
    `ipv4_pools` and `ipv6_pools` (names or CIDRs) narrow the choice for their family. Or, where `sets` is
    given, one address out of each set of pools, as host-local has it. `addresses` must be these very ones.
    Labels are None when nobody knows them: then a pool with a selector is not for this request. `network`
    (the CNI configuration's name), `boot_id` and `machine_id` are kept for those who look for leaks.
    """

    handle: Handle
    pod: PodRef
    node: str
    netns: str
    now_s: int
    families: tuple[int, ...] = ()
    addresses: tuple[Address, ...] = ()
    ipv4_pools: tuple[str, ...] = ()
    ipv6_pools: tuple[str, ...] = ()
    sets: tuple[tuple[str, ...], ...] = ()
    node_labels: Labels | None = None
    namespace_labels: Labels | None = None
    network: str = ""
    boot_id: str = ""
    machine_id: str = ""
    use: Use = "pod"


class Allocation(msgspec.Struct, frozen=True):
    """An address in use; `sequence` is the block's when it was given out, which makes each giving unique.

    `node` is where the address is used: another than the block's when it is borrowed. `renewals` counts the
    requests that were answered with it again, so that each answer leaves another record.
    """

    address: Address
    block: Network
    pool: str
    node: str
    handle: Handle
    pod: PodRef
    netns: str
    assigned_at_s: int
    sequence: int
    network: str = ""
    boot_id: str = ""
    machine_id: str = ""
    renewals: int = 0
    use: Use = "pod"


class AssignedIp(msgspec.Struct, frozen=True):
    """One address of an assignment, with its prefix length, and where it comes from."""

    address: Interface
    pool: str
    block: Network


class Assignment(msgspec.Struct, frozen=True):
    """What a request gets: one address of each family, IPv4 first, or of each set, in their order."""

    ips: tuple[AssignedIp, ...]


def tunnel_handle(node: str, pool: str) -> Handle:
    """Return the handle of a node's own address in a pool; ':' keeps it apart from all container ids."""
    return Handle(f"node:{node}", f"tunnel:{pool}", node)
