"""Which tracked flows do not go where they would go now, and how to find them at little cost.

Connection tracking leads a flow to the endpoint that its first packet got, for as long as packets come. TCP
notices when that endpoint is gone; a UDP client never does. So a UDP flow is stale when

- its frontend leads elsewhere now, or nowhere at all;
- its frontend is gone, and it is still translated;
- it was there before its frontend, and so is not translated at all;
- its client came from outside, its frontend has `externalTrafficPolicy: Local` now, and its endpoint is on
  another node. Where a client was, its flow does not say: whoever acts on STALE_FROM_OUTSIDE asks the routes.

- its client is not let in any more by loadBalancerSourceRanges.

A node port has no address of its own, and others may translate the same number elsewhere: a flow counts if it
was led to an endpoint that the port has lost, or if it is not translated and its destination is an address
where node ports are served (STALE_AT_NODE). One to an endpoint of the port's is stale if node ports are not
served at its destination any more (STALE_AWAY_FROM_NODE).

TCP connections end with their endpoint only where that is asked for, and only when it has left the slices:
one that is unready or terminates keeps them. Those of a frontend that is gone stay too: their endpoints may
well live on, and nobody would answer with a reset.
"""

from collections.abc import Container, Iterator, Mapping
from enum import Enum

from kubeproxy.desired.element_store import ElementKey
from kubeproxy.flows.reach import Reach
from kubeproxy.rules.addresses import PackedAddress
from kubeproxy.rules.layout import (
    FRONTENDS,
    NODE_PORTS,
    PROTOCOL_NAMES,
    PackedEndpoint,
    encode_endpoint,
    encode_frontend,
    encode_node_port,
)
from nodeplane.datapath.conntrack.flow import TCP, UDP, Flow, FlowFilter
from nodeplane.datapath.nft.expr import Family

Change = tuple[Reach | None, Reach | None]
"""Where a frontend led before, and where it leads now; None: it was, or is, not there."""

# One walk of the kernel's over a table of 262,144 buckets takes as long as reading so many flows (measured).
_FLOWS_PER_WALK = 1500


class Verdict(Enum):
    """What is to become of a flow."""

    KEEP = "keep"
    STALE = "stale"
    STALE_FROM_OUTSIDE = "stale if its client is neither a pod of this node nor the node itself"
    STALE_AT_NODE = "stale if its destination is an address where node ports are served"
    STALE_AWAY_FROM_NODE = "stale if its destination was an address where node ports are served, and is none"


def frontend_of(flow: Flow, published: Container[ElementKey]) -> ElementKey:
    """Return the frontend that a flow was for: the one at its address, else the node port that it may be."""
    protocol = PROTOCOL_NAMES[flow.protocol]
    at_address = FRONTENDS, encode_frontend(flow.destination, protocol, flow.destination_port)
    if at_address in published:
        return at_address
    return NODE_PORTS, encode_node_port(protocol, flow.destination_port)


def judge(flow: Flow, frontend: ElementKey, change: Change) -> Verdict:
    """Say whether a flow is stale now; `before` is None also for a frontend that has not changed."""
    endpoint = encode_endpoint(flow.reply_source, flow.reply_source_port)
    if flow.protocol == TCP:
        return _judge_connection(endpoint, change)
    if frontend[0] == NODE_PORTS:
        return _judge_at_node_port(endpoint, change, is_translated=flow.is_translated)
    before, now = change
    if now is not None:
        return _judge_published(endpoint, now) if now.lets_in(flow.source) else Verdict.STALE
    # The address was the frontend's alone: whatever it was translated to.
    return Verdict.STALE if before is not None and flow.is_translated else Verdict.KEEP


def _judge_connection(endpoint: PackedEndpoint, change: Change) -> Verdict:
    before, now = change
    if before is None or now is None or endpoint in now.known:
        return Verdict.KEEP
    return Verdict.STALE if endpoint in before.known else Verdict.KEEP


def _judge_at_node_port(endpoint: PackedEndpoint, change: Change, *, is_translated: bool) -> Verdict:
    _, now = change
    if now is not None:
        verdict = _judge_published(endpoint, now)
        if verdict is Verdict.KEEP:
            return Verdict.STALE_AWAY_FROM_NODE
        if verdict is not Verdict.STALE:
            return verdict
        if not is_translated:
            return Verdict.STALE_AT_NODE
    is_ours = any(reach is not None and endpoint in reach.known for reach in change)
    return Verdict.STALE if is_ours else Verdict.KEEP


def _judge_published(endpoint: PackedEndpoint, now: Reach) -> Verdict:
    if endpoint in now.outside:
        return Verdict.KEEP
    return Verdict.STALE_FROM_OUTSIDE if endpoint in now.inside else Verdict.STALE


def build_filters(family: Family, changes: Mapping[ElementKey, Change]) -> dict[int, set[FlowFilter]]:
    """Return, by protocol, what to ask the kernel for to see all flows that the changes may have made stale.

    A frontend that has only won endpoints makes none. Where a few endpoints are lost to many frontends (those
    of one service) it is the endpoints that are asked for.
    """
    filters: dict[int, set[FlowFilter]] = {}
    lost: dict[int, set[PackedEndpoint]] = {}
    at_loss: dict[int, set[FlowFilter]] = {}
    for frontend, change in changes.items():
        protocol = frontend[1][-8]
        if protocol == UDP and _is_narrowed(change):
            filters.setdefault(protocol, set()).add(at_frontend(family, frontend))
        elif None not in change:
            endpoints = _lost(protocol, change)
            if endpoints:
                lost.setdefault(protocol, set()).update(endpoints)
                at_loss.setdefault(protocol, set()).add(at_frontend(family, frontend))
        elif protocol == UDP:
            filters.setdefault(protocol, set()).add(at_frontend(family, frontend))
    for protocol, at_frontends in at_loss.items():
        at_endpoints = {_at_endpoint(family, protocol, endpoint) for endpoint in lost[protocol]}
        fewer = at_endpoints if len(at_endpoints) < len(at_frontends) else at_frontends
        filters.setdefault(protocol, set()).update(fewer)
    return filters


def join_filters(
    family: Family, filters: Mapping[int, set[FlowFilter]], entries: int
) -> Iterator[FlowFilter]:
    """Yield the filters, or one for a whole protocol where the table has so few entries that this pays."""
    for protocol, wanted in filters.items():
        if entries <= (len(wanted) - 1) * _FLOWS_PER_WALK:
            yield FlowFilter(family, protocol)
        else:
            yield from wanted


def _is_narrowed(change: Change) -> bool:
    """Say whether clients that were let in may be shut out now."""
    before, now = change
    return before is not None and now is not None and now.sources not in (None, before.sources)


def _lost(protocol: int, change: Change) -> frozenset[PackedEndpoint]:
    """Return the endpoints that some clients of a frontend had before and have no more."""
    before, now = change
    if before is None or now is None:
        return frozenset()
    if protocol == TCP:
        return before.known - now.known
    return (before.inside - now.inside) | (before.outside - now.outside)


# The kernel can't compare IPv6 addresses (see `conntrack.message`): it is asked for a port once, not for each
# address with that port.


def at_frontend(family: Family, frontend: ElementKey) -> FlowFilter:
    """Return what to ask the kernel for to see a frontend's flows."""
    map_name, key = frontend
    address = key[:-8] if map_name == FRONTENDS and family == "ip" else None
    port = int.from_bytes(key[-4:-2], "big")
    return FlowFilter(family, key[-8], destination=address, destination_port=port)


def at_address(family: Family, address: PackedAddress) -> FlowFilter:
    """Return what to ask the kernel for to see the UDP flows to an address, whatever their port."""
    return FlowFilter(family, UDP, destination=address if family == "ip" else None)


def _at_endpoint(family: Family, protocol: int, endpoint: PackedEndpoint) -> FlowFilter:
    address = endpoint[:-4] if family == "ip" else None
    port = int.from_bytes(endpoint[-4:-2], "big")
    return FlowFilter(family, protocol, reply_source=address, reply_source_port=port)
