"""The result of the plugins before ours in a chain, and ours put behind it.

SPEC section 2, ADD: a plugin that is given a `prevResult` passes it through or modifies it. Chaining came
with 0.3.0; every shape since then is a part of the newest, so one decoder takes them all.
"""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface, ip_network
from typing import TypeVar

import msgspec

from nodeplane.cniresult import Dns, Interface, Ip, Result, Route
from nodeplane.cnispec import PLACE
from nodeplane.errors import ConfigError

T = TypeVar("T")


class PrevIp(msgspec.Struct, frozen=True):
    """An address as text."""

    address: str
    gateway: str = ""
    interface: int | None = None


class PrevRoute(msgspec.Struct, frozen=True):
    """A route as text."""

    dst: str
    gw: str = ""
    mtu: int = 0
    advmss: int = 0
    priority: int = 0
    table: int | None = None
    scope: int | None = None


class PrevResult(msgspec.Struct, frozen=True):
    """An earlier plugin's result; null lists, which Go writes, are none."""

    interfaces: tuple[Interface, ...] | None = None
    ips: tuple[PrevIp, ...] | None = None
    routes: tuple[PrevRoute, ...] | None = None
    dns: Dns | None = None


def append_result(previous: PrevResult, ours: Result) -> Result:
    """Put our interfaces, addresses and routes behind those of the plugins before us.

    Raises:
        ConfigError: an address or a route of `previous` is none.
    """
    interfaces = previous.interfaces or ()
    ips = [_decode_ip(ip, index) for index, ip in enumerate(previous.ips or ())]
    ips += [msgspec.structs.replace(ip, interface=_shift(ip.interface, len(interfaces))) for ip in ours.ips]
    routes = [_decode_route(route, index) for index, route in enumerate(previous.routes or ())]
    return Result(
        interfaces=(*interfaces, *ours.interfaces),
        ips=tuple(ips),
        routes=(*routes, *ours.routes),
        dns=previous.dns or ours.dns,
    )


def _shift(index: int | None, by: int) -> int | None:
    return None if index is None else index + by


def _decode_ip(ip: PrevIp, index: int) -> Ip:
    place = f"prevResult.ips[{index}]"
    address = _parse(ip_interface, ip.address, f"{place}.address")
    return Ip(address, _gateway(ip.gateway, f"{place}.gateway"), ip.interface)


def _decode_route(route: PrevRoute, index: int) -> Route:
    place = f"prevResult.routes[{index}]"
    return Route(
        dst=_parse(ip_network, route.dst, f"{place}.dst"),
        gateway=_gateway(route.gw, f"{place}.gw"),
        mtu_bytes=route.mtu,
        advmss_bytes=route.advmss,
        priority=route.priority,
        table=route.table,
        scope=route.scope,
    )


def _gateway(text: str, field: str) -> IPv4Address | IPv6Address | None:
    return _parse(ip_address, text, field) if text else None


def _parse(kind: Callable[[str], T], text: str, field: str) -> T:
    try:
        return kind(text)
    except ValueError as exc:
        raise ConfigError(PLACE, field, f"expected an address: {exc}") from exc
