"""The kernel's links, addresses and routes, by rtnetlink messages of our own.

Not by pyroute2: its import takes 170 ms and each of its calls 0.5 ms, and a pod's start waits for both. Here
a call takes 0.03 ms.
"""

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Self

from nodeplane.datapath import netlink as nl
from nodeplane.datapath.rtnl import (
    address_codec,
    batch,
    link_codec,
    link_ioctl,
    neighbour_codec,
    route_codec,
    vxlan_codec,
)
from nodeplane.datapath.rtnl.address import Address, Family, Interface, Scope
from nodeplane.datapath.rtnl.batch import MAKE, PUT, encode_route
from nodeplane.datapath.rtnl.change import Change, adding, deleting
from nodeplane.datapath.rtnl.exchange import Exchange
from nodeplane.datapath.rtnl.link import EgressLink, Link, LinkChange, Vxlan
from nodeplane.datapath.rtnl.link_deletion import delete_link
from nodeplane.datapath.rtnl.link_names import LinkNames
from nodeplane.datapath.rtnl.neighbour import FdbEntry, Neighbour
from nodeplane.datapath.rtnl.route import MAIN_TABLE, Route
from nodeplane.errors import KernelError, KernelNotFoundError, kernel_error


class KernelRtnl:
    """The kernel's `Rtnl`: one rtnetlink socket, and a context manager that closes it.

    Args:
        namespace: Whose; None for the calling thread's.
        is_brief: It is for one short piece of work, so that a link's index is asked for only once.

    Raises:
        KernelNotFoundError: there is no such namespace.
    """

    def __init__(self, namespace: Path | None = None, *, is_brief: bool = False) -> None:
        self._exchange = Exchange(namespace)
        self._links = LinkNames(self._exchange, is_brief=is_brief)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exchange.socket.close()

    @property
    def port(self) -> int:
        """See `Rtnl`."""
        return self._exchange.socket.port

    def links(self) -> dict[str, Link]:
        """See `Rtnl`."""
        answers = self._exchange.dump("list links", link_codec.GETLINK, link_codec.link_query())
        names = {link_codec.link_index(answer): link_codec.link_label(answer) for answer in answers}
        return {
            names[link_codec.link_index(answer)]: link_codec.decode_link(answer, names) for answer in answers
        }

    def link(self, name: str) -> Link:
        """See `Rtnl`."""
        return self._decode(self._links.read(name))

    def find_link(self, name: str) -> Link | None:
        """See `Rtnl`."""
        try:
            return self.link(name)
        except KernelNotFoundError:
            return None

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
        # Created in place: the name is free there at once or the whole request fails, and no half-moved link
        # can be left in this namespace.
        with nullcontext() if peer_netns is None else _opened(operation, peer_netns) as there:
            body = link_codec.new_veth(name, peer, there, mtu_bytes, macs=(mac, peer_mac))
            # What was made comes back (Linux 6.2), and need not be asked for.
            for made in self._exchange.write(operation, link_codec.NEWLINK, body, MAKE | nl.NLM_F_ECHO):
                self._links.learn(name, made)

    def add_bridge(self, name: str) -> None:
        """See `Rtnl`."""
        self._exchange.write(
            f"create bridge {name}", link_codec.NEWLINK, link_codec.new_link(name, "bridge"), MAKE
        )

    def add_dummy(self, name: str) -> None:
        """See `Rtnl`."""
        self._exchange.write(
            f"create dummy {name}", link_codec.NEWLINK, link_codec.new_link(name, "dummy"), MAKE
        )

    def add_vxlan(
        self, name: str, vxlan: Vxlan, *, mac: str | None = None, mtu_bytes: int | None = None
    ) -> None:
        """See `Rtnl`."""
        body = vxlan_codec.new_vxlan(name, vxlan, mac, mtu_bytes)
        self._exchange.write(f"create vxlan {name}", link_codec.NEWLINK, body, MAKE)

    def find_vxlan(self, name: str) -> Vxlan | None:
        """See `Rtnl`."""
        try:
            return vxlan_codec.decode_vxlan(self._links.read(name))
        except KernelNotFoundError:
            return None

    def neighbours(self, name: str, family: Family = 4) -> set[Neighbour]:
        """See `Rtnl`."""
        query = neighbour_codec.neighbours_query(family, self._links.index(name))
        answers = self._exchange.dump(f"list neighbours of {name}", neighbour_codec.GETNEIGH, query)
        return set(neighbour_codec.decode_neighbours(answers, name))

    def fdb(self, name: str) -> set[FdbEntry]:
        """See `Rtnl`."""
        query = neighbour_codec.fdb_query(self._links.index(name))
        answers = self._exchange.dump(f"list forwarding entries of {name}", neighbour_codec.GETNEIGH, query)
        return set(neighbour_codec.decode_fdb(answers, name))

    def delete_link(self, name: str) -> None:
        """See `Rtnl`."""
        index = self._links.index(name)
        self._links.forget(name)
        delete_link(f"delete link {name}", index, self._exchange.socket)

    def set_up(self, name: str) -> None:
        """See `Rtnl`."""
        self._change(f"set link {name} up", LinkChange(name, is_up=True))

    def set_down(self, name: str) -> None:
        """See `Rtnl`."""
        self._change(f"set link {name} down", LinkChange(name, is_up=False))

    def set_master(self, name: str, master: str | None) -> None:
        """See `Rtnl`."""
        index = 0 if master is None else self._links.index(master)
        self._exchange.write(
            f"set link {name} master {master}", link_codec.NEWLINK, link_codec.link_master(name, index)
        )

    def set_mac(self, name: str, mac: str) -> None:
        """See `Rtnl`."""
        self._change(f"set link {name} address {mac}", LinkChange(name, mac=mac))

    def set_mtu(self, name: str, mtu_bytes: int) -> None:
        """See `Rtnl`."""
        self._change(f"set link {name} mtu {mtu_bytes}", LinkChange(name, mtu_bytes=mtu_bytes))

    def set_alias(self, name: str, alias: str) -> None:
        """See `Rtnl`."""
        self._change(f"set link {name} alias {alias!r}", LinkChange(name, alias=alias))

    def addresses(self, name: str, family: Family = 4) -> set[Interface]:
        """See `Rtnl`."""
        query = address_codec.address_query(family, self._links.index(name))
        answers = self._exchange.dump(f"list addresses of {name}", address_codec.GETADDR, query)
        return {address_codec.decode_address(answer)[1] for answer in answers}

    def addresses_by_link(self, family: Family = 4) -> dict[str, set[Interface]]:
        """See `Rtnl`."""
        answers = self._exchange.dump(
            "list addresses", address_codec.GETADDR, address_codec.address_query(family)
        )
        held = [address_codec.decode_address(answer) for answer in answers]
        names = self._links.names({index for index, _ in held})
        found: dict[str, set[Interface]] = {}
        for index, address in held:
            if index in names:
                found.setdefault(names[index], set()).add(address)
        return found

    def add_address(self, name: str, address: Interface, scope: Scope = "global") -> None:
        """See `Rtnl`."""
        body = address_codec.address(self._links.index(name), address, scope)
        self._exchange.write(adding(address, name), address_codec.NEWADDR, body, MAKE)

    def delete_address(self, name: str, address: Interface) -> None:
        """See `Rtnl`."""
        body = address_codec.address(self._links.index(name), address)
        self._exchange.write(deleting(address, name), address_codec.DELADDR, body)

    def egress_link(self, destination: Address) -> EgressLink:
        """See `Rtnl`."""
        operation = f"look up the route to {destination}"
        index = next(iter(route_codec.route_links(self._way(operation, destination))), 0)
        descriptor = self._exchange.socket.fileno()
        name = link_ioctl.read_name(operation, descriptor, index)
        return EgressLink(name, link_ioctl.read_mtu(operation, descriptor, name))

    def is_own(self, address: Address) -> bool:
        """See `Rtnl`."""
        try:
            return route_codec.route_is_local(self._way(f"look up the route to {address}", address))
        except KernelError:
            # There is no way to it, or a blackhole for its block.
            return False

    def routes(
        self,
        protocol: int | None = None,
        *,
        table: int = MAIN_TABLE,
        link: str | None = None,
        family: Family = 4,
    ) -> list[Route]:
        """See `Rtnl`."""
        query = route_codec.routes_query(
            family, table, protocol, None if link is None else self._links.index(link)
        )
        answers = [
            answer
            for answer in self._exchange.dump("list routes", route_codec.GETROUTE, query)
            if route_codec.route_is_known(answer)
        ]
        through = [route_codec.route_links(answer) for answer in answers]
        names = self._links.names({index for indexes in through for index in indexes})
        # A link without a name went between the two dumps, and its routes went with it.
        return [
            route_codec.decode_route(answer, names)
            for answer, indexes in zip(answers, through, strict=True)
            if names.keys() >= set(indexes)
        ]

    def add_route(self, route: Route) -> None:
        """See `Rtnl`."""
        self._route("add", route_codec.NEWROUTE, MAKE, route)

    def replace_route(self, route: Route) -> None:
        """See `Rtnl`."""
        self._route("replace", route_codec.NEWROUTE, PUT, route)

    def delete_route(self, route: Route) -> None:
        """See `Rtnl`."""
        self._route("del", route_codec.DELROUTE, 0, route)

    def apply(self, changes: Sequence[Change]) -> Mapping[int, KernelError]:
        """See `Rtnl`."""
        return batch.apply(self._exchange.socket, self._links.index, changes)

    def _change(self, operation: str, change: LinkChange) -> None:
        self._exchange.write(operation, link_codec.NEWLINK, link_codec.link_change(change))

    def _route(self, verb: str, kind: int, flags: int, route: Route) -> None:
        self._exchange.write(f"{verb} route {route}", kind, encode_route(route, self._links.index), flags)

    def _way(self, operation: str, destination: Address) -> memoryview:
        return self._exchange.question(operation, route_codec.GETROUTE, route_codec.route_query(destination))

    def _decode(self, answer: memoryview) -> Link:
        facts = link_codec.link_facts(answer)
        master = link_codec.link_master_index(facts)
        names = {} if master is None else {master: self._links.name("read a link's master", master)}
        return link_codec.decode_link(answer, names, facts)


@contextmanager
def _opened(operation: str, path: Path) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as exc:
        raise kernel_error(operation, exc.errno or errno.EIO) from exc
    try:
        yield descriptor
    finally:
        os.close(descriptor)
