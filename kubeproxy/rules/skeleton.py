"""The constant part of the table, the same for one service and for thirty thousand (docs/adr/0001).

A new connection's way (established ones never come here: conntrack translates them):

    prerouting, output ─► services ─┬─ an address and port of ours ──────────► kinds
         (nat, -100)                ├─ another port of a cluster IP: refused
                                    ├─ an address that no Service has yet: dropped
                                    └─ a port of this node ─► node-port ─────► kinds

    kinds ─┬─ cluster-ip       clients that are no pods of ours: masqueraded ──────────┐
           ├─ external         all clients: masqueraded ───────────────────────────────┤
           ├─ external-local   this node's pods and processes as elsewhere, ───────────┤
           │                   clients from outside: to the pool of this node's own ───┤
           └─ restricted…      only clients in the service's ranges, then as above     │
                                                                                       ▼
    balance ─┬─ balance-N, source-hash-N, flow-hash-N ─► a slot ─► translated to its endpoint
             ├─ refuse, drop
             └─ affinity ─► keep-T ─► recall: the member that the client had, while it is alive
                               │              else choose ─► draw-N ─► a slot's member
                               └─► remembered for T seconds ─► translated to the member's endpoint

    postrouting ─► marked, or an endpoint that was led to itself: masqueraded
        (nat, 100)

All of it is decided in nat chains, which only a connection's first packet walks: others pay nothing. Refusing
there, before routing, does not depend on the node having a route to an address that is nowhere.

Between rules the pool's value travels in `meta priority` (see `pool_value`); whoever translates sets it back.
"""

import struct
from collections.abc import Iterator

from kubeproxy.rules import layout as at
from kubeproxy.rules.choice_rules import (
    AFFINITY_CLASSES,
    CLASSES,
    TIMEOUTS,
    balance_name,
    build_choice_chains,
    draw_name,
    flow_hash_name,
    keep_name,
    source_hash_name,
)
from kubeproxy.rules.pool_value import (
    CLASS_DROP,
    CLASS_REJECT,
    CLASS_SHIFT,
    SIZE_SHIFT,
    TIMEOUT_SHIFT,
)
from kubeproxy.rules.rule_options import DEFAULT_OPTIONS, RuleOptions
from kubeproxy.rules.service_rules import KIND_CHAINS, KINDS, build_service_chains, masquerade_rules
from kubeproxy.rules.sizes import AFFINITY_SIZES, AFFINITY_TIMEOUTS_S, BALANCE_SIZES, HASH_SIZES
from nodeplane.datapath.nft import expr
from nodeplane.datapath.nft.expr import Family
from nodeplane.datapath.nft.table import Map, Table

_REMEMBERED_CLIENTS = 1 << 20
"""Clients of services with session affinity; one more is served and not remembered."""

_VALUE = ("classid",)


def build_skeleton(family: Family, options: RuleOptions = DEFAULT_OPTIONS) -> Table:
    """Build the constant part of the table for one address family."""
    masquerading = masquerade_rules(family, options)
    chains = [*build_service_chains(family, options, masquerading), *build_choice_chains(family)]
    return Table(
        family=family,
        name=at.TABLE,
        comment="nodeplane kubeproxy",
        chains=tuple(chain for chain, _ in chains),
        maps=tuple(build_maps(family)),
        rules=tuple(rule for _, rules in chains for rule in rules),
        fixed={
            KINDS: KIND_CHAINS,
            CLASSES: dict(_classes()),
            TIMEOUTS: {
                _encode(place << TIMEOUT_SHIFT): expr.verdict_data("goto", keep_name(timeout_s))
                for place, timeout_s in enumerate(AFFINITY_TIMEOUTS_S)
            },
            AFFINITY_CLASSES: {
                _encode(place << SIZE_SHIFT): expr.verdict_data("jump", draw_name(size))
                for place, size in enumerate(AFFINITY_SIZES)
            },
        },
    )


def build_maps(family: Family) -> Iterator[Map]:
    """Yield the maps of all modes; nftables has all of them."""
    address = {"ip": "ipv4_addr", "ip6": "ipv6_addr"}[family]
    frontend = (address, "inet_proto", "inet_service")
    endpoint = (address, "inet_service")
    yield Map(at.FRONTENDS, "where a service is published", frontend, _VALUE, counted=True)
    yield Map(at.NODE_PORTS, "the same on this node", frontend[1:], _VALUE, counted=True)
    yield Map(at.LOCAL_POOLS, "this node's endpoints of a pool", _VALUE, _VALUE)
    yield Map(at.SLOTS, "the endpoints of a pool", ("classid", "mark"), endpoint)
    yield Map(at.MEMBERS, "the same where clients are remembered", ("classid", "mark"), _VALUE)
    yield Map(at.MEMBER_ADDRESSES, "endpoints that clients are remembered with", _VALUE, endpoint)
    yield Map(at.MEMBERS_ALIVE, "the same, to ask if one is there", _VALUE)
    yield Map(at.AFFINE_POOLS, "from a member back to its pool", _VALUE, _VALUE)
    yield Map(
        at.AFFINITY,
        "which client has which member",
        (address, "classid"),
        _VALUE,
        remembers=_REMEMBERED_CLIENTS,
    )
    yield Map(at.SOURCE_RANGES, "who may use a load balancer's address", (*frontend, address), ranges=True)
    yield Map(at.CLUSTER_IPS, "addresses of services", (address,))
    yield Map(at.SERVICE_CIDRS, "addresses for services", (address,), ranges=True)
    yield Map(at.HAIRPINS, "endpoints on this node", (address, address))
    yield Map(at.NODE_PORT_IPS, "where node ports are served", (address,))
    yield Map(KINDS, "what a frontend does about clients", _VALUE, "verdict")
    yield Map(CLASSES, "how a pool chooses", _VALUE, "verdict")
    yield Map(TIMEOUTS, "how long clients are remembered", _VALUE, "verdict")
    yield Map(AFFINITY_CLASSES, "how many slots there are", _VALUE, "verdict")


def _classes() -> Iterator[tuple[bytes, bytes]]:
    names = (
        *map(balance_name, BALANCE_SIZES),
        *map(source_hash_name, HASH_SIZES),
        *map(flow_hash_name, HASH_SIZES),
    )
    for class_, name in enumerate(names):
        # Jump, not goto: who finds all slots empty comes back and tries again.
        yield _encode(class_ << CLASS_SHIFT), expr.verdict_data("jump", name)
    yield _encode(CLASS_DROP << CLASS_SHIFT), expr.verdict_data("drop")
    yield _encode(CLASS_REJECT << CLASS_SHIFT), expr.verdict_data("goto", "refuse")


def _encode(value: int) -> bytes:
    return struct.pack("=I", value)
