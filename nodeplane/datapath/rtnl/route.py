"""Routes: through a link, through gateways, to this namespace itself, or nowhere."""

from typing import Literal

import msgspec

from nodeplane.datapath.rtnl.address import Address, Network, Scope

ROUTE_PROTOCOL = 110
"""The protocol number (rtm_protocol) of nodeplane's routes; rt_protos(5) leaves 110 free."""

MAIN_TABLE = 254
LOCAL_TABLE = 255

RouteKind = Literal["unicast", "local", "blackhole"]


class NextHop(msgspec.Struct, frozen=True, order=True):
    """One of the ways of a route that has several; all weigh the same."""

    gateway: Address
    link: str | None = None

    def __str__(self) -> str:
        return f"via {self.gateway}" + (f" dev {self.link}" if self.link else "")


class Route(msgspec.Struct, frozen=True):
    """A route. Read back, one through a gateway also names the link that the kernel chose.

    IPv6 has no scopes, and gives a route without a metric 1024 (linux/ipv6_route.h, IP6_RT_PRIO_USER): read
    back, its scope is always "global", and its metric 1024 is 0. The kernel binds a local or blackhole route
    of IPv6 to the loopback: read back, that is its link. One that `is_onlink` takes its gateway to be
    behind its link, whatever that link's addresses say. One with `next_hops` has no gateway or link itself.
    """

    destination: Network
    gateway: Address | None = None
    link: str | None = None
    kind: RouteKind = "unicast"
    protocol: int = ROUTE_PROTOCOL
    scope: Scope = "global"
    table: int = MAIN_TABLE
    source: Address | None = None
    metric: int = 0
    mtu_bytes: int = 0
    advmss_bytes: int = 0
    is_onlink: bool = False
    next_hops: tuple[NextHop, ...] = ()

    def __str__(self) -> str:
        parts = ["" if self.kind == "unicast" else self.kind, str(self.destination)]
        parts += [f"via {self.gateway}" if self.gateway else "", f"dev {self.link}" if self.link else ""]
        parts += map(str, self.next_hops)
        return " ".join(part for part in parts if part)


class RouteAddition(msgspec.Struct, frozen=True):
    """A route that is to be added, in nobody's place."""

    route: Route
