"""Links, addresses, routes and neighbours in memory, as strict as the kernel where `Rtnl` can tell.

One contract test holds `FakeRtnl` and `KernelRtnl` to the same answers. Left out: the kernel's own routes
(protocol 2) are not listed, and no link has an IPv6 address that nobody gave it.
"""

import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import IPv4Interface, IPv6Address, ip_network
from itertools import count
from pathlib import Path

import msgspec

from nodeplane.datapath.rtnl import (
    ALIAS_BYTES,
    LOCAL_TABLE,
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
    Network,
    NextHop,
    Replacement,
    Route,
    RouteAddition,
    Scope,
    Vxlan,
)
from nodeplane.errors import KernelError, kernel_error

_LOOPBACK = IPv4Interface("127.0.0.1/8")
_NO_MAC = "00:00:00:00:00:00"
_ETHERNET_MTU_BYTES = 1500
# net/core/dev.c: ETH_MIN_MTU and ETH_MAX_MTU.
_MTU_BYTES = range(68, 65536)
_NAME_BYTES = 15
_VXLAN_MTU_BYTES = {4: 1450, 6: 1430}
_VNIS = range(1 << 24)

# linux/ipv6_route.h: IP6_RT_PRIO_USER.
_IPV6_METRIC = 1024

_RouteKey = tuple[int, Network, int]


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
        self.writes = 0
        self._kernel = FakeKernel() if kernel is None else kernel
        self._links: dict[str, Link] = {}
        self._addresses: dict[str, dict[Interface, Scope]] = {}
        self._routes: dict[_RouteKey, Route] = {}
        self._peers: dict[str, tuple[FakeRtnl, str]] = {}
        self._vxlans: dict[str, Vxlan] = {}
        self._neighbours: dict[tuple[str, Address], Neighbour] = {}
        self._fdb: dict[tuple[str, str], FdbEntry] = {}
        self._indexes = count(1)
        self._insert("lo", "", _NO_MAC, 65536)

    @property
    def port(self) -> int:
        """See `Rtnl`; the same for all fakes, which notify nobody."""
        return 1

    def links(self) -> dict[str, Link]:
        """See `Rtnl`."""
        return {name: self.link(name) for name in self._links}

    def link(self, name: str) -> Link:
        """See `Rtnl`."""
        link = self._link(f"read link {name}", name)
        if name not in self._peers:
            return link
        there, peer = self._peers[name]
        far = there._links[peer]
        # A veth has a carrier while both ends are up (drivers/net/veth.c).
        return msgspec.structs.replace(link, peer_index=far.index, has_carrier=link.is_up and far.is_up)

    def find_link(self, name: str) -> Link | None:
        """See `Rtnl`."""
        return self.link(name) if name in self._links else None

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
        there = self
        if peer_netns is not None:
            if not self._kernel.has(peer_netns):
                raise kernel_error(operation, errno.ENOENT)
            there = self._kernel.rtnl(peer_netns)
        mtu = _ETHERNET_MTU_BYTES if mtu_bytes is None else mtu_bytes
        for side, new in ((there, peer), (self, name)):
            _check_name(operation, new)
            if new in side._links or (there is self and name == peer):
                raise kernel_error(operation, errno.EEXIST)
        if mtu not in _MTU_BYTES:
            raise kernel_error(operation, errno.EINVAL)
        for given in (mac, peer_mac):
            _check_mac(operation, given)
        there._insert(peer, "veth", peer_mac or self._kernel.next_mac(), mtu)
        self._insert(name, "veth", mac or self._kernel.next_mac(), mtu)
        self._peers[name], there._peers[peer] = (there, peer), (self, name)

    def add_bridge(self, name: str) -> None:
        """See `Rtnl`."""
        operation = f"create bridge {name}"
        _check_name(operation, name)
        if name in self._links:
            raise kernel_error(operation, errno.EEXIST)
        self._insert(name, "bridge", self._kernel.next_mac(), _ETHERNET_MTU_BYTES)

    def add_dummy(self, name: str) -> None:
        """See `Rtnl`."""
        operation = f"create dummy {name}"
        _check_name(operation, name)
        if name in self._links:
            raise kernel_error(operation, errno.EEXIST)
        self._insert(name, "dummy", self._kernel.next_mac(), _ETHERNET_MTU_BYTES)

    def add_vxlan(
        self, name: str, vxlan: Vxlan, *, mac: str | None = None, mtu_bytes: int | None = None
    ) -> None:
        """See `Rtnl`."""
        operation = f"create vxlan {name}"
        _check_name(operation, name)
        # The kernel makes room for its headers in what one of 1500 bytes leaves.
        mtu = _VXLAN_MTU_BYTES[vxlan.local.version] if mtu_bytes is None else mtu_bytes
        if name in self._links or any(_collide(vxlan, other) for other in self._vxlans.values()):
            raise kernel_error(operation, errno.EEXIST)
        _check_mac(operation, mac)
        if mtu not in _MTU_BYTES:
            raise kernel_error(operation, errno.EINVAL)
        if vxlan.vni not in _VNIS:
            raise kernel_error(operation, errno.ERANGE)
        self._insert(name, "vxlan", mac or self._kernel.next_mac(), mtu)
        # What the kernel has no place for (vxlan_nl2conf).
        fragmentation = vxlan.fragmentation if vxlan.local.version == 4 else "unset"
        self._vxlans[name] = msgspec.structs.replace(vxlan, fragmentation=fragmentation)

    def find_vxlan(self, name: str) -> Vxlan | None:
        """See `Rtnl`."""
        return self._vxlans.get(name)

    def neighbours(self, name: str, family: Family = 4) -> set[Neighbour]:
        """See `Rtnl`."""
        self._link(f"list neighbours of {name}", name)
        return {
            item for (link, address), item in self._neighbours.items()
            if link == name and address.version == family
        }  # fmt: skip

    def fdb(self, name: str) -> set[FdbEntry]:
        """See `Rtnl`."""
        self._link(f"list forwarding entries of {name}", name)
        return {item for (link, _), item in self._fdb.items() if link == name}

    def delete_link(self, name: str) -> None:
        """See `Rtnl`."""
        operation = f"delete link {name}"
        if self._link(operation, name).kind == "":
            raise kernel_error(operation, errno.EOPNOTSUPP)
        if name in self._peers:
            there, peer = self._peers[name]
            there._remove(peer)
        self._remove(name)
        self.writes += 1

    def set_up(self, name: str) -> None:
        """See `Rtnl`."""
        self._change(name, is_up=True, has_carrier=self._link(f"set link {name} up", name).kind == "")
        if name == "lo":
            # net/ipv4/devinet.c, inetdev_event: the kernel itself does this.
            self._addresses[name].setdefault(_LOOPBACK, "host")

    def set_down(self, name: str) -> None:
        """See `Rtnl`."""
        self._change(name, is_up=False, has_carrier=False)
        # net/ipv6/addrconf.c, addrconf_ifdown: those of IPv6 go, unless keep_addr_on_down says otherwise.
        held = self._addresses[name]
        self._addresses[name] = {address: scope for address, scope in held.items() if address.version == 4}
        self._drop_routes(name)
        # Also permanent ones (net/core/neighbour.c, neigh_ifdown).
        self._drop_neighbours(name)

    def set_master(self, name: str, master: str | None) -> None:
        """See `Rtnl`."""
        operation = f"set link {name} master {master}"
        if master is not None and self._link(operation, master).kind != "bridge":
            raise kernel_error(operation, errno.EOPNOTSUPP)
        self._change(name, master=master)

    def set_mac(self, name: str, mac: str) -> None:
        """See `Rtnl`."""
        _check_mac(f"set link {name} address {mac}", mac)
        self._change(name, mac=mac)
        # Also when it is the same one (net/core/neighbour.c, neigh_changeaddr).
        self._drop_neighbours(name)

    def set_mtu(self, name: str, mtu_bytes: int) -> None:
        """See `Rtnl`."""
        if mtu_bytes not in _MTU_BYTES:
            raise kernel_error(f"set link {name} mtu {mtu_bytes}", errno.EINVAL)
        self._change(name, mtu_bytes=mtu_bytes)

    def set_alias(self, name: str, alias: str) -> None:
        """See `Rtnl`."""
        if len(alias.encode()) > ALIAS_BYTES:
            raise kernel_error(f"set link {name} alias {alias!r}", errno.ERANGE)
        self._change(name, alias=alias)

    def addresses(self, name: str, family: Family = 4) -> set[Interface]:
        """See `Rtnl`."""
        self._link(f"list addresses of {name}", name)
        return {address for address in self._addresses[name] if address.version == family}

    def addresses_by_link(self, family: Family = 4) -> dict[str, set[Interface]]:
        """See `Rtnl`."""
        found = {name: self.addresses(name, family) for name in self._addresses}
        return {name: addresses for name, addresses in found.items() if addresses}

    def add_address(self, name: str, address: Interface, scope: Scope = "global") -> None:
        """See `Rtnl`."""
        operation = f"add address {address} to {name}"
        self._link(operation, name)
        if address in self._addresses[name]:
            raise kernel_error(operation, errno.EEXIST)
        self._addresses[name][address] = scope
        self.writes += 1

    def delete_address(self, name: str, address: Interface) -> None:
        """See `Rtnl`."""
        operation = f"delete address {address} from {name}"
        self._link(operation, name)
        if self._addresses[name].pop(address, None) is None:
            raise kernel_error(operation, errno.EADDRNOTAVAIL)
        # Routes that send from the address go with it (net/ipv4/fib_semantics.c, fib_sync_down_addr).
        self._routes = {key: route for key, route in self._routes.items() if route.source != address.ip}
        self.writes += 1

    def egress_link(self, destination: Address) -> Link:
        """See `Rtnl`."""
        operation = f"look up the route to {destination}"
        found = max(self._covering(destination), key=lambda hit: hit[0].prefixlen, default=None)
        if found is None:
            raise kernel_error(operation, errno.ENETUNREACH)
        if found[1] is None:
            raise kernel_error(operation, errno.EINVAL)
        return self.link(found[1])

    def is_own(self, address: Address) -> bool:
        """See `Rtnl`."""
        held = (item.ip for addresses in self._addresses.values() for item in addresses)
        local = (route.destination for route in self._routes.values() if route.kind == "local")
        return address in held or any(address in network for network in local)

    def routes(
        self,
        protocol: int | None = None,
        *,
        table: int = MAIN_TABLE,
        link: str | None = None,
        family: Family = 4,
    ) -> list[Route]:
        """See `Rtnl`; the kernel's own routes are not listed."""
        if link is not None:
            self._link(f"list routes of {link}", link)
        return [
            route
            for _, route in sorted(self._routes.items(), key=lambda item: str(item[0]))
            if table in {0, route.table}
            and route.destination.version == family
            and protocol in {None, route.protocol}
            and (link in {None, route.link} or link in {hop.link for hop in route.next_hops})
        ]

    def add_route(self, route: Route) -> None:
        """See `Rtnl`."""
        operation = f"add route {route}"
        if route.link is not None:
            self._link(operation, route.link)
        if _route_key(_as_kept(route)) in self._routes:
            raise kernel_error(operation, errno.EEXIST)
        self._put("add", route)

    def replace_route(self, route: Route) -> None:
        """See `Rtnl`."""
        self._put("replace", route)

    def delete_route(self, route: Route) -> None:
        """See `Rtnl`."""
        if route.link is not None:
            self._link(f"del route {route}", route.link)
        route = _as_kept(route)
        for key, there in self._routes.items():
            if _agrees(there, route):
                del self._routes[key]
                self.writes += 1
                return
        raise kernel_error(f"del route {route}", errno.ESRCH)

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
                    self._put_entry(item)
            case Deletion(item):
                if isinstance(item, Route):
                    self.delete_route(item)
                else:
                    self._delete_entry(item)

    def _put_entry(self, item: Neighbour | FdbEntry) -> None:
        operation = f"replace {item}"
        self._link(operation, item.link)
        if isinstance(item, Neighbour):
            self._neighbours[item.link, item.address] = item
        elif item.link not in self._vxlans:
            # Any Ethernet link takes one as an address to receive (ndo_dflt_fdb_add): none that forwards.
            return
        elif item.destination.version != self._vxlans[item.link].local.version:
            raise kernel_error(operation, errno.EAFNOSUPPORT)
        else:
            self._fdb[item.link, item.mac] = item
        self.writes += 1

    def _delete_entry(self, item: Neighbour | FdbEntry) -> None:
        operation = f"del {item}"
        self._link(operation, item.link)
        found: Neighbour | FdbEntry | None
        if isinstance(item, Neighbour):
            found = self._neighbours.pop((item.link, item.address), None)
        else:
            found = self._fdb.pop((item.link, item.mac), None)
        if found is None:
            raise kernel_error(operation, errno.ENOENT)
        self.writes += 1

    def _change_link(self, change: LinkChange) -> None:
        name = change.name
        self._link(f"set link {name}", name)
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

    def _put(self, verb: str, route: Route) -> None:
        operation = f"{verb} route {route}"
        route = _as_kept(route)
        if route.is_onlink:
            self._check_onlink(operation, route)
        elif route.next_hops:
            hops = tuple(
                NextHop(hop.gateway, self._gateway_link(operation, hop.gateway, hop.link))
                for hop in route.next_hops
            )
            route = msgspec.structs.replace(route, next_hops=hops)
        elif route.gateway is not None:
            link = self._gateway_link(operation, route.gateway, route.link)
            route = msgspec.structs.replace(route, link=link)
        elif route.link is not None:
            if not self._link(operation, route.link).is_up and route.kind == "unicast":
                raise kernel_error(operation, errno.ENETDOWN)
        elif route.kind != "blackhole":
            raise kernel_error(operation, errno.ENODEV)
        self._routes[_route_key(route)] = route
        self.writes += 1

    def _check_onlink(self, operation: str, route: Route) -> None:
        if route.link is None:
            raise kernel_error(operation, errno.ENODEV)
        if not self._link(operation, route.link).is_up:
            raise kernel_error(operation, errno.ENETDOWN)
        gateway = route.gateway
        if not isinstance(gateway, IPv6Address) or gateway.is_link_local:
            return
        # net/ipv6/route.c, ip6_route_check_nh_onlink: who leads there through another link is in the way.
        refusing = {there.destination for there in self._routes.values() if there.kind == "blackhole"}
        for network, link in sorted(self._covering(gateway), key=lambda hit: -hit[0].prefixlen)[:1]:
            if network.prefixlen and link != route.link and network not in refusing:
                raise kernel_error(operation, errno.EINVAL)

    def _gateway_link(self, operation: str, gateway: Address, link: str | None) -> str:
        """Find the link that a gateway is reached by: on its own subnet, or by an on-link route."""
        if link is not None:
            self._link(operation, link)
        hits = [
            (network.prefixlen, name)
            for network, name in self._on_link()
            if gateway in network and link in {None, name}
        ]
        if not hits:
            raise kernel_error(operation, errno.ENETUNREACH)
        return max(hits)[1]

    def _on_link(self) -> Iterator[tuple[Network, str]]:
        """Yield the networks that links reach without a gateway."""
        for name, addresses in self._addresses.items():
            if self._links[name].is_up:
                yield from ((address.network, name) for address in addresses)
        for route in self._routes.values():
            if route.kind == "unicast" and route.gateway is None and route.link is not None:
                yield route.destination, route.link

    def _covering(self, destination: Address) -> Iterator[tuple[Network, str | None]]:
        """Yield the routes to an address: the network and the link, which a blackhole has not."""
        for name, addresses in self._addresses.items():
            if any(address.ip == destination for address in addresses):
                yield ip_network(destination), "lo"
            elif self._links[name].is_up:
                yield from (
                    (address.network, name) for address in addresses if destination in address.network
                )
        for route in self._routes.values():
            if destination in route.destination and route.table in {MAIN_TABLE, LOCAL_TABLE}:
                yield route.destination, route.link

    def _link(self, operation: str, name: str) -> Link:
        if name not in self._links:
            raise kernel_error(operation, errno.ENODEV)
        return self._links[name]

    def _change(self, name: str, **fields: object) -> None:
        changed = msgspec.structs.replace(self._link(f"set link {name}", name), **fields)
        if changed != self._links[name]:
            self._links[name] = changed
            self.writes += 1

    def _insert(self, name: str, kind: str, mac: str, mtu_bytes: int) -> None:
        self._links[name] = Link(
            name, next(self._indexes), kind, mac, mtu_bytes, is_up=False, has_carrier=False
        )
        self._addresses[name] = {}
        self.writes += 1

    def _remove(self, name: str) -> None:
        self._drop_routes(name)
        self._drop_neighbours(name)
        self._fdb = {key: item for key, item in self._fdb.items() if key[0] != name}
        self._peers.pop(name, None)
        self._vxlans.pop(name, None)
        del self._links[name], self._addresses[name]
        for port, link in self._links.items():
            if link.master == name:
                self._links[port] = msgspec.structs.replace(link, master=None)

    def _drop_routes(self, link: str) -> None:
        self._routes = {key: route for key, route in self._routes.items() if route.link != link}

    def _drop_neighbours(self, link: str) -> None:
        self._neighbours = {key: item for key, item in self._neighbours.items() if key[0] != link}


def _route_key(route: Route) -> _RouteKey:
    return route.table, route.destination, route.metric


def _as_kept(route: Route) -> Route:
    """Return a route as it is read back."""
    if route.destination.version == 4:
        return route
    metric = 0 if route.metric == _IPV6_METRIC else route.metric
    is_bound = route.kind in {"local", "blackhole"}
    link = "lo" if is_bound and route.link is None else route.link
    return msgspec.structs.replace(route, scope="global", metric=metric, link=link)


def _agrees(there: Route, wanted: Route) -> bool:
    """Say whether the kernel would take `wanted`, which may leave some fields out, for `there`."""
    full = msgspec.structs.replace(
        wanted,
        gateway=wanted.gateway or there.gateway,
        next_hops=wanted.next_hops or there.next_hops,
        is_onlink=wanted.is_onlink or there.is_onlink,
        link=wanted.link or there.link,
        source=wanted.source or there.source,
        metric=wanted.metric or there.metric,
    )
    return full == there


def _collide(one: Vxlan, other: Vxlan) -> bool:
    """Say whether two would receive the same packets (vxlan_core.c, vxlan_config_validate)."""
    return (one.vni, one.port, one.local.version) == (other.vni, other.port, other.local.version)


def _check_mac(operation: str, mac: str | None) -> None:
    """Refuse an address that no link may have (net/ethernet/eth.c, eth_prepare_mac_addr_change)."""
    if mac is not None and (int(mac[:2], 16) & 1 or mac == _NO_MAC):
        raise kernel_error(operation, errno.EADDRNOTAVAIL)


def _check_name(operation: str, name: str) -> None:
    """Refuse a link name as the kernel does (net/core/dev.c, dev_valid_name)."""
    if len(name) > _NAME_BYTES:
        raise kernel_error(operation, errno.ERANGE)
    if name in {"", ".", ".."} or any(character in "/:" or character.isspace() for character in name):
        raise kernel_error(operation, errno.EINVAL)
