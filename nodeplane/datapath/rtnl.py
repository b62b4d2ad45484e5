"""Links, addresses and routes of one network namespace, as typed values over rtnetlink.

Says what the kernel has and does what it is told; whose a link or a route is, its caller knows. Everything
is synchronous and bound to the thread that opened it: asyncio programs open and call it in one thread
of a single-thread executor (pyroute2's synchronous classes refuse to run inside a running loop).
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol

import msgspec
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from nodeplane.datapath import netns
from nodeplane.errors import kernel_error

ROUTE_PROTOCOL = 110
"""The protocol number (rtm_protocol) of nodeplane's routes; rt_protos(5) leaves 110 free."""

MAIN_TABLE = 254
LOCAL_TABLE = 255

RouteKind = Literal["unicast", "local", "blackhole"]
Scope = Literal["global", "link", "host"]

# linux/rtnetlink.h: rtm_type and rt_scope_t.
_KINDS: dict[int, RouteKind] = {1: "unicast", 2: "local", 6: "blackhole"}
_KIND_NUMBERS = {kind: number for number, kind in _KINDS.items()}
_SCOPES: dict[int, Scope] = {0: "global", 253: "link", 254: "host"}
_SCOPE_NUMBERS = {scope: number for number, scope in _SCOPES.items()}

_IFF_UP = 1 << 0
_IFF_LOWER_UP = 1 << 16


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
        """Set a link's free text (at most 255 bytes), which `ip link` shows."""
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


class KernelRtnl:
    """The real `Rtnl`: one rtnetlink socket, a context manager; see `open_rtnl`."""

    def __init__(self, ipr: Any) -> None:
        self._ipr = ipr

    def __enter__(self) -> "KernelRtnl":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ipr.close()

    @property
    def port(self) -> int:
        """See `Rtnl`."""
        port: int = self._ipr.asyncore.socket.getsockname()[0]
        return port

    def links(self) -> dict[str, Link]:
        """See `Rtnl`."""
        with _kernel_errors("list links"):
            messages = list(self._ipr.link("dump"))
        names = {message["index"]: message.get("ifname") for message in messages}
        return {names[message["index"]]: _decode_link(message, names) for message in messages}

    def link(self, name: str) -> Link:
        """See `Rtnl`."""
        message = self._get(name)
        master = message.get("master")
        names = {}
        if master is not None:
            with _kernel_errors(f"read the master of link {name}"):
                names[master] = self._ipr.link("get", index=master)[0].get("ifname")
        return _decode_link(message, names)

    def add_veth(
        self, name: str, peer: str, peer_netns: Path | None = None, mtu_bytes: int | None = None
    ) -> None:
        """See `Rtnl`."""
        mtu = {} if mtu_bytes is None else {"mtu": mtu_bytes}
        with _kernel_errors(f"create veth {name} with peer {peer}"):
            if peer_netns is None:
                self._ipr.link("add", ifname=name, kind="veth", peer={"ifname": peer, **mtu}, **mtu)
                return
            there = os.open(peer_netns, os.O_RDONLY | os.O_CLOEXEC)
            try:
                # Created in place: the name is free there at once or the whole request fails, and no
                # half-moved link can be left in this namespace.
                far = {"ifname": peer, "net_ns_fd": there, **mtu}
                self._ipr.link("add", ifname=name, kind="veth", peer=far, **mtu)
            finally:
                os.close(there)

    def add_bridge(self, name: str) -> None:
        """See `Rtnl`."""
        with _kernel_errors(f"create bridge {name}"):
            self._ipr.link("add", ifname=name, kind="bridge")

    def delete_link(self, name: str) -> None:
        """See `Rtnl`."""
        index = self._index(name)
        with _kernel_errors(f"delete link {name}"):
            self._ipr.link("del", index=index)

    def set_up(self, name: str) -> None:
        """See `Rtnl`."""
        self._set(name, "up", state="up")

    def set_down(self, name: str) -> None:
        """See `Rtnl`."""
        self._set(name, "down", state="down")

    def set_master(self, name: str, master: str | None) -> None:
        """See `Rtnl`."""
        index = 0 if master is None else self._index(master)
        self._set(name, f"master {master}", master=index)

    def set_mac(self, name: str, mac: str) -> None:
        """See `Rtnl`."""
        self._set(name, f"address {mac}", address=mac)

    def set_mtu(self, name: str, mtu_bytes: int) -> None:
        """See `Rtnl`."""
        self._set(name, f"mtu {mtu_bytes}", mtu=mtu_bytes)

    def set_alias(self, name: str, alias: str) -> None:
        """See `Rtnl`."""
        self._set(name, f"alias {alias!r}", ifalias=alias)

    def addresses(self, name: str) -> set[IPv4Interface]:
        """See `Rtnl`."""
        index = self._index(name)
        with _kernel_errors(f"list addresses of {name}"):
            messages = list(self._ipr.addr("dump", family=2, index=index))
        return {_decode_address(message) for message in messages}

    def addresses_by_link(self) -> dict[str, set[IPv4Interface]]:
        """See `Rtnl`."""
        with _kernel_errors("list addresses"):
            messages = list(self._ipr.addr("dump", family=2))
        names = self._names({message["index"] for message in messages})
        found: dict[str, set[IPv4Interface]] = {}
        for message in messages:
            found.setdefault(names[message["index"]], set()).add(_decode_address(message))
        return found

    def add_address(self, name: str, address: IPv4Interface, scope: Scope = "global") -> None:
        """See `Rtnl`."""
        index = self._index(name)
        with _kernel_errors(f"add address {address} to {name}"):
            self._ipr.addr(
                "add",
                index=index,
                family=2,
                address=str(address.ip),
                prefixlen=address.network.prefixlen,
                scope=_SCOPE_NUMBERS[scope],
            )

    def delete_address(self, name: str, address: IPv4Interface) -> None:
        """See `Rtnl`."""
        index = self._index(name)
        with _kernel_errors(f"delete address {address} from {name}"):
            self._ipr.addr(
                "del", index=index, family=2, address=str(address.ip), prefixlen=address.network.prefixlen
            )

    def egress_link(self, destination: IPv4Address) -> str:
        """See `Rtnl`."""
        with _kernel_errors(f"look up the route to {destination}"):
            message = self._ipr.route("get", family=2, dst=str(destination))[0]
            name: str = self._ipr.link("get", index=message.get("oif"))[0].get("ifname")
        return name

    def routes(
        self, protocol: int | None = None, *, table: int = MAIN_TABLE, link: str | None = None
    ) -> list[Route]:
        """See `Rtnl`."""
        wanted = {} if protocol is None else {"proto": protocol}
        if link is not None:
            wanted["oif"] = self._index(link)
        with _kernel_errors("list routes"):
            messages = list(self._ipr.route("dump", family=2, table=table, **wanted))
        used = {message.get("oif") for message in messages} - {None}
        names = self._names(used)
        return [_decode_route(message, names) for message in messages if message["type"] in _KINDS]

    def add_route(self, route: Route) -> None:
        """See `Rtnl`."""
        self._route("add", route)

    def replace_route(self, route: Route) -> None:
        """See `Rtnl`."""
        self._route("replace", route)

    def delete_route(self, route: Route) -> None:
        """See `Rtnl`."""
        self._route("del", route)

    def _route(self, verb: str, route: Route) -> None:
        link = {} if route.link is None else {"oif": self._index(route.link)}
        gateway = {} if route.gateway is None else {"gateway": str(route.gateway)}
        source = {} if route.source is None else {"prefsrc": str(route.source)}
        metric = {} if route.metric == 0 else {"priority": route.metric}
        with _kernel_errors(f"{verb} route {route}"):
            self._ipr.route(
                verb,
                family=2,
                dst=str(route.destination),
                type=_KIND_NUMBERS[route.kind],
                proto=route.protocol,
                scope=_SCOPE_NUMBERS[route.scope],
                table=route.table,
                **link,
                **gateway,
                **source,
                **metric,
            )

    def _get(self, name: str) -> Any:
        with _kernel_errors(f"read link {name}"):
            return self._ipr.link("get", ifname=name)[0]

    def _index(self, name: str) -> int:
        index: int = self._get(name)["index"]
        return index

    def _set(self, name: str, what: str, **change: Any) -> None:
        index = self._index(name)
        with _kernel_errors(f"set link {name} {what}"):
            self._ipr.link("set", index=index, **change)

    def _names(self, indexes: set[int]) -> dict[int, str]:
        """Return the names of some links: few by themselves, many from one dump."""
        with _kernel_errors("read link names"):
            if len(indexes) > 8:
                return {message["index"]: message.get("ifname") for message in self._ipr.link("dump")}
            return {index: self._ipr.link("get", index=index)[0].get("ifname") for index in indexes}


def open_rtnl(namespace: Path | None = None) -> KernelRtnl:
    """Open rtnetlink of a namespace (default: the calling thread's); use it as a context manager.

    Raises:
        KernelNotFoundError: there is no such namespace.
    """
    with (
        netns.inside(namespace) if namespace is not None else nullcontext(),
        _kernel_errors("open rtnetlink"),
    ):
        # Strict: the kernel applies a dump's filters (protocol, table, link) itself, so that reading our
        # few routes does not cost a walk of everybody's (kernel 4.20, NETLINK_GET_STRICT_CHK).
        connection = IPRoute(strict_check=True, groups=0)
        # The kernel picks a free port now and not with the first request, so that `port` holds from here on.
        connection.asyncore.socket.bind((0, 0))
        return KernelRtnl(connection)


def _decode_link(message: Any, names: dict[int, str]) -> Link:
    info = message.get("linkinfo")
    kind = (info.get("kind") if info else None) or ""
    flags = message["flags"]
    return Link(
        name=message.get("ifname"),
        index=message["index"],
        kind=kind,
        mac=message.get("address") or "",
        mtu_bytes=message.get("mtu"),
        is_up=bool(flags & _IFF_UP),
        has_carrier=bool(flags & _IFF_LOWER_UP),
        master=names.get(message.get("master")),
        alias=message.get("ifalias") or "",
        peer_index=message.get("link") if kind == "veth" else None,
    )


def _decode_address(message: Any) -> IPv4Interface:
    return IPv4Interface((message.get("local"), message["prefixlen"]))


def _decode_route(message: Any, names: dict[int, str]) -> Route:
    gateway, source = message.get("gateway"), message.get("prefsrc")
    return Route(
        destination=IPv4Network((message.get("dst") or "0.0.0.0", message["dst_len"])),  # noqa: S104 - a prefix
        gateway=IPv4Address(gateway) if gateway else None,
        link=names.get(message.get("oif")),
        kind=_KINDS[message["type"]],
        protocol=message["proto"],
        scope=_SCOPES.get(message["scope"], "global"),
        table=message.get("table"),
        source=IPv4Address(source) if source else None,
        metric=message.get("priority") or 0,
    )


@contextmanager
def _kernel_errors(operation: str) -> Iterator[None]:
    try:
        yield
    except NetlinkError as exc:
        raise kernel_error(operation, exc.code) from exc
    except OSError as exc:
        raise kernel_error(operation, exc.errno or errno.EIO) from exc
