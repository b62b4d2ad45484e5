"""The rules that find a connection's service and settle what its source means; `skeleton` has the picture."""

import struct
from collections.abc import Iterable, Iterator

from kubeproxy.rules.layout import (
    CLUSTER_IPS,
    FRONTENDS,
    HAIRPINS,
    LOCAL_POOLS,
    NODE_PORT_IPS,
    NODE_PORTS,
    SERVICE_CIDRS,
    SOURCE_RANGES,
    encode_value,
)
from kubeproxy.rules.pool_value import KIND_MASK, KIND_SHIFT, WITHOUT_KIND, Kind
from kubeproxy.rules.rule_options import RuleOptions, SourceInterface, SourceNetwork
from nodeplane.datapath.nft import expr
from nodeplane.datapath.nft.expr import Family
from nodeplane.datapath.nft.table import Chain, Hook, Rule

KINDS = "kinds"
"""The map from a frontend's kind to the chain that deals with it."""

KIND_CHAINS = {
    encode_value(kind << KIND_SHIFT): expr.verdict_data("goto", name)
    for kind, name in (
        (Kind.EXTERNAL, "external"),
        (Kind.EXTERNAL_LOCAL, "external-local"),
        (Kind.RESTRICTED, "restricted"),
        (Kind.RESTRICTED_LOCAL, "restricted-local"),
    )
}
"""Its elements."""

ChainRules = tuple[Chain, list[Rule]]

# Hook numbers (netfilter.h) and upstream's priorities, the contract with network policies and meshes.
_PREROUTING, _OUTPUT, _POSTROUTING = 0, 3, 4
_DSTNAT, _SRCNAT = -100, 100


def build_service_chains(
    family: Family,
    options: RuleOptions,
    masquerading: Iterable[tuple[bytes, str]],
    *,
    refused_if: bytes = b"",
) -> Iterator[ChainRules]:
    """Yield the chains from the hooks to the choice of an endpoint, and the one behind it.

    `masquerading` are the rules of that one: whose sources are translated. `refused_if` are expressions that
    have to hold of packets to services' addresses that are for no service, for them to be refused or dropped.
    """
    yield from _hook_chains(masquerading)
    yield from _lookup_chains(family, options, refused_if)
    yield from _kind_chains(family, options)


def _hook_chains(masquerading: Iterable[tuple[bytes, str]]) -> Iterator[ChainRules]:
    """Yield where packets come in, and where their sources are translated."""
    yield build_chain(
        "nat-prerouting",
        "connections that come from pods and from outside",
        (expr.verdict("jump", "services"), ""),
        hook=Hook("nat", _PREROUTING, _DSTNAT),
    )
    yield build_chain(
        "nat-output",
        "connections of this node's own processes",
        (expr.verdict("jump", "services"), ""),
        hook=Hook("nat", _OUTPUT, _DSTNAT),
    )
    yield build_chain(
        "nat-postrouting",
        "sources of translated connections",
        *masquerading,
        hook=Hook("nat", _POSTROUTING, _SRCNAT),
    )


def _lookup_chains(family: Family, options: RuleOptions, refused_if: bytes) -> Iterator[ChainRules]:
    """Yield what finds the frontend that a packet is for."""
    yield build_chain(
        "services",
        "is this a service? then which pool",
        # The goto stands in the rule of the lookup: alone, it would run for packets that are no service's.
        (
            _find(_load_frontend(family), FRONTENDS) + expr.verdict("goto", "kinds"),
            "an address and port of a service",
        ),
        (
            refused_if
            + expr.load_address(family, "daddr", 0)
            + expr.in_set(CLUSTER_IPS, 0)
            + expr.verdict("goto", "refuse"),
            "a cluster IP, and no port of it",
        ),
        (
            refused_if
            + expr.load_address(family, "daddr", 0)
            + expr.in_set(SERVICE_CIDRS, 0)
            + expr.verdict("drop"),
            "an address for services that none has",
        ),
        (
            _find(expr.load_meta("l4proto", 0) + expr.load_destination_port(1), NODE_PORTS)
            + expr.verdict("goto", "node-port"),
            "perhaps a node port",
        ),
    )
    yield build_chain("node-port", "is it on an address of this node?", *_node_port_rules(family, options))
    yield build_chain("no-service", "leave the packet as it came", (_set_priority(0), ""))
    yield build_chain(
        "kinds",
        "what the client's address means to the frontend",
        (
            _kind() + expr.compare("==", bytes(4), 0) + expr.verdict("goto", "cluster-ip"),
            "a cluster IP",
        ),
        (_kind() + expr.look_up_verdict(KINDS, 0), "another kind of frontend"),
    )


def _kind_chains(family: Family, options: RuleOptions) -> Iterator[ChainRules]:
    """Yield what each kind of frontend makes of a client: who may come in, and who is masqueraded."""
    yield build_chain(
        "cluster-ip", "who needs the way back through this node", *_cluster_ip_rules(family, options)
    )
    yield build_chain(
        "external",
        "for everybody, by way of this node",
        (_mark(options), "so that the answer comes back this way"),
        (_drop_kind() + expr.verdict("goto", "balance"), ""),
    )
    yield build_chain(
        "external-local", "clients from outside: only to this node's own", *_local_rules(family, options)
    )
    for name, then in (("restricted", "external"), ("restricted-local", "external-local")):
        client = expr.load_address(family, "saddr", expr.ADDRESS_BYTES[family] // 4 + 2)
        yield build_chain(
            name,
            "only for clients in the service's ranges",
            (
                _load_frontend(family) + client + expr.not_in_set(SOURCE_RANGES, 0) + expr.verdict("drop"),
                "a client outside of loadBalancerSourceRanges",
            ),
            (expr.verdict("goto", then), ""),
        )


def masquerade_marked(options: RuleOptions) -> tuple[bytes, str]:
    """Return the rule for connections whose mark says that their source is to be translated."""
    bit = 1 << options.masquerade_bit
    return (
        expr.load_meta("mark", 0)
        + expr.has_bits(bit, 0)
        + expr.load_meta("mark", 0)
        + expr.mask(0xFFFFFFFF, 0, flip=bit)
        + expr.set_meta("mark", 0)
        + expr.masquerade(),
        "marked on its way in: masqueraded",
    )


def masquerade_rules(family: Family, options: RuleOptions) -> Iterator[tuple[bytes, str]]:
    """Yield the rules for the sources of connections that our rules have translated."""
    yield masquerade_marked(options)
    yield (
        expr.load_ct("status", 0)
        + expr.has_bits(expr.CT_STATUS_DNAT, 0)
        + expr.load_address(family, "saddr", 0)
        + expr.load_address(family, "daddr", expr.ADDRESS_BYTES[family] // 4)
        + expr.in_set(HAIRPINS, 0)
        + expr.masquerade(),
        "an endpoint that was led to itself: masqueraded",
    )


def build_refuse_chain(family: Family) -> ChainRules:
    """Return the chain that answers at once for an endpoint that is not there."""
    return build_chain(
        "refuse",
        "answer at once",
        (
            expr.load_meta("l4proto", 0) + expr.compare("==", b"\x06", 0) + expr.reject_with_reset(),
            "nobody there: reset",
        ),
        (expr.reject_unreachable(family), "no endpoint: port unreachable"),
    )


def _node_port_rules(family: Family, options: RuleOptions) -> Iterator[tuple[bytes, str]]:
    no_service = expr.verdict("goto", "no-service")
    if options.node_port_everywhere:
        is_foreign = expr.load_address_type("daddr", 0) + expr.compare("!=", struct.pack("=I", expr.LOCAL), 0)
        yield is_foreign + no_service, "not an address of this node"
        yield expr.load_address(family, "daddr", 0) + _is_loopback(family) + no_service, "a loopback address"
    else:
        elsewhere = expr.load_address(family, "daddr", 0) + expr.not_in_set(NODE_PORT_IPS, 0)
        yield elsewhere + no_service, "not an address of nodePortAddresses"
    yield expr.verdict("goto", "kinds"), "a node port"


def _cluster_ip_rules(family: Family, options: RuleOptions) -> Iterator[tuple[bytes, str]]:
    detector = options.local_detector
    if options.masquerade_all:
        yield _mark(options), "masqueradeAll"
    elif detector is not None:
        is_foreign = _match_source(family, detector, is_local=False)
        yield is_foreign + _mark(options), "not a pod of this node: masqueraded"
    yield expr.verdict("goto", "balance"), ""


def _local_rules(family: Family, options: RuleOptions) -> Iterator[tuple[bytes, str]]:
    to_all = _drop_kind() + expr.verdict("goto", "balance")
    detector = options.local_detector
    if detector is not None:
        yield _match_source(family, detector, is_local=True) + to_all, "a pod of this node: to any endpoint"
    from_here = expr.load_address_type("saddr", 0) + expr.compare("==", struct.pack("=I", expr.LOCAL), 0)
    yield from_here + _mark(options) + to_all, "this node itself: to any endpoint"
    yield (
        expr.load_meta("priority", 0)
        + expr.mask(WITHOUT_KIND, 0)
        + expr.look_up(LOCAL_POOLS, key=0, value=0)
        + expr.set_meta("priority", 0)
        + expr.verdict("goto", "balance"),
        "policy Local: to an endpoint on this node",
    )
    yield expr.verdict("drop"), "policy Local, and no endpoint on this node"


def _match_source(family: Family, detector: SourceNetwork | SourceInterface, *, is_local: bool) -> bytes:
    """Go on with the rule only if the packet comes from a pod of this node, or only if it does not."""
    operator: expr.Operator = "==" if is_local else "!="
    if isinstance(detector, SourceNetwork):
        return expr.load_address(family, "saddr", 0) + expr.in_network(detector.network, 0, operator)
    name = detector.name.encode()
    whole = name if detector.is_prefix else name.ljust(expr.INTERFACE_NAME_BYTES, b"\0")
    return expr.load_meta("iifname", 0) + expr.compare(operator, whole, 0)


def _is_loopback(family: Family) -> bytes:
    if family == "ip":
        return expr.compare("==", b"\x7f", 0)
    return expr.compare("==", bytes(15) + b"\1", 0)


def _load_frontend(family: Family) -> bytes:
    """Load what a packet is for, as `frontends` has it, into the registers from 0 on."""
    words = expr.ADDRESS_BYTES[family] // 4
    return (
        expr.load_address(family, "daddr", 0)
        + expr.load_meta("l4proto", words)
        + expr.load_destination_port(words + 1)
    )


def _find(key: bytes, map_name: str) -> bytes:
    return key + expr.look_up(map_name, key=0, value=0) + expr.set_meta("priority", 0)


def _kind() -> bytes:
    return expr.load_meta("priority", 0) + expr.mask(KIND_MASK, 0)


def _drop_kind() -> bytes:
    return expr.load_meta("priority", 0) + expr.mask(WITHOUT_KIND, 0) + expr.set_meta("priority", 0)


def _mark(options: RuleOptions) -> bytes:
    bit = 1 << options.masquerade_bit
    # (mark & ~bit) ^ bit, as nft writes `mark or bit`.
    return expr.load_meta("mark", 0) + expr.mask(0xFFFFFFFF & ~bit, 0, flip=bit) + expr.set_meta("mark", 0)


def _set_priority(priority: int) -> bytes:
    return expr.load_constant(struct.pack("=I", priority), 0) + expr.set_meta("priority", 0)


def build_chain(name: str, comment: str, *rules: tuple[bytes, str], hook: Hook | None = None) -> ChainRules:
    """Return a chain and its rules, given as expressions and what they are for."""
    return Chain(name, comment, hook), [Rule(name, expressions, why) for expressions, why in rules]
