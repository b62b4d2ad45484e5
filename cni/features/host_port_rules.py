"""The rules of host ports: constant, and the same for no pod and for hundreds; pods are elements.

A new connection's way (established ones never come here: conntrack translates them):

    prerouting, output ─► an address of this node? ─► host-ports ─┬─ hostIP, protocol, port ─┐
       (nat, -99)                                                 └─ protocol, port ─────────┴─► pod, port

    postrouting ─┬─ from 127.0.0.0/8 to a pod with host ports: masqueraded
     (nat, 101)  └─ from such a pod to itself: masqueraded

Behind -100, where kube-proxy translates, as the reference plugin's rules stand behind KUBE-SERVICES: the
first who translates a connection settles it (nf_nat_inet_fn), so a Service's node port wins over a host port.
Behind 100, since whoever marked a connection for kube-proxy to masquerade expects it to take the mark off.

An outside client's address is kept. A process of the node that asks 127.0.0.1 is masqueraded, and its packets
reach the pod's link, and the answers come back, only with `route_localnet` there: what comes from a pod for
an address of 127.0.0.0/8, or with one, is dropped first of all (CVE-2020-8558). IPv6 has no such setting: a
connection to ::1 can't leave the node and is not translated.
"""

import struct
from collections.abc import Iterator
from ipaddress import ip_network

from cni.attachment import HOST_LINK_PREFIX
from nodeplane.datapath.nft import expr
from nodeplane.datapath.nft.expr import ADDRESS_BYTES, Family
from nodeplane.datapath.nft.table import Chain, Hook, Map, Rule

FAMILIES: tuple[Family, ...] = ("ip", "ip6")
ADDRESS_TYPES: dict[Family, str] = {"ip": "ipv4_addr", "ip6": "ipv6_addr"}

_PREROUTING, _OUTPUT, _POSTROUTING = 0, 3, 4
_RAW, _BEHIND_DSTNAT, _BEHIND_SRCNAT = -300, -99, 101
_LOOPBACK = ip_network("127.0.0.0/8")


def at_address(family: Family) -> str:
    """Name the map of host ports on one address."""
    return f"host-ports-{family}"


def at_any(family: Family) -> str:
    """Name the map of host ports on every address of the node."""
    return f"host-ports-any-{family}"


def pods_of(family: Family) -> str:
    """Name the set of pods that have host ports."""
    return f"host-port-pods-{family}"


CHAINS = (
    Chain("loopback-guard", "no pod reaches the node's loopback", Hook("filter", _PREROUTING, _RAW)),
    Chain(
        "host-ports-in", "connections from pods and from outside", Hook("nat", _PREROUTING, _BEHIND_DSTNAT)
    ),
    Chain("host-ports-own", "connections of the node itself", Hook("nat", _OUTPUT, _BEHIND_DSTNAT)),
    Chain("host-ports", "is there a host port? then to its pod"),
    Chain("host-ports-out", "sources of translated connections", Hook("nat", _POSTROUTING, _BEHIND_SRCNAT)),
)


def build_maps() -> Iterator[Map]:
    """Yield the maps that the rules look into."""
    for family in FAMILIES:
        address = ADDRESS_TYPES[family]
        pod = (address, "inet_service")
        yield Map(
            at_address(family), "host ports on one address", (address, "inet_proto", "inet_service"), pod
        )
        yield Map(at_any(family), "host ports on every address", ("inet_proto", "inet_service"), pod)
        yield Map(pods_of(family), "pods that have host ports, twice", (address, address))


def build_rules() -> Iterator[Rule]:
    """Yield the rules of all chains."""
    to_loopback = "127.0.0.0/8 from a pod: for the node alone"
    for field in ("daddr", "saddr"):
        yield Rule(
            "loopback-guard",
            expr.load_meta("iifname", 0)
            + expr.compare("==", HOST_LINK_PREFIX.encode(), 0)
            + expr.of_family("ip")
            + expr.load_address("ip", "daddr" if field == "daddr" else "saddr", 0)
            + expr.in_network(_LOOPBACK, 0)
            + expr.verdict("drop"),
            to_loopback,
        )
    is_local = expr.load_address_type("daddr", 0) + expr.compare("==", struct.pack("=I", expr.LOCAL), 0)
    for chain in ("host-ports-in", "host-ports-own"):
        yield Rule(chain, is_local + expr.verdict("jump", "host-ports"), "an address of this node")
    yield Rule(
        "host-ports",
        expr.of_family("ip6")
        + expr.load_address("ip6", "daddr", 0)
        + expr.compare("==", bytes(15) + b"\1", 0)
        + expr.verdict("return"),
        "::1 never leaves the node",
    )
    for family in FAMILIES:
        yield from _lookups(family)
    for family in FAMILIES:
        yield from _masquerades(family)


def _lookups(family: Family) -> Iterator[Rule]:
    words = ADDRESS_BYTES[family] // 4

    def port(register: int) -> bytes:
        return expr.load_meta("l4proto", register) + expr.load_destination_port(register + 1)

    for key, name, why in (
        (expr.load_address(family, "daddr", 0) + port(words), at_address(family), "a hostIP"),
        (port(0), at_any(family), "every address"),
    ):
        yield Rule(
            "host-ports",
            expr.of_family(family)
            + key
            + expr.look_up(name, key=0, value=0)
            + expr.translate_destination(family, address=0, port=words),
            f"a host port on {why}",
        )


def _masquerades(family: Family) -> Iterator[Rule]:
    words = ADDRESS_BYTES[family] // 4
    is_translated = expr.of_family(family) + expr.load_ct("status", 0) + expr.has_bits(expr.CT_STATUS_DNAT, 0)
    to_pod = expr.load_address(family, "daddr", words) + expr.in_set(pods_of(family), 0) + expr.masquerade()
    if family == "ip":
        yield Rule(
            "host-ports-out",
            is_translated
            + expr.load_address(family, "saddr", 0)
            + expr.in_network(_LOOPBACK, 0)
            + expr.load_address(family, "daddr", 0)
            + to_pod,
            "the node by 127.0.0.1: masqueraded",
        )
    yield Rule(
        "host-ports-out",
        is_translated + expr.load_address(family, "saddr", 0) + to_pod,
        "a pod that was led to itself: masqueraded",
    )
