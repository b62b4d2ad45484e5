"""The constant part of the table in mode ipvs: what IPVS can't do, around what it does.

    prerouting, output ─► services ─► kinds ─► … as in `rules.skeleton`, to
         (nat, -100)                             balance ─┬─ refuse, drop
                                                          ├─ dropped, until its address is on the link
                                                          ├─ marked: this node and its pods, at a
                                                          │  frontend of policy Local
                                                          └─► accepted, its address is `kube-ipvs0`'s
                                                                          │
    input, output: IPVS finds the virtual service, by the mark or by the address, and translates
    (99, -98)                                                             │
                                                                          ▼
    postrouting ─► marked, from a service's own address, or an endpoint that was led to itself:
        (nat, 100)                                                           masqueraded

A connection of this node's own has the service's address as its source, as that address is the node's: nobody
else could answer it. `ct status dnat` does not tell what IPVS has translated, so hairpins are told by their
two addresses alone: no other packet leaves its sender for itself.
"""

import struct
from collections.abc import Iterator

from kubeproxy.ipvs.layout import MARK_BASE, MARK_MASK
from kubeproxy.rules import layout as at
from kubeproxy.rules.choice_rules import CLASSES
from kubeproxy.rules.pool_value import CLASS_DROP, CLASS_MASK, CLASS_REJECT, CLASS_SHIFT, PLAIN_POOL_BITS
from kubeproxy.rules.rule_options import DEFAULT_OPTIONS, RuleOptions
from kubeproxy.rules.service_rules import (
    KIND_CHAINS,
    KINDS,
    build_chain,
    build_refuse_chain,
    build_service_chains,
    masquerade_marked,
)
from kubeproxy.rules.skeleton import build_maps
from nodeplane.datapath.nft import expr
from nodeplane.datapath.nft.expr import Family
from nodeplane.datapath.nft.table import Table

COMMENT = "nodeplane kubeproxy ipvs"
"""How the table's own comment begins in this mode."""

TABLE_MAPS = (
    *(at.FRONTENDS, at.NODE_PORTS, at.LOCAL_POOLS, at.SOURCE_RANGES, at.CLUSTER_IPS, at.SERVICE_CIDRS),
    *(at.HAIRPINS, at.NODE_PORT_IPS),
)
"""The maps whose elements are service state in this mode."""

_POOL_MASK = (1 << PLAIN_POOL_BITS) - 1


def is_ipvs(signature: str) -> bool:
    """Say by a table's signature whether it is one of this mode."""
    return signature.startswith(COMMENT)


def build_skeleton(family: Family, options: RuleOptions = DEFAULT_OPTIONS) -> Table:
    """Build the constant part of the table for one address family."""
    # The refusal of this node's own connection goes to a service's address too. It is related to that one,
    # and no connection to a port that nobody has.
    is_new = expr.load_ct("state", 0) + expr.has_bits(expr.CT_STATE_NEW, 0)
    chains = [
        *build_service_chains(family, options, _masquerade_rules(family, options), refused_if=is_new),
        build_chain("balance", "what IPVS needs to know", *_balance_rules()),
        build_refuse_chain(family),
    ]
    maps = {*TABLE_MAPS, KINDS, CLASSES}
    return Table(
        family=family,
        name=at.TABLE,
        comment=COMMENT,
        chains=tuple(chain for chain, _ in chains),
        maps=tuple(declared for declared in build_maps(family) if declared.name in maps),
        rules=tuple(rule for _, rules in chains for rule in rules),
        fixed={
            KINDS: KIND_CHAINS,
            CLASSES: {
                at.encode_value(CLASS_DROP << CLASS_SHIFT): expr.verdict_data("drop"),
                at.encode_value(CLASS_REJECT << CLASS_SHIFT): expr.verdict_data("goto", "refuse"),
            },
        },
    )


def _balance_rules() -> Iterator[tuple[bytes, str]]:
    priority = expr.load_meta("priority", 0)
    yield priority + expr.mask(CLASS_MASK, 0) + expr.look_up_verdict(CLASSES, 0), "nobody there"
    # Routed onward, untranslated, it would leave this node. IPVS leads only what is for this node.
    is_foreign = expr.load_address_type("daddr", 0) + expr.compare("!=", struct.pack("=I", expr.LOCAL), 0)
    yield is_foreign + expr.verdict("drop"), "its address is not here yet: the client will try again"
    yield (
        priority
        + expr.has_bits(_POOL_MASK, 0)
        + priority
        + expr.mask(_POOL_MASK, 0, flip=MARK_BASE)
        + expr.set_meta("mark", 0),
        "policy Local, from inside: to the virtual service of this mark",
    )
    yield expr.load_constant(struct.pack("=I", 0), 0) + expr.set_meta("priority", 0), "IPVS chooses"


def _masquerade_rules(family: Family, options: RuleOptions) -> Iterator[tuple[bytes, str]]:
    words = expr.ADDRESS_BYTES[family] // 4
    source = expr.load_address(family, "saddr", 0)
    is_ours = (
        expr.load_meta("mark", 0)
        + expr.mask(MARK_MASK, 0)
        + expr.compare("==", struct.pack("=I", MARK_BASE), 0)
    )
    unmark = expr.load_constant(struct.pack("=I", 0), 0) + expr.set_meta("mark", 0)
    is_from_here = expr.load_address_type("saddr", 0) + expr.compare("==", struct.pack("=I", expr.LOCAL), 0)
    yield (
        is_ours + is_from_here + unmark + expr.masquerade(),
        "this node at policy Local: masqueraded",
    )
    yield is_ours + unmark, "IPVS has read the mark"
    yield masquerade_marked(options)
    yield source + expr.in_set(at.CLUSTER_IPS, 0) + expr.masquerade(), "from a service's address: masqueraded"
    yield (
        source + expr.load_address(family, "daddr", words) + expr.in_set(at.HAIRPINS, 0) + expr.masquerade(),
        "an endpoint that was led to itself: masqueraded",
    )
