"""The kernel's links, addresses and routes, by pyroute2."""

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from nodeplane.datapath import netns
from nodeplane.datapath.rtnl import MAIN_TABLE, Link, Route, RouteKind, Scope
from nodeplane.errors import KernelNotFoundError, kernel_error

# linux/rtnetlink.h: rtm_type and rt_scope_t.
_KINDS: dict[int, RouteKind] = {1: "unicast", 2: "local", 6: "blackhole"}
_KIND_NUMBERS = {kind: number for number, kind in _KINDS.items()}
_SCOPES: dict[int, Scope] = {0: "global", 253: "link", 254: "host"}
_SCOPE_NUMBERS = {scope: number for number, scope in _SCOPES.items()}

# Together with a strict socket (NETLINK_GET_STRICT_CHK, kernel 4.20) this lets the kernel itself apply a
# dump's filters. Without it pyroute2 fetches and decodes everything and filters then: 70 ms instead of 0.5 ms
# for two routes of ours among 2,000 others.
_KERNEL_FILTERS = {"dump_filter": None}

# A link read by itself takes 0.5 ms, one out of a dump 0.2 ms; but a dump has all of them.
_DUMP_FROM = 8

_IFF_UP = 1 << 0
_IFF_LOWER_UP = 1 << 16


# At debug level it writes several lines for each message, which buries the lines of whoever uses it.
logging.getLogger("pyroute2").setLevel(logging.INFO)


class KernelRtnl:
    """The kernel's `Rtnl`: one rtnetlink socket, and a context manager that closes it.

    Args:
        namespace: Whose; None for the calling thread's.

    Raises:
        KernelNotFoundError: there is no such namespace.
    """

    def __init__(self, namespace: Path | None = None) -> None:
        with netns.inside(namespace), _kernel_errors("open rtnetlink"):
            self._ipr: Any = IPRoute(strict_check=True, groups=0)
            # The kernel picks a free port now and not with the first request, so that `port` holds.
            self._ipr.asyncore.socket.bind((0, 0))

    def __enter__(self) -> Self:
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
            messages = list(self._ipr.addr("dump", family=2, index=index, **_KERNEL_FILTERS))
        return {_decode_address(message) for message in messages}

    def addresses_by_link(self) -> dict[str, set[IPv4Interface]]:
        """See `Rtnl`."""
        with _kernel_errors("list addresses"):
            messages = list(self._ipr.addr("dump", family=2, **_KERNEL_FILTERS))
        names = self._names({message["index"] for message in messages})
        found: dict[str, set[IPv4Interface]] = {}
        for message in messages:
            if message["index"] in names:
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
            messages = list(self._ipr.route("dump", family=2, table=table, **wanted, **_KERNEL_FILTERS))
        names = self._names({message.get("oif") for message in messages} - {None})
        # A link without a name went between the two dumps, and its routes went with it.
        return [
            _decode_route(message, names)
            for message in messages
            if message["type"] in _KINDS and (message.get("oif") is None or message.get("oif") in names)
        ]

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
        """Return the names of some links, those that are gone left out: few singly, many from one dump."""
        names: dict[int, str] = {}
        if len(indexes) > _DUMP_FROM:
            with _kernel_errors("read link names"):
                return {message["index"]: message.get("ifname") for message in self._ipr.link("dump")}
        for index in indexes:
            with suppress(KernelNotFoundError), _kernel_errors("read a link's name"):
                names[index] = self._ipr.link("get", index=index)[0].get("ifname")
        return names


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
