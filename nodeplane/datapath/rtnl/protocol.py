"""What can be read and done about a namespace's links, addresses, routes and neighbours."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from nodeplane.datapath.rtnl.address import Address, Family, Interface, Scope
from nodeplane.datapath.rtnl.change import Change
from nodeplane.datapath.rtnl.link import EgressLink, Link, Vxlan
from nodeplane.datapath.rtnl.neighbour import FdbEntry, Neighbour
from nodeplane.datapath.rtnl.route import MAIN_TABLE, Route
from nodeplane.errors import KernelError


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

    def egress_link(self, destination: Address) -> EgressLink:
        """Return the link that packets to an address leave by (ENETUNREACH if none); waits for no writer."""
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
    from nodeplane.datapath.rtnl.kernel import KernelRtnl

    return KernelRtnl(namespace, is_brief=is_brief)
