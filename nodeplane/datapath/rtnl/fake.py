"""Links, addresses, routes and neighbours in memory, as strict as the kernel where `Rtnl` can tell.

One contract suite holds `FakeRtnl` and `KernelRtnl` to the same answers. Left out: the kernel's own routes
(protocol 2) are not listed, and no link has an IPv6 address that nobody gave it. What the kernel does and
refuses stands by concept in `fake_links`, `fake_addresses`, `fake_routes` and `fake_neighbours`.
"""

import errno
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path

from nodeplane.datapath.rtnl import fake_addresses, fake_links, fake_neighbours, fake_routes
from nodeplane.datapath.rtnl.address import (
    Address,
    AddressAddition,
    AddressDeletion,
    Family,
    Interface,
    Scope,
)
from nodeplane.datapath.rtnl.change import Change, Deletion, Replacement
from nodeplane.datapath.rtnl.fake_state import State
from nodeplane.datapath.rtnl.link import EgressLink, Link, LinkChange, Vxlan
from nodeplane.datapath.rtnl.neighbour import FdbEntry, Neighbour
from nodeplane.datapath.rtnl.route import MAIN_TABLE, Route, RouteAddition
from nodeplane.errors import KernelError, kernel_error


class FakeKernel:
    """The namespaces of one machine; `None` is the one that programs start in."""

    def __init__(self) -> None:
        self._namespaces: dict[Path | None, FakeRtnl] = {}
        self._macs = count(1)

    def rtnl(self, namespace: Path | None = None) -> "FakeRtnl":
        """Return a namespace's rtnetlink, as `open_rtnl` does; made on first use."""
        if namespace not in self._namespaces:
            self._namespaces[namespace] = FakeRtnl(self)
        return self._namespaces[namespace]

    def has(self, namespace: Path) -> bool:
        """Say whether a namespace exists."""
        return namespace in self._namespaces

    def next_mac(self) -> str:
        """Return an Ethernet address that no link has; locally administered, as the kernel's choice is."""
        high, low = divmod(next(self._macs), 256)
        return f"02:00:00:00:{high:02x}:{low:02x}"


class FakeRtnl:
    """An `Rtnl` over plain dictionaries; `writes` counts what changed something."""

    def __init__(self, kernel: FakeKernel | None = None) -> None:
        self._kernel = FakeKernel() if kernel is None else kernel
        self._state = State(self._kernel.next_mac)
        fake_links.add_loopback(self._state)

    @property
    def writes(self) -> int:
        """How often something was changed."""
        return self._state.writes

    @writes.setter
    def writes(self, count: int) -> None:
        self._state.writes = count

    @property
    def port(self) -> int:
        """See `Rtnl`; the same for all fakes, which notify nobody."""
        return 1

    def links(self) -> dict[str, Link]:
        """See `Rtnl`."""
        return {name: self.link(name) for name in self._state.links}

    def link(self, name: str) -> Link:
        """See `Rtnl`."""
        return fake_links.read(self._state, name)

    def find_link(self, name: str) -> Link | None:
        """See `Rtnl`."""
        return self.link(name) if name in self._state.links else None

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
        """See `Rtnl`."""
        operation = f"create veth {name} with peer {peer}"
        there = self._state
        if peer_netns is not None:
            if not self._kernel.has(peer_netns):
                raise kernel_error(operation, errno.ENOENT)
            there = self._kernel.rtnl(peer_netns)._state
        ends = (self._state, name, mac), (there, peer, peer_mac)
        fake_links.add_veth(ends, mtu_bytes)

    def add_bridge(self, name: str) -> None:
        """See `Rtnl`."""
        fake_links.add_plain(self._state, name, "bridge")

    def add_dummy(self, name: str) -> None:
        """See `Rtnl`."""
        fake_links.add_plain(self._state, name, "dummy")

    def add_vxlan(
        self, name: str, vxlan: Vxlan, *, mac: str | None = None, mtu_bytes: int | None = None
    ) -> None:
        """See `Rtnl`."""
        fake_links.add_vxlan(self._state, name, vxlan, mac, mtu_bytes)

    def find_vxlan(self, name: str) -> Vxlan | None:
        """See `Rtnl`."""
        return self._state.vxlans.get(name)

    def neighbours(self, name: str, family: Family = 4) -> set[Neighbour]:
        """See `Rtnl`."""
        return fake_neighbours.neighbours(self._state, name, family)

    def fdb(self, name: str) -> set[FdbEntry]:
        """See `Rtnl`."""
        return fake_neighbours.fdb(self._state, name)

    def delete_link(self, name: str) -> None:
        """See `Rtnl`."""
        fake_links.delete(self._state, name)

    def set_up(self, name: str) -> None:
        """See `Rtnl`."""
        fake_links.set_up(self._state, name)

    def set_down(self, name: str) -> None:
        """See `Rtnl`."""
        fake_links.set_down(self._state, name)

    def set_master(self, name: str, master: str | None) -> None:
        """See `Rtnl`."""
        fake_links.set_master(self._state, name, master)

    def set_mac(self, name: str, mac: str) -> None:
        """See `Rtnl`."""
        fake_links.set_mac(self._state, name, mac)

    def set_mtu(self, name: str, mtu_bytes: int) -> None:
        """See `Rtnl`."""
        fake_links.set_mtu(self._state, name, mtu_bytes)

    def set_alias(self, name: str, alias: str) -> None:
        """See `Rtnl`."""
        fake_links.set_alias(self._state, name, alias)

    def addresses(self, name: str, family: Family = 4) -> set[Interface]:
        """See `Rtnl`."""
        return fake_addresses.addresses(self._state, name, family)

    def addresses_by_link(self, family: Family = 4) -> dict[str, set[Interface]]:
        """See `Rtnl`."""
        return fake_addresses.addresses_by_link(self._state, family)

    def add_address(self, name: str, address: Interface, scope: Scope = "global") -> None:
        """See `Rtnl`."""
        fake_addresses.add(self._state, name, address, scope)

    def delete_address(self, name: str, address: Interface) -> None:
        """See `Rtnl`."""
        fake_addresses.delete(self._state, name, address)

    def egress_link(self, destination: Address) -> EgressLink:
        """See `Rtnl`."""
        link = self.link(fake_routes.egress(self._state, destination))
        return EgressLink(link.name, link.mtu_bytes)

    def is_own(self, address: Address) -> bool:
        """See `Rtnl`."""
        return fake_routes.is_own(self._state, address)

    def routes(
        self,
        protocol: int | None = None,
        *,
        table: int = MAIN_TABLE,
        link: str | None = None,
        family: Family = 4,
    ) -> list[Route]:
        """See `Rtnl`; the kernel's own routes are not listed."""
        return fake_routes.routes(self._state, protocol, table, link, family)

    def add_route(self, route: Route) -> None:
        """See `Rtnl`."""
        fake_routes.add(self._state, route)

    def replace_route(self, route: Route) -> None:
        """See `Rtnl`."""
        fake_routes.put(self._state, "replace", route)

    def delete_route(self, route: Route) -> None:
        """See `Rtnl`."""
        fake_routes.delete(self._state, route)

    def apply(self, changes: Sequence[Change]) -> Mapping[int, KernelError]:
        """See `Rtnl`."""
        refused: dict[int, KernelError] = {}
        for position, change in enumerate(changes):
            try:
                self._apply(change)
            except KernelError as exc:
                refused[position] = exc
        return refused

    def _apply(self, change: Change) -> None:
        match change:
            case LinkChange():
                self._change_link(change)
            case AddressAddition(name, address, scope):
                self.add_address(name, address, scope)
            case AddressDeletion(name, address):
                self.delete_address(name, address)
            case RouteAddition(route):
                self.add_route(route)
            case Replacement(item):
                if isinstance(item, Route):
                    self.replace_route(item)
                else:
                    fake_neighbours.put(self._state, item)
            case Deletion(item):
                if isinstance(item, Route):
                    self.delete_route(item)
                else:
                    fake_neighbours.delete(self._state, item)

    def _change_link(self, change: LinkChange) -> None:
        name = change.name
        self._state.link(f"set link {name}", name)
        # In the kernel's order (net/core/rtnetlink.c, do_setlink): what is behind a refusal is not done.
        steps: list[tuple[object, Callable[[], None]]] = [
            (change.mac, lambda: self.set_mac(name, change.mac or "")),
            (change.mtu_bytes, lambda: self.set_mtu(name, change.mtu_bytes or 0)),
            (change.alias, lambda: self.set_alias(name, change.alias or "")),
            (change.is_up, lambda: self.set_up(name) if change.is_up else self.set_down(name)),
        ]
        for wanted, step in steps:
            if wanted is not None:
                step()
