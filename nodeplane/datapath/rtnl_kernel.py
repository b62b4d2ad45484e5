"""The kernel's links, addresses and routes, by rtnetlink messages of our own.

Not by pyroute2: its import takes 170 ms and each of its calls 0.5 ms, and a pod's start waits for both. Here
a call takes 0.03 ms.
"""

import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from nodeplane.datapath import neighbour_codec, netns, vxlan_codec
from nodeplane.datapath import netlink as nl
from nodeplane.datapath import rtnl_codec as codec
from nodeplane.datapath.link_deletion import delete_link
from nodeplane.datapath.netlink_socket import NetlinkSocket, read_at_rest
from nodeplane.datapath.rtnl import (
    MAIN_TABLE,
    Address,
    AddressAddition,
    AddressDeletion,
    Change,
    Deletion,
    Family,
    FdbEntry,
    Interface,
    Link,
    LinkChange,
    Neighbour,
    Replacement,
    Route,
    RouteAddition,
    Scope,
    Vxlan,
)
from nodeplane.errors import KernelError, KernelNotFoundError, kernel_error

_MAKE = nl.NLM_F_CREATE | nl.NLM_F_EXCL
_LOOPBACK_INDEX = 1
_PUT = nl.NLM_F_CREATE | codec.NLM_F_REPLACE
# A link read by itself costs more than one out of a dump; but a dump has all of them.
_DUMP_FROM = 8
# Changes in one message to the kernel: the refusals of all of them fit into the socket's buffer.
_AT_ONCE = 1000


class KernelRtnl:
    """The kernel's `Rtnl`: one rtnetlink socket, and a context manager that closes it.

    Args:
        namespace: Whose; None for the calling thread's.
        is_brief: It is for one short piece of work, so that a link's index is asked for only once.

    Raises:
        KernelNotFoundError: there is no such namespace.
    """

    def __init__(self, namespace: Path | None = None, *, is_brief: bool = False) -> None:
        # The loopback is the first device of every namespace (net/core/dev.c, register_netdevice).
        self._known: dict[str, int] | None = {"lo": _LOOPBACK_INDEX} if is_brief else None
        with netns.inside(namespace):
            # Strict: the kernel itself applies a dump's filters (NETLINK_GET_STRICT_CHK, 4.20).
            self._socket = NetlinkSocket(nl.NETLINK_ROUTE, is_strict=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    @property
    def port(self) -> int:
        """See `Rtnl`."""
        return self._socket.port

    def links(self) -> dict[str, Link]:
        """See `Rtnl`."""
        answers = self._dump("list links", codec.GETLINK, codec.link_query())
        names = {codec.link_index(answer): codec.link_label(answer) for answer in answers}
        return {names[codec.link_index(answer)]: codec.decode_link(answer, names) for answer in answers}

    def link(self, name: str) -> Link:
        """See `Rtnl`."""
        return self._decode(self._get(name))

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
            body = codec.new_veth(name, peer, there, mtu_bytes, macs=(mac, peer_mac))
            # What was made comes back (Linux 6.2), and need not be asked for.
            flags = _MAKE | nl.NLM_F_ECHO | nl.NLM_F_ACK
            for made in self._socket.ask(operation, nl.request(codec.NEWLINK, flags, 1, body)):
                self._learn(name, codec.link_index(made))

    def add_bridge(self, name: str) -> None:
        """See `Rtnl`."""
        self._write(f"create bridge {name}", codec.NEWLINK, codec.new_plain(name, "bridge"), _MAKE)

    def add_dummy(self, name: str) -> None:
        """See `Rtnl`."""
        self._write(f"create dummy {name}", codec.NEWLINK, codec.new_plain(name, "dummy"), _MAKE)

    def add_vxlan(
        self, name: str, vxlan: Vxlan, *, mac: str | None = None, mtu_bytes: int | None = None
    ) -> None:
        """See `Rtnl`."""
        body = vxlan_codec.new_vxlan(name, vxlan, mac, mtu_bytes)
        self._write(f"create vxlan {name}", codec.NEWLINK, body, _MAKE)

    def find_vxlan(self, name: str) -> Vxlan | None:
        """See `Rtnl`."""
        try:
            return vxlan_codec.decode_vxlan(self._get(name))
        except KernelNotFoundError:
            return None

    def neighbours(self, name: str, family: Family = 4) -> set[Neighbour]:
        """See `Rtnl`."""
        query = neighbour_codec.neighbours_query(family, self._index(name))
        answers = self._dump(f"list neighbours of {name}", neighbour_codec.GETNEIGH, query)
        return set(neighbour_codec.decode_neighbours(answers, name))

    def fdb(self, name: str) -> set[FdbEntry]:
        """See `Rtnl`."""
        query = neighbour_codec.fdb_query(self._index(name))
        answers = self._dump(f"list forwarding entries of {name}", neighbour_codec.GETNEIGH, query)
        return set(neighbour_codec.decode_fdb(answers, name))

    def delete_link(self, name: str) -> None:
        """See `Rtnl`."""
        index = self._index(name)
        if self._known is not None:
            self._known.pop(name, None)
        delete_link(f"delete link {name}", index, self._socket)

    def set_up(self, name: str) -> None:
        """See `Rtnl`."""
        self._change(f"set link {name} up", LinkChange(name, is_up=True))

    def set_down(self, name: str) -> None:
        """See `Rtnl`."""
        self._change(f"set link {name} down", LinkChange(name, is_up=False))

    def set_master(self, name: str, master: str | None) -> None:
        """See `Rtnl`."""
        index = 0 if master is None else self._index(master)
        self._write(f"set link {name} master {master}", codec.NEWLINK, codec.link_master(name, index))

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
        query = codec.address_query(family, self._index(name))
        answers = self._dump(f"list addresses of {name}", codec.GETADDR, query)
        return {codec.decode_address(answer)[1] for answer in answers}

    def addresses_by_link(self, family: Family = 4) -> dict[str, set[Interface]]:
        """See `Rtnl`."""
        answers = self._dump("list addresses", codec.GETADDR, codec.address_query(family))
        held = [codec.decode_address(answer) for answer in answers]
        names = self._names({index for index, _ in held})
        found: dict[str, set[Interface]] = {}
        for index, address in held:
            if index in names:
                found.setdefault(names[index], set()).add(address)
        return found

    def add_address(self, name: str, address: Interface, scope: Scope = "global") -> None:
        """See `Rtnl`."""
        body = codec.address(self._index(name), address, scope)
        self._write(_adding(address, name), codec.NEWADDR, body, _MAKE)

    def delete_address(self, name: str, address: Interface) -> None:
        """See `Rtnl`."""
        body = codec.address(self._index(name), address)
        self._write(_deleting(address, name), codec.DELADDR, body)

    def egress_link(self, destination: Address) -> Link:
        """See `Rtnl`."""
        operation = f"look up the route to {destination}"
        index = next(iter(codec.route_links(self._way(operation, destination))), 0)
        return self._decode(self._ask(operation, codec.GETLINK, codec.link_query(index=index)))

    def is_own(self, address: Address) -> bool:
        """See `Rtnl`."""
        try:
            return codec.route_is_local(self._way(f"look up the route to {address}", address))
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
        query = codec.routes_query(family, table, protocol, None if link is None else self._index(link))
        answers = [
            answer
            for answer in self._dump("list routes", codec.GETROUTE, query)
            if codec.route_is_known(answer)
        ]
        through = [codec.route_links(answer) for answer in answers]
        names = self._names({index for indexes in through for index in indexes})
        # A link without a name went between the two dumps, and its routes went with it.
        return [
            codec.decode_route(answer, names)
            for answer, indexes in zip(answers, through, strict=True)
            if names.keys() >= set(indexes)
        ]

    def add_route(self, route: Route) -> None:
        """See `Rtnl`."""
        self._route("add", codec.NEWROUTE, _MAKE, route)

    def replace_route(self, route: Route) -> None:
        """See `Rtnl`."""
        self._route("replace", codec.NEWROUTE, _PUT, route)

    def delete_route(self, route: Route) -> None:
        """See `Rtnl`."""
        self._route("del", codec.DELROUTE, 0, route)

    def apply(self, changes: Sequence[Change]) -> Mapping[int, KernelError]:
        """See `Rtnl`."""
        refused: dict[int, KernelError] = {}
        indexes: dict[str, int] = {}
        for start in range(0, len(changes), _AT_ONCE):
            refused |= self._apply(changes, range(start, min(start + _AT_ONCE, len(changes))), indexes)
        return refused

    def _apply(
        self, changes: Sequence[Change], positions: range, indexes: dict[str, int]
    ) -> dict[int, KernelError]:
        refused: dict[int, KernelError] = {}
        requests = []
        for position in positions:
            change = changes[position]
            try:
                requests.append((position, *self._encode(change, indexes)))
            except KernelError as exc:
                refused[position] = exc
        if not requests:
            return refused
        last = requests[-1][0]
        data = b"".join(
            # Sequence number 0 is the kernel's own for notifications.
            nl.request(kind, flags | (nl.NLM_F_ACK if position == last else 0), position + 1, body)
            for position, kind, flags, body in requests
        )
        for sequence, code in self._socket.errors("apply changes", data, last + 1).items():
            refused[sequence - 1] = kernel_error(_describe(changes[sequence - 1]), code)
        return refused

    def _encode(self, change: Change, indexes: dict[str, int]) -> tuple[int, int, bytes]:
        """Encode a change: the message's type, its flags and its body; `indexes` keeps what was looked up."""

        def index(name: str) -> int:
            if name not in indexes:
                indexes[name] = self._index(name)
            return indexes[name]

        match change:
            case LinkChange():
                return codec.NEWLINK, 0, codec.link_change(change)
            case AddressAddition():
                body = codec.address(index(change.name), change.address, change.scope)
                return codec.NEWADDR, _MAKE, body
            case AddressDeletion():
                return codec.DELADDR, 0, codec.address(index(change.name), change.address)
            case RouteAddition(route):
                return codec.NEWROUTE, _MAKE, _encode_route(route, index)
            case Replacement(item) | Deletion(item):
                is_deleted = isinstance(change, Deletion)
                flags = 0 if is_deleted else _PUT
                if isinstance(item, Route):
                    kind = codec.DELROUTE if is_deleted else codec.NEWROUTE
                    return kind, flags, _encode_route(item, index)
                kind = neighbour_codec.DELNEIGH if is_deleted else neighbour_codec.NEWNEIGH
                return kind, flags, neighbour_codec.encode(item, index(item.link), is_deleted=is_deleted)

    def _change(self, operation: str, change: LinkChange) -> None:
        self._write(operation, codec.NEWLINK, codec.link_change(change))

    def _route(self, verb: str, kind: int, flags: int, route: Route) -> None:
        self._write(f"{verb} route {route}", kind, _encode_route(route, self._index), flags)

    def _way(self, operation: str, destination: Address) -> memoryview:
        return self._ask(operation, codec.GETROUTE, codec.route_query(destination))

    def _get(self, name: str) -> memoryview:
        answer = self._ask(f"read link {name}", codec.GETLINK, codec.link_query(name))
        self._learn(name, codec.link_index(answer))
        return answer

    def _decode(self, answer: memoryview) -> Link:
        facts = codec.link_facts(answer)
        master = codec.link_master_index(facts)
        names = {} if master is None else {master: self._name("read a link's master", master)}
        return codec.decode_link(answer, names, facts)

    def _index(self, name: str) -> int:
        known = self._known.get(name) if self._known is not None else None
        return codec.link_index(self._get(name)) if known is None else known

    def _name(self, operation: str, index: int) -> str:
        for name, known in self._known.items() if self._known is not None else ():
            if known == index:
                return name
        name = codec.link_label(self._ask(operation, codec.GETLINK, codec.link_query(index=index)))
        self._learn(name, index)
        return name

    def _learn(self, name: str, index: int) -> None:
        if self._known is not None:
            self._known[name] = index

    def _names(self, indexes: set[int]) -> dict[int, str]:
        """Return the names of some links, those that are gone left out: few singly, many from one dump."""
        if len(indexes) > _DUMP_FROM:
            answers = self._dump("read link names", codec.GETLINK, codec.link_query())
            return {codec.link_index(answer): codec.link_label(answer) for answer in answers}
        names: dict[int, str] = {}
        for index in indexes:
            with suppress(KernelNotFoundError):
                names[index] = self._name("read a link's name", index)
        return names

    def _write(self, operation: str, kind: int, body: bytes, flags: int = 0) -> None:
        self._socket.ask(operation, nl.request(kind, flags | nl.NLM_F_ACK, 1, body))

    def _ask(self, operation: str, kind: int, body: bytes) -> memoryview:
        return self._socket.question(operation, nl.request(kind, 0, 1, body))

    def _dump(self, operation: str, kind: int, body: bytes) -> list[memoryview]:
        request = nl.request(kind, nl.NLM_F_DUMP, 1, body)
        # Other pods' links come and go meanwhile.
        datagrams = read_at_rest(lambda: list(self._socket.dump(operation, request)))
        return [
            payload
            for data in datagrams
            for found, _, _, payload in nl.messages(data)
            if found not in {nl.NLMSG_DONE, nl.NLMSG_ERROR}
        ]


def _encode_route(route: Route, index: Callable[[str], int]) -> bytes:
    """Encode a route; `index` looks up its links."""
    hops = [None if hop.link is None else index(hop.link) for hop in route.next_hops]
    return codec.route(route, None if route.link is None else index(route.link), hops)


def _describe(change: Change) -> str:
    """Name a change in an error, as the method that makes it alone does."""
    match change:
        case LinkChange():
            fields = (("address", change.mac), ("mtu", change.mtu_bytes), ("alias", change.alias))
            what = [f"{field} {value!r}" for field, value in fields if value is not None]
            if change.is_up is not None:
                what.append("up" if change.is_up else "down")
            return f"set link {change.name} {' '.join(what)}"
        case AddressAddition():
            return _adding(change.address, change.name)
        case AddressDeletion():
            return _deleting(change.address, change.name)
        case RouteAddition():
            return f"add route {change.route}"
        case Replacement(item) | Deletion(item):
            verb = "del" if isinstance(change, Deletion) else "replace"
            return f"{verb} {'route ' if isinstance(item, Route) else ''}{item}"


def _adding(address: Interface, name: str) -> str:
    return f"add address {address} to {name}"


def _deleting(address: Interface, name: str) -> str:
    return f"delete address {address} from {name}"


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
