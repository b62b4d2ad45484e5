"""Links, addresses and routes of one network namespace: the values, and what can be done with them.

Says what there is and does what it is told; whose a link or a route is, its caller knows. Everything is
synchronous and bound to the thread that opened it: asyncio programs open and call it in one thread of a
single-thread executor (pyroute2's synchronous classes refuse to run inside a running loop).
"""

from contextlib import AbstractContextManager
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Literal, Protocol

import msgspec

ROUTE_PROTOCOL = 110
"""The protocol number (rtm_protocol) of nodeplane's routes; rt_protos(5) leaves 110 free."""

MAIN_TABLE = 254
LOCAL_TABLE = 255

ALIAS_BYTES = 254
"""The longest alias: the kernel takes 255 bytes (net/core/rtnetlink.c: IFALIASZ - 1, as NLA_BINARY), and
pyroute2 sends the closing zero as one of them."""

RouteKind = Literal["unicast", "local", "blackhole"]
Scope = Literal["global", "link", "host"]


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


class Route(msgspec.Struct, frozen=True):
    """An IPv4 route. Read back, a route through a gateway also names the link that the kernel chose."""

    destination: IPv4Network
    gateway: IPv4Address | None = None
    link: str | None = None
    kind: RouteKind = "unicast"
    protocol: int = ROUTE_PROTOCOL
    scope: Scope = "global"
    table: int = MAIN_TABLE
    source: IPv4Address | None = None
    metric: int = 0

    def __str__(self) -> str:
        parts = ["" if self.kind == "unicast" else self.kind, str(self.destination)]
        parts += [f"via {self.gateway}" if self.gateway else "", f"dev {self.link}" if self.link else ""]
        return " ".join(part for part in parts if part)


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

    def add_veth(
        self, name: str, peer: str, peer_netns: Path | None = None, mtu_bytes: int | None = None
    ) -> None:
        """Create a veth pair, its peer straight in another namespace; both ends are down."""
        ...

    def add_bridge(self, name: str) -> None:
        """Create a bridge, down."""
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

    def addresses(self, name: str) -> set[IPv4Interface]:
        """Return a link's IPv4 addresses."""
        ...

    def addresses_by_link(self) -> dict[str, set[IPv4Interface]]:
        """Return the addresses of every link that has any; links that have none cost nothing."""
        ...

    def add_address(self, name: str, address: IPv4Interface, scope: Scope = "global") -> None:
        """Give a link an address."""
        ...

    def delete_address(self, name: str, address: IPv4Interface) -> None:
        """Take an address from a link (EADDRNOTAVAIL if it has none such)."""
        ...

    def egress_link(self, destination: IPv4Address) -> str:
        """Return the link that packets to an address leave by (ENETUNREACH if none); one lookup, no dump."""
        ...

    def routes(
        self, protocol: int | None = None, *, table: int = MAIN_TABLE, link: str | None = None
    ) -> list[Route]:
        """Return a table's unicast, local and blackhole routes; the kernel picks by protocol and link."""
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


def open_rtnl(namespace: Path | None = None) -> AbstractContextManager[Rtnl]:
    """Open the kernel's `Rtnl` of a namespace (default: the calling thread's), as a context manager.

    Raises:
        KernelNotFoundError: there is no such namespace.
    """
    # Late: pyroute2 takes 160 ms to import, and most modules only speak of routes.
    from nodeplane.datapath.rtnl_kernel import KernelRtnl

    return KernelRtnl(namespace)
