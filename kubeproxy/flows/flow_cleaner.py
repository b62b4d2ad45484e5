"""Removes tracked flows that go where their frontend no longer leads, after each sync; see `stale_flows`."""

import time
from collections import ChainMap
from collections.abc import Iterable
from typing import Any

import msgspec

from kubeproxy.desired.desired_elements import DesiredElements
from kubeproxy.desired.element_store import ElementKey
from kubeproxy.flows.reach import Elements, Reach, build_reach, find_frontends, read_reaches
from kubeproxy.flows.stale_flows import Change, Verdict, build_filters, frontend_of, join_filters, judge
from kubeproxy.rules.layout import NODE_PORT_IPS, PackedAddress
from kubeproxy.rules.rule_options import DEFAULT_OPTIONS, LocalDetector, RuleOptions, SourceNetwork
from nodeplane.datapath.conntrack.flow import TCP, UDP, Flow, FlowFilter
from nodeplane.datapath.conntrack.table import Conntrack
from nodeplane.datapath.nft.expr import Family
from nodeplane.datapath.routing import LOCAL, Routing


class CleanReport(msgspec.Struct, frozen=True):
    """What one cleaning did: entries that it deleted, and the seconds that it took."""

    deleted: int
    seconds: float


class FlowCleaner:
    """What one family's frontends led to when their flows were last looked at, and the table of flows.

    UDP flows always count; TCP connections only if `terminate_removed`. Routes tell where a client is.
    """

    def __init__(
        self,
        family: Family,
        conntrack: Conntrack,
        routing: Routing,
        options: RuleOptions = DEFAULT_OPTIONS,
        *,
        terminate_removed: bool = False,
    ) -> None:
        self._family: Family = family
        self._conntrack = conntrack
        self._routing = routing
        self._options = options
        self._protocols = (UDP, TCP) if terminate_removed else (UDP,)
        self._reaches: dict[ElementKey, Reach] = {}
        self._is_first = True
        # What a call that failed has left to do.
        self._pending: set[ElementKey] = set()

    def learn(self, elements: Elements) -> None:
        """Take in what our table held before this process wrote to it: whose flows there may be.

        The first call counts, before the first cleaning; what later ones bring we have written ourselves.
        """
        if self._is_first and not self._reaches:
            self._reaches = read_reaches(elements, self._protocols)

    def clean(self, desired: DesiredElements) -> CleanReport:
        """Remove the flows that are stale now that the table holds `desired`.

        The first call looks at all UDP flows, later ones at those of frontends that changed in between.

        Raises:
            KernelError: the kernel refused; the next call does what this one left.
        """
        started = time.monotonic()
        touched = desired.take_touched_frontends()
        if touched is None:
            touched = {*find_frontends(desired.elements, self._protocols), *self._reaches}
        self._pending |= touched
        changes = self._changes(desired)
        filters = build_filters(self._family, changes)
        if self._is_first:
            filters[UDP] = {FlowFilter(self._family, UDP)}
        deleted = 0
        if filters:
            entries = self._conntrack.usage().entries
            stale = self._find_stale(desired, changes, join_filters(self._family, filters, entries))
            deleted = self._conntrack.delete(stale)
        for frontend, (_, now) in changes.items():
            if now is None:
                self._reaches.pop(frontend, None)
            else:
                self._reaches[frontend] = now
        self._pending.clear()
        self._is_first = False
        return CleanReport(deleted, time.monotonic() - started)

    def _changes(self, desired: DesiredElements) -> dict[ElementKey, Change]:
        changes: dict[ElementKey, Change] = {}
        for frontend in self._pending:
            if frontend[1][-8] not in self._protocols:
                continue
            port = desired.owner(frontend)
            now = None if port is None else build_reach(port, frontend)
            before = self._reaches.get(frontend)
            if before != now:
                changes[frontend] = before, now
        return changes

    def _find_stale(
        self, desired: DesiredElements, changes: dict[ElementKey, Change], filters: Iterable[FlowFilter]
    ) -> list[Flow]:
        published = ChainMap[ElementKey, Any](changes, self._reaches)
        places = _Places(desired, self._routing, self._options)
        stale: dict[Flow, None] = {}
        for wanted in filters:
            for flow in self._conntrack.find(wanted):
                frontend = frontend_of(flow, published)
                if frontend not in published:
                    continue
                change = changes.get(frontend) or (None, self._reaches.get(frontend))
                if places.settle(flow, judge(flow, frontend, change)):
                    stale[flow] = None
        return list(stale)


class _Places:
    """Answers about addresses, each looked up once."""

    def __init__(self, desired: DesiredElements, routing: Routing, options: RuleOptions) -> None:
        self._routing = routing
        self._options = options
        self._node_port_ips = desired.elements[NODE_PORT_IPS]
        self._found: dict[PackedAddress, tuple[bool, str]] = {}

    def settle(self, flow: Flow, verdict: Verdict) -> bool:
        """Say whether a flow is stale."""
        if verdict is Verdict.STALE_AT_NODE:
            return self._serves_node_ports(flow.destination)
        if verdict is Verdict.STALE_FROM_OUTSIDE:
            return not self._is_inside(flow.source)
        return verdict is Verdict.STALE

    def _serves_node_ports(self, address: PackedAddress) -> bool:
        """Judge as the rules of `service_rules` do."""
        if not self._options.node_port_everywhere:
            return address in self._node_port_ips
        is_loopback = address[0] == 127 if len(address) == 4 else address == bytes(15) + b"\1"
        return not is_loopback and self._find(address)[0]

    def _is_inside(self, client: PackedAddress) -> bool:
        is_local, link = self._find(client)
        return is_local or _is_pod(self._options.local_detector, client, link)

    def _find(self, address: PackedAddress) -> tuple[bool, str]:
        """Return whether an address is this node's, and the link that leads to it."""
        known = self._found.get(address)
        if known is None:
            route = self._routing.find(address)
            known = (route.kind == LOCAL, route.link) if route else (False, "")
            self._found[address] = known
        return known


def _is_pod(detector: LocalDetector, client: PackedAddress, link: str) -> bool:
    """Say whether a client is a pod of this node, by its address or by the link that leads to it."""
    if detector is None:
        return False
    if isinstance(detector, SourceNetwork):
        network = detector.network
        number = int.from_bytes(client, "big")
        return len(client) == len(network.network_address.packed) and (
            number & int(network.netmask) == int(network.network_address)
        )
    return link.startswith(detector.name) if detector.is_prefix else link == detector.name
