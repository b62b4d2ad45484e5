"""Results as text: of the plugins before ours in a chain, and of an IPAM plugin that was run.

SPEC section 2, ADD: a plugin that is given a `prevResult` passes it through or modifies it. Every shape since
0.3.0 is a part of the newest, and those before it have fields of their own, so one decoder takes them all.
"""

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface, ip_network
from typing import Annotated, TypeVar

import msgspec

from nodeplane.cniresult import Dns, Interface, Ip, Result, Route
from nodeplane.cnispec import PLACE
from nodeplane.errors import ConfigError

T = TypeVar("T")

# As wide as the kernel has them (linux/rtnetlink.h).
_Unsigned32 = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
_Unsigned8 = Annotated[int, msgspec.Meta(ge=0, le=255)]

PREV_RESULT = "prevResult"


class IpText(msgspec.Struct, frozen=True):
    """An address as text."""

    address: str
    gateway: str = ""
    interface: int | None = None


class RouteText(msgspec.Struct, frozen=True):
    """A route as text."""

    dst: str
    gw: str = ""
    mtu: _Unsigned32 = 0
    advmss: _Unsigned32 = 0
    priority: _Unsigned32 = 0
    table: _Unsigned32 | None = None
    scope: _Unsigned8 | None = None


class OldIpText(msgspec.Struct, frozen=True):
    """The address of one family with its routes, as versions before 0.3.0 have it."""

    ip: str
    gateway: str = ""
    routes: tuple[RouteText, ...] | None = None


class DnsText(msgspec.Struct, frozen=True):
    """A resolver's configuration; null lists, which Go writes, are none."""

    nameservers: tuple[str, ...] | None = None
    domain: str = ""
    search: tuple[str, ...] | None = None
    options: tuple[str, ...] | None = None


class PrevResult(msgspec.Struct, frozen=True):
    """A plugin's result; null lists, which Go writes, are none."""

    interfaces: tuple[Interface, ...] | None = None
    ips: tuple[IpText, ...] | None = None
    routes: tuple[RouteText, ...] | None = None
    dns: DnsText | None = None
    ip4: OldIpText | None = None
    ip6: OldIpText | None = None


def decode_result(text: PrevResult, place: str = PREV_RESULT) -> Result:
    """Decode a result of any version.

    Raises:
        ConfigError: an address or a route of it is none; names the field below `place`.
    """
    old = {f"{place}.{name}": item for name, item in (("ip4", text.ip4), ("ip6", text.ip6)) if item}
    ips = [_decode_ip(ip, f"{place}.ips[{index}]") for index, ip in enumerate(text.ips or ())]
    ips += [
        Ip(_parse(ip_interface, item.ip, f"{at}.ip"), _gateway(item.gateway, f"{at}.gateway"))
        for at, item in old.items()
    ]
    routes = [*decode_routes(text.routes, f"{place}.routes")]
    routes += [route for at, item in old.items() for route in decode_routes(item.routes, f"{at}.routes")]
    return Result(
        interfaces=text.interfaces or (),
        ips=tuple(ips),
        routes=tuple(routes),
        dns=decode_dns(text.dns),
    )


def decode_dns(text: DnsText | None) -> Dns:
    """Decode a resolver's configuration, none as an empty one."""
    dns = text or DnsText()
    return Dns(dns.nameservers or (), dns.domain, dns.search or (), dns.options or ())


def decode_routes(routes: tuple[RouteText, ...] | None, field: str) -> Iterator[Route]:
    """Yield routes out of their text.

    Raises:
        ConfigError: an address of one is none.
    """
    for index, route in enumerate(routes or ()):
        place = f"{field}[{index}]"
        yield Route(
            dst=_parse(ip_network, route.dst, f"{place}.dst"),
            gateway=_gateway(route.gw, f"{place}.gw"),
            mtu_bytes=route.mtu,
            advmss_bytes=route.advmss,
            priority=route.priority,
            table=route.table,
            scope=route.scope,
        )


def append_result(previous: Result, ours: Result) -> Result:
    """Put our interfaces, addresses and routes behind those of the plugins before us."""
    interfaces = previous.interfaces
    ips = [msgspec.structs.replace(ip, interface=_shift(ip.interface, len(interfaces))) for ip in ours.ips]
    return Result(
        interfaces=(*interfaces, *ours.interfaces),
        ips=(*previous.ips, *ips),
        routes=(*previous.routes, *ours.routes),
        dns=ours.dns if previous.dns == Dns() else previous.dns,
    )


def _shift(index: int | None, by: int) -> int | None:
    return None if index is None else index + by


def _decode_ip(ip: IpText, place: str) -> Ip:
    address = _parse(ip_interface, ip.address, f"{place}.address")
    return Ip(address, _gateway(ip.gateway, f"{place}.gateway"), ip.interface)


def _gateway(text: str, field: str) -> IPv4Address | IPv6Address | None:
    return _parse(ip_address, text, field) if text else None


def _parse(kind: Callable[[str], T], text: str, field: str) -> T:
    try:
        return kind(text)
    except ValueError as exc:
        raise ConfigError(PLACE, field, f"expected an address: {exc}") from exc
