"""What a CNI plugin returns: the result of spec 1.1.0, rendered for any version that we speak.

Values are the newest version's; an older one is what is left of it, as the Go library converts.
"""

from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import Any

import msgspec


class Interface(msgspec.Struct, frozen=True, omit_defaults=True):
    """A link that the plugin made; `sandbox` is the netns path, empty for the host's side."""

    name: str
    mac: str = ""
    mtu_bytes: int = msgspec.field(name="mtu", default=0)
    sandbox: str = ""
    socket_path: str = msgspec.field(name="socketPath", default="")
    pci_id: str = msgspec.field(name="pciID", default="")


class Ip(msgspec.Struct, frozen=True, omit_defaults=True):
    """An address with its prefix length; `interface` indexes the result's interfaces (IPAM leaves it out)."""

    address: IPv4Interface | IPv6Interface
    gateway: IPv4Address | IPv6Address | None = None
    interface: int | None = None


class Route(msgspec.Struct, frozen=True, omit_defaults=True):
    """A route inside the container."""

    dst: IPv4Network | IPv6Network
    gateway: IPv4Address | IPv6Address | None = msgspec.field(name="gw", default=None)
    mtu_bytes: int = msgspec.field(name="mtu", default=0)
    advmss_bytes: int = msgspec.field(name="advmss", default=0)
    priority: int = 0
    # Zero means something in both: table 0 is unspecified, scope 0 is global.
    table: int | None = None
    scope: int | None = None


class Dns(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the container's resolver should use."""

    nameservers: tuple[str, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to ADD; an IPAM plugin's has no interfaces."""

    interfaces: tuple[Interface, ...] = ()
    ips: tuple[Ip, ...] = ()
    routes: tuple[Route, ...] = ()
    dns: Dns = Dns()


# SPEC 1.1.0's additions, which an older reader must not be shown.
_SINCE_1_1_0 = {
    "interfaces": ("mtu", "socketPath", "pciID"),
    "routes": ("mtu", "advmss", "priority", "table", "scope"),
}


def render_result(result: Result, version: str) -> bytes:
    """Render a result as JSON in one of `cnispec.SUPPORTED_VERSIONS`."""
    body: dict[str, Any] = msgspec.to_builtins(result, enc_hook=str)
    if version != "1.1.0":
        for key, fields in _SINCE_1_1_0.items():
            body[key] = [
                {name: item[name] for name in item if name not in fields} for item in body.get(key, ())
            ]
    if version.startswith("0."):
        for ip, item in zip(result.ips, body.get("ips", ()), strict=True):
            item["version"] = str(ip.address.version)
    if version in {"0.1.0", "0.2.0"}:
        body = _first_of_each_family(result, body)
    return msgspec.json.encode(
        {"cniVersion": version, **{key: value for key, value in body.items() if value}}
    )


def _first_of_each_family(result: Result, body: dict[str, Any]) -> dict[str, Any]:
    """Shape a result as versions before 0.3.0 had it: one address of each family, with its routes."""
    old: dict[str, Any] = {}
    for ip, item in zip(result.ips, body.get("ips", ()), strict=True):
        family = f"ip{ip.address.version}"
        if family in old:
            continue
        old[family] = {"ip": item["address"]}
        if "gateway" in item:
            old[family]["gateway"] = item["gateway"]
        routes = [
            text
            for route, text in zip(result.routes, body.get("routes", ()), strict=True)
            if route.dst.version == ip.address.version
        ]
        if routes:
            old[family]["routes"] = routes
    return {**old, "dns": body.get("dns")}
