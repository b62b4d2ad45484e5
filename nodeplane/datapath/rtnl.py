"""Links, addresses, routes and neighbours of a network namespace: the values, and what can be done with them.

Says what there is and does what it is told; whose a link or a route is, its caller knows. Everything is
synchronous and for one thread at a time: asyncio programs call it in a thread of a single-thread executor.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from nodeplane.errors import KernelError

Family = Literal[4, 6]
Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network

ROUTE_PROTOCOL = 110
"""The protocol number (rtm_protocol) of nodeplane's routes; rt_protos(5) leaves 110 free."""

MAIN_TABLE = 254
LOCAL_TABLE = 255

ALIAS_BYTES = 254
"""The longest alias: the kernel takes 255 bytes (net/core/rtnetlink.c: IFALIASZ - 1, as NLA_BINARY), and
the closing zero is sent as one of them."""

RouteKind = Literal["unicast", "local", "blackhole"]
Scope = Literal["global", "link", "host"]
Fragmentation = Literal["unset", "set", "inherit"]


class Link(msgspec.Struct, frozen=True):
    """A network interface.

    `peer_index` is the interface index of a veth's other end, in whichever namespace that is.
    """

    name: str
    index: int
    kind: str
    mac: str
    mtu_bytes: int
    is_up: bool
    has_carrier: bool
    master: str | None = None
    alias: str = ""
    peer_index: int | None = None


class NextHop(msgspec.Struct, frozen=True, order=True):
    """One of the ways of a route that has several; all weigh the same."""

    gateway: Address
    link: str | None = None

    def __str__(self) -> str:
        return f"via {self.gateway}" + (f" dev {self.link}" if self.link else "")


class Route(msgspec.Struct, frozen=True):
    """A route. Read back, one through a gateway also names the link that the kernel chose.

    IPv6 has no scopes, and gives a route without a metric 1024 (linux/ipv6_route.h, IP6_RT_PRIO_USER): read
    back, its scope is always "global", and its metric 1024 is 0. The kernel binds a local or blackhole route
    of IPv6 to the loopback: read back, that is its link. One that `is_onlink` takes its gateway to be
    behind its link, whatever that link's addresses say. One with `next_hops` has no gateway or link itself.
    """

    destination: Network
    gateway: Address | None = None
    link: str | None = None
    kind: RouteKind = "unicast"
    protocol: int = ROUTE_PROTOCOL
    scope: Scope = "global"
    table: int = MAIN_TABLE
    source: Address | None = None
    metric: int = 0
    mtu_bytes: int = 0
    advmss_bytes: int = 0
    is_onlink: bool = False
    next_hops: tuple[NextHop, ...] = ()

    def __str__(self) -> str:
        parts = ["" if self.kind == "unicast" else self.kind, str(self.destination)]
        parts += [f"via {self.gateway}" if self.gateway else "", f"dev {self.link}" if self.link else ""]
        parts += map(str, self.next_hops)
        return " ".join(part for part in parts if part)


class Vxlan(msgspec.Struct, frozen=True):
    """What a VXLAN link is made with (RFC 7348): its network, its UDP port, and the address it sends from.

    That address's family is the outer header's. It knows the other ends by its forwarding entries: without
    `is_learning` none comes by itself, and what has none goes nowhere. `has_checksum` is the outer UDP's;
    `fragmentation` is what the outer header of IPv4 says of it.
    """

    vni: int
    port: int
    local: Address
    is_learning: bool = False
    has_checksum: bool = False
    fragmentation: Fragmentation = "unset"


class Neighbour(msgspec.Struct, frozen=True, order=True):
    """A permanent neighbour: the Ethernet address that a link's packets to an address go to."""

    link: str
    address: Address
    mac: str

    def __str__(self) -> str:
        return f"neighbour {self.address} lladdr {self.mac} dev {self.link}"


class FdbEntry(msgspec.Struct, frozen=True, order=True):
    """A permanent forwarding entry of a VXLAN link: the node behind which an Ethernet address is."""

    link: str
    mac: str
    destination: Address

    def __str__(self) -> str:
        return f"forwarding entry {self.mac} dst {self.destination} dev {self.link}"


class LinkChange(msgspec.Struct, frozen=True):
    """What is to be different about a link; None is left as it is."""

    name: str
    is_up: bool | None = None
    mtu_bytes: int | None = None
    mac: str | None = None
    alias: str | None = None


class AddressAddition(msgspec.Struct, frozen=True):
    """An address that a link is to get."""

    name: str
    address: Interface
    scope: Scope = "global"


class AddressDeletion(msgspec.Struct, frozen=True):
    """An address that a link is to lose."""

    name: str
    address: Interface


class RouteAddition(msgspec.Struct, frozen=True):
    """A route that is to be added, in nobody's place."""

    route: Route


Item = Route | Neighbour | FdbEntry


class Replacement(msgspec.Struct, frozen=True):
    """What is to be there, in place of what of any owner has the same key.

    A route's is destination and metric, a neighbour's link and address, a forwarding entry's link and MAC.
    """

    item: Item


class Deletion(msgspec.Struct, frozen=True):
    """What is to go; of a route, gateway, link, source and metric may be left out."""

    item: Item


Change = LinkChange | AddressAddition | AddressDeletion | RouteAddition | Replacement | Deletion


class Rtnl(Protocol):
    """One namespace's links, addresses and routes.

    Links are named. Every method raises `KernelNotFoundError` for a link or route that is not there,
    `KernelExistsError` for one that is there already, `KernelPermissionError` without the right, and
    `KernelError` with the kernel's errno otherwise.
    """

    @property
    def port(self) -> int:
        """The netlink port that the kernel's notifications name as the author of our changes."""
        ...

    def links(self) -> dict[str, Link]:
        """Return all links by name."""
        ...

    def link(self, name: str) -> Link:
        """Return one link; its cost does not grow with the number of links."""
        ...

    def find_link(self, name: str) -> Link | None:
        """Return one link, None if it is not there."""
        ...

    def add_veth(
        self,
        name: str,
        peer: str,
        peer_netns: Path | None = None,
        mtu_bytes: int | None = None,
        *,
        mac: str | None = None,
        peer_mac: str | None = None,
    ) -> None:
        """Create a veth pair, its peer straight in another namespace; both ends are down."""
        ...

    def add_bridge(self, name: str) -> None:
        """Create a bridge, down."""
        ...

    def add_dummy(self, name: str) -> None:
        """Create a dummy link, down (EOPNOTSUPP: the kernel has none)."""
        ...

    def add_vxlan(
        self, name: str, vxlan: Vxlan, *, mac: str | None = None, mtu_bytes: int | None = None
    ) -> None:
        """Create a VXLAN link, down; EEXIST also when another has its network and port in its family."""
        ...

    def find_vxlan(self, name: str) -> Vxlan | None:
        """Return what a VXLAN link was made with; None if there is no such link, or it is of another kind."""
        ...

    def neighbours(self, name: str, family: Family = 4) -> set[Neighbour]:
        """Return a link's permanent neighbours of a family."""
        ...

    def fdb(self, name: str) -> set[FdbEntry]:
        """Return the permanent forwarding entries of a VXLAN link."""
        ...

    def delete_link(self, name: str) -> None:
        """Delete a link, and with it its peer, addresses and routes."""
        ...

    def set_up(self, name: str) -> None:
        """Set a link administratively up."""
        ...

    def set_down(self, name: str) -> None:
        """Set a link administratively down; the kernel drops the routes through it."""
        ...

    def set_master(self, name: str, master: str | None) -> None:
        """Make a link a bridge's port, or free it."""
        ...

    def set_mac(self, name: str, mac: str) -> None:
        """Set a link's Ethernet address."""
        ...

    def set_mtu(self, name: str, mtu_bytes: int) -> None:
        """Set a link's MTU in bytes."""
        ...

    def set_alias(self, name: str, alias: str) -> None:
        """Set a link's free text, which `ip link` shows (ERANGE above `ALIAS_BYTES`)."""
        ...

    def addresses(self, name: str, family: Family = 4) -> set[Interface]:
        """Return a link's addresses of a family."""
        ...

    def addresses_by_link(self, family: Family = 4) -> dict[str, set[Interface]]:
        """Return the addresses of every link that has any; links that have none cost nothing."""
        ...

    def add_address(self, name: str, address: Interface, scope: Scope = "global") -> None:
        """Give a link an address.

        An IPv6 address can be used at once, without detection of duplicates; EACCES on a link where IPv6 is
        switched off.
        """
        ...

    def delete_address(self, name: str, address: Interface) -> None:
        """Take an address from a link (EADDRNOTAVAIL if it has none such)."""
        ...

    def egress_link(self, destination: Address) -> Link:
        """Return the link that packets to an address leave by (ENETUNREACH if none); no dump."""
        ...

    def is_own(self, address: Address) -> bool:
        """Say whether packets to an address are for this namespace itself; one lookup."""
        ...

    def routes(
        self,
        protocol: int | None = None,
        *,
        table: int = MAIN_TABLE,
        link: str | None = None,
        family: Family = 4,
    ) -> list[Route]:
        """Return a table's unicast, local and blackhole routes; the kernel picks by protocol and link.

        Table 0 means all of them.
        """
        ...

    def add_route(self, route: Route) -> None:
        """Add a route; one of any owner with the same destination and metric is in the way."""
        ...

    def replace_route(self, route: Route) -> None:
        """Put a route in place of the one, of any owner, with the same destination and metric, or add it."""
        ...

    def delete_route(self, route: Route) -> None:
        """Delete the route that `route` describes; gateway, link, source and metric may be left out."""
        ...

    def apply(self, changes: Sequence[Change]) -> Mapping[int, KernelError]:
        """Send several changes to the kernel at once, and return what it refused, by position.

        They are made in order; one that is refused does not stop those behind it.
        """
        ...


def open_rtnl(namespace: Path | None = None, *, is_brief: bool = False) -> AbstractContextManager[Rtnl]:
    """Open the kernel's `Rtnl` of a namespace (default: the calling thread's), as a context manager.

    Args:
        namespace: Whose.
        is_brief: It is for one short piece of work, in which no link that is used changes its name.

    Raises:
        KernelNotFoundError: there is no such namespace.
    """
    # Late: most modules only speak of routes.
    from nodeplane.datapath.rtnl_kernel import KernelRtnl

    return KernelRtnl(namespace, is_brief=is_brief)
