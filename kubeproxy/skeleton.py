"""The constant rules, the same for one service and for thirty thousand (docs/adr/0001).

A new connection's way (established ones never come here: conntrack translates them):

    prerouting, output ── services ── dispatch ── balance-N ── translated to one endpoint
         (nat, -100)        │ no service: on its way, untouched
                            └ refused: untouched here, then
    prerouting, output ── refusals ── refuse ── reset or ICMP port unreachable
         (filter, -90, 0)
    postrouting ── an endpoint that was led to itself: masqueraded, so that the answer comes back here
         (nat, 100)

Refusing comes before routing, unlike upstream's (forward and input, priority 0): it must not depend on the
node having a route to an address that is nowhere.

Between rules the pool travels in `meta priority`. Only the first packet of a connection has it, and loses
it in postrouting, before it comes to a queue; one for a local process meets no queue.

A lookup that finds nothing ends its rule, not its chain. That is how a pool of 19 endpoints lives in 24
slots: the rules of `balance-24` draw again when they hit an empty slot, and finally draw from the first
16, which are all taken. The choice stays even to within 0.5 %.
"""

import struct

from kubeproxy.layout import CLASS_MASK, CLASS_REJECT, FRONTENDS, HAIRPINS, POOL_BITS, SIZES, SLOTS, TABLE
from nodeplane.datapath.nft import expr
from nodeplane.datapath.nft.expr import Family
from nodeplane.datapath.nft.table import Chain, Hook, Map, Rule, Table

_CLASSES, _REFUSALS = "classes", "refusals"
_ADDRESS_TYPE = {"ip": "ipv4_addr", "ip6": "ipv6_addr"}
_EXACT_SIZES = 16
_DRAWS = 5

# Hook numbers (netfilter.h) and upstream's priorities, the contract with network policies and meshes.
_PREROUTING, _OUTPUT, _POSTROUTING = 0, 3, 4
_BASE_CHAINS = (
    Chain(
        "nat-prerouting", "connections that come from pods and from outside", Hook("nat", _PREROUTING, -100)
    ),
    Chain("nat-output", "connections of this node's own processes", Hook("nat", _OUTPUT, -100)),
    # Ahead of everybody's source translation: the first that decides ends the walk of a hook's nat chains.
    Chain("nat-postrouting-reset", "the pool has been used", Hook("nat", _POSTROUTING, 0)),
    Chain("nat-postrouting", "sources of translated connections", Hook("nat", _POSTROUTING, 100)),
    Chain("filter-prerouting", "refuse what no endpoint can answer", Hook("filter", _PREROUTING, -90)),
    Chain("filter-output", "refuse what no endpoint can answer", Hook("filter", _OUTPUT, 0)),
)


def build_skeleton(family: Family) -> Table:
    """Build the constant part of the table for one address family."""
    address = _ADDRESS_TYPE[family]
    return Table(
        family=family,
        name=TABLE,
        comment="nodeplane kubeproxy",
        chains=(
            *_BASE_CHAINS,
            Chain("services", "is this a service? then which pool"),
            Chain("dispatch", "by the pool's size"),
            Chain("refusals", "is this a service that has no endpoint?"),
            Chain("dispatch-refusals", "by the reason"),
            Chain("refuse", "answer at once"),
            *(Chain(_balance_name(size), f"pools of up to {size} endpoints") for size in SIZES),
        ),
        maps=(
            Map(
                FRONTENDS,
                "where a service is published: its class and pool",
                (address, "inet_proto", "inet_service"),
                ("classid",),
            ),
            Map(SLOTS, "the endpoints of a pool", ("classid", "mark"), (address, "inet_service")),
            Map(HAIRPINS, "endpoints on this node", (address, address)),
            Map(_CLASSES, "class of a pool: the chain for its size", ("classid",), "verdict"),
            Map(_REFUSALS, "class of a pool that refuses", ("classid",), "verdict"),
        ),
        rules=tuple(_rules(family)),
        fixed={
            _CLASSES: {
                _class_key(class_): expr.verdict_data("goto", _balance_name(size))
                for class_, size in enumerate(SIZES)
            },
            _REFUSALS: {_class_key(CLASS_REJECT): expr.verdict_data("goto", "refuse")},
        },
    )


def _rules(family: Family) -> list[Rule]:
    find_pool = (
        _load_frontend(family) + expr.look_up(FRONTENDS, key=0, value=0) + expr.set_meta("priority", 0)
    )
    is_new = expr.load_ct("state", 0) + expr.has_bits(expr.CT_STATE_NEW, 0)
    is_translated = expr.load_ct("status", 0) + expr.has_bits(expr.CT_STATUS_DNAT, 0)
    class_of_pool = expr.load_meta("priority", 0) + expr.mask(CLASS_MASK, 0)
    return [
        Rule("nat-prerouting", expr.verdict("jump", "services")),
        Rule("nat-output", expr.verdict("jump", "services")),
        # The goto stands in the rule of the lookup: alone, it would run for packets that are no service's.
        Rule("services", find_pool + expr.verdict("goto", "dispatch")),
        Rule("dispatch", class_of_pool + expr.look_up_verdict(_CLASSES, 0)),
        *(
            Rule(_balance_name(size), _draw(family, modulus))
            for size in SIZES
            for modulus in balance_draws(size)
        ),
        Rule(
            "nat-postrouting-reset",
            is_translated + expr.load_constant(bytes(4), 0) + expr.set_meta("priority", 0),
            "queues must not see it",
        ),
        Rule(
            "nat-postrouting",
            is_translated
            + expr.load_address(family, "saddr", 0)
            + expr.load_address(family, "daddr", expr.ADDRESS_BYTES[family] // 4)
            + expr.in_set(HAIRPINS, 0)
            + expr.masquerade(),
            "an endpoint that was led to itself",
        ),
        Rule("filter-prerouting", is_new + expr.verdict("jump", "refusals")),
        Rule("filter-output", is_new + expr.verdict("jump", "refusals")),
        # Translated connections have an endpoint's address by now and are not found.
        Rule("refusals", find_pool + expr.verdict("goto", "dispatch-refusals")),
        Rule("dispatch-refusals", class_of_pool + expr.look_up_verdict(_REFUSALS, 0)),
        Rule(
            "refuse", expr.load_meta("l4proto", 0) + expr.compare("==", b"\x06", 0) + expr.reject_with_reset()
        ),
        Rule("refuse", expr.reject_unreachable(family)),
    ]


def balance_draws(size: int) -> list[int]:
    """Return the moduli that the rules of one balance chain draw with, in order.

    Exact sizes need one draw. The others are at least 2/3 full, so the chance that five draws all hit an
    empty slot is below (1/3)^5 = 0.4 %; the last draw is from a size that the pool has outgrown.
    """
    if size <= _EXACT_SIZES:
        return [size]
    return [size] * _DRAWS + [SIZES[SIZES.index(size) - 1]]


def _draw(family: Family, modulus: int) -> bytes:
    """Translate to a random slot of the packet's pool; end the rule if the slot is empty."""
    return (
        expr.load_meta("priority", 0)
        + expr.load_random(modulus, 1)
        + expr.look_up(SLOTS, key=0, value=0)
        + expr.translate_destination(family, address=0, port=expr.ADDRESS_BYTES[family] // 4)
    )


def _load_frontend(family: Family) -> bytes:
    words = expr.ADDRESS_BYTES[family] // 4
    return (
        expr.load_address(family, "daddr", 0)
        + expr.load_meta("l4proto", words)
        + expr.load_destination_port(words + 1)
    )


def _balance_name(size: int) -> str:
    return f"balance-{size}"


def _class_key(class_: int) -> bytes:
    return struct.pack("=I", class_ << POOL_BITS)
