"""The plan of a pod's links: what an ADD is going to make, as one value.

      pod's namespace                         node's namespace
    ┌───────────────────────────────┐       ┌──────────────────────────────────────────────┐
    │ eth0  10.244.0.5/32           │ veth  │ npl<hash>  fe80::ecee:eeff:feee:eeee/64      │
    │       2001:db8::5/128         │       │            proxy_arp, proxy_ndp, forwarding  │
    │ 169.254.1.1 dev eth0          ├───────┤ 10.244.0.5 dev npl<hash>  scope link         │
    │ default via 169.254.1.1       │       │ 2001:db8::5 dev npl<hash>                    │
    │ default via fe80::ecee:…:eeee │       │ local 169.254.1.1 dev lo                     │
    └───────────────────────────────┘       └──────────────────────────────────────────────┘

The node is a router (as Calico's): no bridge, no subnet on the link, one host route for each address, and
gateways that are the same everywhere and belong to no node. For IPv6 that is the link-local address of the
host's side, which follows from its MAC: `ee:ee:ee:ee:ee:ee` on all of them.
"""

import hashlib
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_interface, ip_network
from pathlib import Path

import msgspec

from cni.attachment import Attachment
from nodeplane import cniresult
from nodeplane.datapath.rtnl import MAIN_TABLE, Address, Interface, Network, Route

GATEWAY = IPv4Address("169.254.1.1")
"""The pods' gateway: link-local (RFC 3927), so that it can't be anybody else's on the pod's side."""

MIN_IPV6_MTU_BYTES = 1280
"""RFC 8200, section 5; the kernel switches IPv6 off on a link that carries less."""

NO_DNS = cniresult.Dns()

_GATEWAY_NETWORK = IPv4Network(GATEWAY)
_EVERYWHERE: dict[int, Network] = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}
_SCOPE_LINK = 253  # RT_SCOPE_LINK, linux/rtnetlink.h
_LINK_LOCAL_BITS = 64

Sysctl = tuple[str, int | str]


class Side(msgspec.Struct, frozen=True):
    """One end of the veth pair and what goes with it in its namespace, in the order of writing."""

    link: str
    mac: str
    sysctls: tuple[Sysctl, ...] = ()
    addresses: tuple[Interface, ...] = ()
    routes: tuple[Route, ...] = ()


class Plan(msgspec.Struct, frozen=True):
    """Everything that an ADD makes."""

    netns: Path
    mtu_bytes: int
    alias: str
    host: Side
    pod: Side

    @property
    def families(self) -> set[int]:
        """The versions of IP that the pod speaks."""
        return {address.version for address in self.pod.addresses}


def build_plan(
    attachment: Attachment,
    netns: Path,
    addresses: Iterable[Address],
    *,
    mtu_bytes: int,
    is_arp_strict: bool,
    host_mac: str = "",
    pod_mac: str = "",
    routes: Iterable[cniresult.Route] = (),
    is_loose: bool = False,
) -> Plan:
    """Build the plan for one attachment.

    Args:
        attachment: Whose.
        netns: The pod's namespace.
        addresses: The pod's; without any the plan is that of the bare links.
        mtu_bytes: Of both ends.
        is_arp_strict: See `build_gateway_route`.
        host_mac: Of the host's end; empty for one from a hash.
        pod_mac: Of the pod's end; empty for one from a hash.
        routes: More for the pod; those of a family that it has no address of are left out.
        is_loose: Whether the pod may send from addresses that lead elsewhere.
    """
    host, pod, addresses = attachment.host_link, attachment.interface, tuple(addresses)
    host_mac = host_mac or _hashed_mac(f"{attachment.container_id}/{pod}/host")
    gateways: dict[int, Address] = {4: GATEWAY, 6: link_local(host_mac)}
    families = sorted({address.version for address in addresses})
    # The configuration and the IPAM plugin may ask for the same.
    more = [*dict.fromkeys(route for route in routes if route.dst.version in families)]
    replaced = {route.dst for route in more if (route.table or MAIN_TABLE) == MAIN_TABLE}
    return Plan(
        netns=netns,
        mtu_bytes=mtu_bytes,
        alias=attachment.alias,
        host=Side(
            link=host,
            mac=host_mac,
            sysctls=tuple(
                setting for family in families for setting in _host_sysctls(family, host, is_loose=is_loose)
            ),
            addresses=(ip_interface(f"{gateways[6]}/{_LINK_LOCAL_BITS}"),) if 6 in families else (),
            routes=(
                *((build_gateway_route(is_arp_strict=is_arp_strict),) if 4 in families else ()),
                *(_on_link(ip_network(address), host) for address in addresses),
            ),
        ),
        pod=Side(
            link=pod,
            mac=pod_mac or _hashed_mac(f"{attachment.container_id}/{pod}"),
            sysctls=tuple(_pod_sysctls(pod)) if 6 in families else (),
            addresses=tuple(ip_interface(address) for address in addresses),
            routes=(
                *(_on_link(ip_network(gateways[family]), pod) for family in families),
                *(
                    Route(_EVERYWHERE[family], gateway=gateways[family], link=pod)
                    for family in families
                    # One that was asked for says more: an MTU, a metric.
                    if _EVERYWHERE[family] not in replaced
                ),
                *(_build_route(route, pod, gateways[route.dst.version]) for route in more),
            ),
        ),
    )


def link_local(mac: str) -> IPv6Address:
    """Return the address that a link has by its MAC (RFC 4291, appendix A)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    suffix = bytes((octets[0] ^ 2,)) + octets[1:3] + b"\xff\xfe" + octets[3:]
    return IPv6Address(b"\xfe\x80" + bytes(6) + suffix)


def build_gateway_route(*, is_arp_strict: bool) -> Route:
    """Build the node's route to 169.254.1.1, without which it would not answer the pods' ARP requests for it.

    The kernel answers a request only if it has a route to the address asked for (net/ipv4/arp.c,
    arp_process), and a node need not have a default route. Which route, each measured on 6.18:

    - local, by way of the loopback: answered as an address of the node's own, and so is a ping. It is a route
      and not an address, since an address might be picked as a source (masquerade, health checks).
    - unicast, by way of the loopback: answered by proxy ARP. Needed where `net.ipv4.conf.all.arp_ignore` is
      set (kube-proxy's strict ARP for IPVS), which mutes local addresses of other links. Its price: a packet
      to the gateway itself goes round the loopback until its TTL runs out.
    - unicast by way of the uplink, which is what a default route amounts to, goes away with the uplink.
    """
    if is_arp_strict:
        return Route(_GATEWAY_NETWORK, link="lo", scope="link")
    return Route(_GATEWAY_NETWORK, link="lo", kind="local", scope="host")


def build_result(plan: Plan, dns: cniresult.Dns = NO_DNS) -> cniresult.Result:
    """Build the CNI result of a plan that has been carried out."""
    gateways: dict[int, Address] = {4: GATEWAY, 6: link_local(plan.host.mac)}
    return cniresult.Result(
        interfaces=(
            cniresult.Interface(name=plan.host.link, mac=plan.host.mac, mtu_bytes=plan.mtu_bytes),
            cniresult.Interface(
                name=plan.pod.link, mac=plan.pod.mac, mtu_bytes=plan.mtu_bytes, sandbox=str(plan.netns)
            ),
        ),
        ips=tuple(
            cniresult.Ip(address, gateways[address.version], interface=1) for address in plan.pod.addresses
        ),
        routes=tuple(_render_route(route) for route in plan.pod.routes),
        dns=dns,
    )


def _host_sysctls(family: int, link: str, *, is_loose: bool) -> Iterator[Sysctl]:
    conf = f"net.ipv{family}.conf.{link}"
    if family == 4:
        yield f"{conf}.forwarding", 1
        yield f"{conf}.proxy_arp", 1
        # The kernel waits up to 0.8 s before it answers for another, so that the real holder of the address
        # may come first; there is none.
        yield f"net.ipv4.neigh.{link}.proxy_delay", 0
        # Strict (RFC 3704): with one host route for each pod, a packet with a source that is not the pod's
        # own is not the pod's to send. Who may send from others is left to `cni.features.source_rules`.
        yield f"{conf}.rp_filter", 0 if is_loose else 1
        return
    yield f"{conf}.disable_ipv6", 0
    # The two ends are the only ones on the link: nobody to have the same address, and no router to listen to.
    yield f"{conf}.accept_dad", 0
    yield f"{conf}.accept_ra", 0
    yield f"{conf}.forwarding", 1
    yield f"{conf}.proxy_ndp", 1
    yield f"net.ipv6.neigh.{link}.proxy_delay", 0


def _pod_sysctls(link: str) -> Iterator[Sysctl]:
    """Yield the settings of a pod that has an IPv6 address, which runtimes otherwise leave without IPv6."""
    # With slashes: an interface's name may hold dots.
    yield "net/ipv6/conf/lo/disable_ipv6", 0
    for name in ("disable_ipv6", "accept_dad", "accept_ra"):
        yield f"net/ipv6/conf/{link}/{name}", 0


def _on_link(destination: Network, link: str) -> Route:
    # IPv6 has no scopes.
    return Route(destination, link=link, scope="link" if destination.version == 4 else "global")


def _build_route(route: cniresult.Route, link: str, gateway: Address) -> Route:
    """Build a route that was asked for: its next hop is the node, whatever it says, as nobody else is there.

    The gateway of an IPAM plugin made for bridges (host-local) is an address that no node has here.
    """
    is_on_link = route.scope == _SCOPE_LINK and route.dst.version == 4
    return Route(
        route.dst,
        gateway=None if is_on_link else gateway,
        link=link,
        scope="link" if is_on_link else "global",
        table=route.table or MAIN_TABLE,
        metric=route.priority,
        mtu_bytes=route.mtu_bytes,
        advmss_bytes=route.advmss_bytes,
    )


def _render_route(route: Route) -> cniresult.Route:
    is_on_link = route.gateway is None
    return cniresult.Route(
        route.destination,
        route.gateway,
        mtu_bytes=route.mtu_bytes,
        advmss_bytes=route.advmss_bytes,
        priority=route.metric,
        table=None if route.table == MAIN_TABLE else route.table,
        scope=_SCOPE_LINK if is_on_link else None,
    )


def _hashed_mac(text: str) -> str:
    """Return a locally administered address (IEEE 802) that a repeated ADD finds again."""
    digest = hashlib.sha1(text.encode(), usedforsecurity=False).digest()
    return bytes(((digest[0] & 0xFC) | 2, *digest[1:6])).hex(":")
