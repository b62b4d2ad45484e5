"""What IPAM speaks of: pools, cut into blocks; a node owns blocks and gives addresses out of them.

    pool 10.244.0.0/16 ── blocks of /26 ── block 10.244.7.64/26, node n1
                                             ordinal 0  1  2  3  4 …  63
                                                     │  │  │  └ fresh: never given out from here on
                                                     │  │  └ allocation of handle (container id, interface)
                                                     └──┴ released, the longest ago first

Every address of a block is usable, also the first and the last: pods get a /32 (or /128) and are routed,
so there is no subnet on any link that would have a network or broadcast address (as in Calico, and as
RFC 3021 argues for /31). Plain values; nothing here knows the clock or the datastore.
"""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

import msgspec

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network


class Pool(msgspec.Struct, frozen=True):
    """A range of pod addresses; `block_size` is the prefix length of its blocks, as in Calico's IPPool.

    `reserved` holds what is never given out, collapsed and sorted.
    """

    name: str
    network: Network
    block_size: int
    reserved: tuple[Network, ...] = ()

    @property
    def block_count(self) -> int:
        """How many blocks the pool is cut into."""
        return 1 << (self.block_size - self.network.prefixlen)


class Handle(msgspec.Struct, frozen=True, order=True):
    """Who holds an address: one interface of one container, as the CNI SPEC names an attachment."""

    container_id: str
    interface: str

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


class Block(msgspec.Struct, frozen=True):
    """A block and its free addresses: all from ordinal `fresh` on, then `released`, first in, first out.

    `sequence` grows with each change, so that two states of a block can be told apart.
    """

    network: Network
    pool: str
    node: str
    fresh: int = 0
    released: tuple[Released, ...] = ()
    sequence: int = 0

    @property
    def size(self) -> int:
        """How many addresses the block has."""
        return self.network.num_addresses

    @property
    def free(self) -> int:
        """How many of them nobody holds, reserved ones included."""
        return self.size - self.fresh + len(self.released)

    @property
    def idle_since_s(self) -> int | None:
        """When the next address to give out was last in use: 0 for never, None when the block is full."""
        if self.fresh < self.size:
            return 0
        return self.released[0].at_s if self.released else None


class Request(msgspec.Struct, frozen=True):
    """One wish for an address: for whom, on which node, at what Unix time."""

    handle: Handle
    pod: PodRef
    node: str
    netns: str
    now_s: int


class Allocation(msgspec.Struct, frozen=True):
    """An address in use; `sequence` is the block's when it was given out, which makes each giving unique."""

    address: Address
    block: Network
    pool: str
    node: str
    handle: Handle
    pod: PodRef
    netns: str
    assigned_at_s: int
    sequence: int


class Assignment(msgspec.Struct, frozen=True):
    """What a pod gets: its address with the full prefix length, and where it comes from."""

    address: Interface
    pool: str
    block: Network
