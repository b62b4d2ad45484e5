"""The plan of a pod's links: what an ADD is going to make, as one value.

      pod's namespace                         node's namespace
    ┌───────────────────────────────┐       ┌──────────────────────────────────────────────┐
    │ eth0  10.244.0.5/32           │ veth  │ npl<hash>  no address; proxy_arp, forwarding │
    │ 169.254.1.1 dev eth0          ├───────┤ 10.244.0.5 dev npl<hash>  scope link         │
    │ default via 169.254.1.1       │       │ local 169.254.1.1 dev lo                     │
    └───────────────────────────────┘       └──────────────────────────────────────────────┘

The node is a router (as Calico's): no bridge, no subnet on the link, one host route for each pod, and a
gateway address that is the same everywhere and belongs to no node.
"""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

import msgspec

from cni.attachment import Attachment
from nodeplane import cniresult
from nodeplane.datapath.rtnl import Route

GATEWAY = IPv4Address("169.254.1.1")
"""The pods' gateway: link-local (RFC 3927), so that it can't be anybody else's on the pod's side."""

_GATEWAY_NETWORK = IPv4Network(GATEWAY)
_EVERYWHERE = IPv4Network("0.0.0.0/0")
_SCOPE_LINK = 253  # RT_SCOPE_LINK, linux/rtnetlink.h

Sysctl = tuple[str, int]


class Side(msgspec.Struct, frozen=True):
    """One end of the veth pair and what goes with it in its namespace, in the order of writing."""

    link: str
    sysctls: tuple[Sysctl, ...] = ()
    addresses: tuple[IPv4Interface, ...] = ()
    routes: tuple[Route, ...] = ()


class Plan(msgspec.Struct, frozen=True):
    """Everything that an ADD makes."""

    netns: Path
    mtu_bytes: int
    alias: str
    host: Side
    pod: Side


def build_plan(
    attachment: Attachment, netns: Path, address: IPv4Address, *, mtu_bytes: int, is_arp_strict: bool
) -> Plan:
    """Build the plan for one attachment; see `build_gateway_route` for `is_arp_strict`."""
    host, pod = attachment.host_link, attachment.interface
    conf = f"net.ipv4.conf.{host}"
    return Plan(
        netns=netns,
        mtu_bytes=mtu_bytes,
        alias=attachment.alias,
        host=Side(
            link=host,
            sysctls=(
                (f"{conf}.forwarding", 1),
                (f"{conf}.proxy_arp", 1),
                # The kernel waits up to 0.8 s before it answers for another, so that the real holder of the
                # address may come first; there is none.
                (f"net.ipv4.neigh.{host}.proxy_delay", 0),
                # Strict (RFC 3704): with one host route for each pod, a packet with a source that is not
                # the pod's own is not the pod's to send.
                (f"{conf}.rp_filter", 1),
            ),
            routes=(
                build_gateway_route(is_arp_strict=is_arp_strict),
                Route(IPv4Network(address), link=host, scope="link"),
            ),
        ),
        pod=Side(
            link=pod,
            addresses=(IPv4Interface(address),),
            routes=(
                Route(_GATEWAY_NETWORK, link=pod, scope="link"),
                Route(_EVERYWHERE, gateway=GATEWAY, link=pod),
            ),
        ),
    )


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


def build_result(plan: Plan, host_mac: str, pod_mac: str) -> cniresult.Result:
    """Build the CNI result of a plan that has been carried out."""
    return cniresult.Result(
        interfaces=(
            cniresult.Interface(name=plan.host.link, mac=host_mac, mtu_bytes=plan.mtu_bytes),
            cniresult.Interface(
                name=plan.pod.link, mac=pod_mac, mtu_bytes=plan.mtu_bytes, sandbox=str(plan.netns)
            ),
        ),
        ips=tuple(cniresult.Ip(address, GATEWAY, interface=1) for address in plan.pod.addresses),
        routes=(
            cniresult.Route(_GATEWAY_NETWORK, scope=_SCOPE_LINK),
            cniresult.Route(_EVERYWHERE, GATEWAY),
        ),
    )
