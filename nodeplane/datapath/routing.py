"""Where the kernel sends a packet of either family, asked for one address at a time.

`rtnl` keeps links and routes; this only asks, and not by pyroute2, whose import alone would take 160 ms.
`KernelRouting` asks the kernel, `FakeRouting` a list of links.
"""

import errno
import socket
import struct
from collections.abc import Mapping
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_address, ip_network
from typing import Protocol

import msgspec

from nodeplane.datapath import netlink as nl
from nodeplane.datapath.netlink_socket import NetlinkSocket, read_at_rest
from nodeplane.errors import KernelError

LOCAL, UNICAST = 2, 1  # RTN_LOCAL, RTN_UNICAST, rtnetlink.h

_GETLINK, _NEWADDR, _GETADDR, _GETROUTE = 18, 20, 22, 26  # RTM_…
_LINK = struct.Struct("=BBHiII")  # struct ifinfomsg
_ROUTE = struct.Struct("=BBBBBBBBI")  # struct rtmsg
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC, _RTA_VIA = 1, 4, 5, 7, 18
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFLA_IFNAME = 3
_FIB_MATCH = 0x2000  # RTM_F_FIB_MATCH
_SECONDARY = 0x01  # IFA_F_SECONDARY
_SCOPE_LINK = 253  # RT_SCOPE_LINK; host scope lies beyond
_NOWHERE = {
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.EACCES,
    errno.EINVAL,
    errno.ENETDOWN,
    errno.EADDRNOTAVAIL,
}

# What the lookup fails with at an entry of such a kind (net/ipv4/fib_semantics.c, fib_props).
_BARRIERS = {errno.EINVAL: "blackhole", errno.EHOSTUNREACH: "unreachable", errno.EACCES: "prohibit"}

_FAMILIES = {4: socket.AF_INET, 16: socket.AF_INET6}

PackedAddress = bytes


class FoundRoute(msgspec.Struct, frozen=True):
    """The way to one address.

    Attributes:
        kind: The route's type (rtm_type): `LOCAL`, `UNICAST` or another.
        link: The interface that packets leave by.
        gateway: The next hop, None for an address on the link itself.
        source: The address that a process of this node would have as a source.
    """

    kind: int
    link: str
    gateway: PackedAddress | None = None
    source: PackedAddress | None = None


class MatchedRoute(msgspec.Struct, frozen=True):
    """The entry of the routing tables that an address is sent by.

    Attributes:
        destination: The entry's own network.
        kind: Its type (rtm_type).
        protocol: Who has made it (rtm_protocol).
        link: The interface that packets leave by, empty if the entry has several or none.
        gateway: The next hop, None for an address on the link itself.
    """

    destination: IPv4Network | IPv6Network
    kind: int
    protocol: int
    link: str
    gateway: PackedAddress | None = None


class LinkAddress(msgspec.Struct, frozen=True):
    """An address that the kernel may choose as a source: a primary one, and of global scope."""

    link: str
    address: PackedAddress
    prefix_bits: int


class Routing(Protocol):
    """The routes and addresses of one network namespace."""

    def find(self, destination: PackedAddress) -> FoundRoute | None:
        """Return the way to an address, None if there is none."""
        ...

    def source_addresses(self) -> list[LinkAddress]:
        """Return the IPv4 addresses of all links that may be a source, in the kernel's order."""
        ...


def masquerade_source(routing: Routing, destination: PackedAddress) -> PackedAddress | None:
    """Return the address that a masqueraded packet gets on its way to a destination; None if it has no way.

    For IPv4 that is not the route's preferred source, but the interface's address nearest to the next hop
    (nf_nat_masquerade_ipv4, inet_select_addr); for IPv6 the one that a process would get too.
    """
    route = routing.find(destination)
    if route is None:
        return None
    if len(destination) == 16:
        return route.source
    addresses = routing.source_addresses()
    on_link = [each for each in addresses if each.link == route.link]
    next_hop = route.gateway or destination
    near = [each for each in on_link if _shares_network(each, next_hop)]
    return next((each.address for each in (*near, *on_link, *addresses)), None)


class KernelRouting:
    """The `Routing` of the namespace that it was opened in; use it as a context manager."""

    def __init__(self) -> None:
        self._socket = NetlinkSocket(nl.NETLINK_ROUTE)
        self._names: dict[int, str] = {}

    def __enter__(self) -> "KernelRouting":
        return self

    def __exit__(self, *_exc: object) -> None:
        self._socket.close()

    def find(self, destination: PackedAddress) -> FoundRoute | None:
        """See `Routing`.

        Raises:
            KernelError: the kernel can't be asked.
        """
        payload = self._look_up(destination)
        if payload is None:
            return None
        facts = nl.attribute_map(payload[_ROUTE.size :])
        return FoundRoute(
            kind=_ROUTE.unpack_from(payload)[7],
            link=self._link(facts),
            gateway=_gateway(facts, len(destination)),
            source=bytes(facts[_RTA_PREFSRC]) if _RTA_PREFSRC in facts else None,
        )

    def match(self, destination: PackedAddress) -> MatchedRoute | None:
        """Return the entry that an address is sent by, None if there is none (kernel 4.13).

        Raises:
            KernelError: the kernel can't be asked.
        """
        payload = self._look_up(destination, _FIB_MATCH)
        if payload is None:
            return None
        _, prefix_bits, _, _, _, protocol, _, kind, _ = _ROUTE.unpack_from(payload)
        facts = nl.attribute_map(payload[_ROUTE.size :])
        # The default route has no address.
        network = bytes(facts.get(_RTA_DST, bytes(len(destination))))
        return MatchedRoute(
            destination=ip_network((network, prefix_bits)),
            kind=kind,
            protocol=protocol,
            link=self._link(facts),
            gateway=_gateway(facts, len(destination)),
        )

    def barrier(self, destination: PackedAddress) -> str:
        """Return the kind of the entry that ends packets to an address, in ip-route(8)'s words; else nothing.

        Raises:
            KernelError: the kernel can't be asked.
        """
        try:
            self._find_entry(destination, _FIB_MATCH)
        except KernelError as exc:
            return _BARRIERS.get(exc.errno, "")
        return ""

    def _look_up(self, destination: PackedAddress, flags: int = 0) -> memoryview | None:
        try:
            return self._find_entry(destination, flags)
        except KernelError as exc:
            if exc.errno in _NOWHERE:
                return None
            raise

    def _find_entry(self, destination: PackedAddress, flags: int) -> memoryview:
        head = _ROUTE.pack(_FAMILIES[len(destination)], 8 * len(destination), 0, 0, 0, 0, 0, 0, flags)
        operation = f"look up the route to {ip_address(destination)}"
        return self._ask(operation, _GETROUTE, head + nl.attribute(_RTA_DST, destination))

    def _link(self, facts: Mapping[int, memoryview]) -> str:
        return self._name(struct.unpack("=I", facts[_RTA_OIF])[0]) if _RTA_OIF in facts else ""

    def source_addresses(self) -> list[LinkAddress]:
        """See `Routing`."""
        return read_at_rest(self._read_addresses)

    def _read_addresses(self) -> list[LinkAddress]:
        request = nl.request(_GETADDR, nl.NLM_F_DUMP, 1, _ADDRESS.pack(socket.AF_INET, 0, 0, 0, 0))
        # Read to its end first: a link's name is asked for by the same socket.
        datagrams = list(self._socket.dump("list addresses", request))
        found = []
        for kind, _flags, _sequence, payload in (each for data in datagrams for each in nl.messages(data)):
            if kind != _NEWADDR:
                continue
            _, prefix_bits, flags, scope, index = _ADDRESS.unpack_from(payload)
            facts = nl.attribute_map(payload[_ADDRESS.size :])
            local = facts.get(_IFA_LOCAL, facts.get(_IFA_ADDRESS))
            if local is not None and scope < _SCOPE_LINK and not flags & _SECONDARY:
                found.append(LinkAddress(self._name(index), bytes(local), prefix_bits))
        return found

    def _name(self, index: int) -> str:
        """Return a link's name; by our own socket, as the caller may be in another namespace by now."""
        if index not in self._names:
            answer = self._ask("read a link's name", _GETLINK, _LINK.pack(0, 0, 0, index, 0, 0))
            self._names[index] = nl.read_text(nl.attribute_map(answer[_LINK.size :])[_IFLA_IFNAME])
        return self._names[index]

    def _ask(self, operation: str, kind: int, payload: bytes) -> memoryview:
        return self._socket.ask(operation, nl.request(kind, nl.NLM_F_ACK, 1, payload))[0]


class FakeRouting:
    """A `Routing` over links with their addresses, the main one first; all else leaves by `default`."""

    def __init__(
        self,
        links: Mapping[str, tuple[IPv4Interface | IPv6Interface, ...]],
        default: tuple[str, PackedAddress] | None = None,
    ) -> None:
        self._addresses = [(name, interface) for name, own in links.items() for interface in own]
        self._default = default

    def find(self, destination: PackedAddress) -> FoundRoute | None:
        """See `Routing`."""
        address = ip_address(destination)
        mine = [each for each in self._addresses if each[1].version == address.version]
        if any(interface.ip == address for _, interface in mine):
            return FoundRoute(LOCAL, "lo", None, destination)
        for name, interface in mine:
            if address in interface.network:
                return FoundRoute(UNICAST, name, None, interface.ip.packed)
        if self._default is None or len(self._default[1]) != len(destination):
            return None
        link, gateway = self._default
        own = [interface for name, interface in mine if name == link]
        near = [interface for interface in own if ip_address(gateway) in interface.network]
        source = next((interface.ip.packed for interface in (*near, *own)), None)
        return FoundRoute(UNICAST, link, gateway, source)

    def source_addresses(self) -> list[LinkAddress]:
        """See `Routing`."""
        return [
            LinkAddress(name, interface.ip.packed, interface.network.prefixlen)
            for name, interface in self._addresses
            if interface.version == 4 and not interface.is_loopback
        ]


def _gateway(facts: Mapping[int, memoryview], length: int) -> PackedAddress | None:
    via = bytes(facts[_RTA_VIA])[2:] if _RTA_VIA in facts else b""
    gateway = bytes(facts[_RTA_GATEWAY]) if _RTA_GATEWAY in facts else via
    return gateway if len(gateway) == length else None


def _shares_network(own: LinkAddress, other: PackedAddress) -> bool:
    shift = 32 - own.prefix_bits
    return int.from_bytes(own.address, "big") >> shift == int.from_bytes(other, "big") >> shift
