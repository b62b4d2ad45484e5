"""Removes tracked flows that go where their frontend no longer leads, after each sync; see `stale_flows`."""

import asyncio
import time
from collections import ChainMap
from collections.abc import Iterable
from typing import Any, Protocol

import msgspec

from kubeproxy.desired.element_store import ElementKey
from kubeproxy.desired.service_port import ServicePort
from kubeproxy.flows.reach import Elements, Reach, build_reach, find_frontends, read_reaches
from kubeproxy.flows.stale_flows import (
    Change,
    Verdict,
    at_address,
    at_frontend,
    build_filters,
    frontend_of,
    join_filters,
    judge,
)
from kubeproxy.rules.addresses import PackedAddress
from kubeproxy.rules.layout import NODE_PORT_IPS
from kubeproxy.rules.rule_options import DEFAULT_OPTIONS, LocalDetector, RuleOptions, SourceNetwork
from nodeplane.datapath.conntrack.flow import TCP, UDP, Flow, FlowFilter
from nodeplane.datapath.conntrack.table import Conntrack
from nodeplane.datapath.nft.expr import Family
from nodeplane.datapath.routing import LOCAL, Routing

# So many frontends, or deletions, are one part: a millisecond or two.
_AT_ONCE = 256


class Published(Protocol):
    """What should be in the kernel, as far as it is about frontends."""

    @property
    def elements(self) -> Elements:
        """The elements by map."""
        ...

    def take_touched_frontends(self) -> set[ElementKey] | None:
        """Return the frontends whose service port has changed since the last call; at first None: all."""
        ...

    def owner(self, frontend: ElementKey) -> ServicePort | None:
        """Return the service port that a frontend leads to."""
        ...


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
        # Those of them whose flows have to be looked at, whatever has changed.
        self._unsettled: set[ElementKey] = set()
        self._node_port_ips: frozenset[PackedAddress] = frozenset()

    def learn(self, elements: Elements) -> None:
        """Take in what our table held before this process wrote to it: whose flows there may be.

        The first call counts, before the first cleaning; what later ones bring we have written ourselves.
        """
        if self._is_first and not self._reaches:
            self._reaches = read_reaches(elements, self._protocols)
            self._node_port_ips = frozenset(elements.get(NODE_PORT_IPS, ()))

    async def clean(self, desired: Published) -> CleanReport:
        """Remove the flows that are stale now that the table holds `desired`.

        The first call looks at all UDP flows, later ones at those of frontends that changed since. Between
        one part of them and the next others may run, and change `desired`: what such a change is about is
        left to the next call.

        Raises:
            KernelError: the kernel refused; the next call does what this one left.
        """
        started = time.monotonic()
        touched = desired.take_touched_frontends()
        if touched is None:
            touched = {*find_frontends(desired.elements, self._protocols), *self._reaches}
        self._pending |= touched
        changes = await self._changes(desired)
        node_port_ips = frozenset(desired.elements[NODE_PORT_IPS])
        filters = build_filters(self._family, changes)
        for frontend in self._unsettled:
            filters.setdefault(frontend[1][-8], set()).add(at_frontend(self._family, frontend))
        if not self._options.node_port_everywhere:
            for address in node_port_ips ^ self._node_port_ips:
                filters.setdefault(UDP, set()).add(at_address(self._family, address))
        if self._is_first:
            filters[UDP] = {FlowFilter(self._family, UDP)}
        deleted = 0
        unsettled: set[ElementKey] = set()
        meanwhile: set[ElementKey] = set()
        if filters:
            entries = self._conntrack.usage().entries
            places = _Places(
                node_port_ips, self._node_port_ips, self._routing, self._options, is_first=self._is_first
            )
            stale = await self._find_stale(places, changes, join_filters(self._family, filters, entries))
            deleted, unsettled, meanwhile = await self._delete(desired, stale)
        for frontend, (_, now) in changes.items():
            if frontend in unsettled:
                continue
            if now is None:
                self._reaches.pop(frontend, None)
            else:
                self._reaches[frontend] = now
        self._pending = meanwhile | unsettled
        self._unsettled = unsettled
        self._node_port_ips = node_port_ips
        self._is_first = False
        return CleanReport(deleted, time.monotonic() - started)

    async def _changes(self, desired: Published) -> dict[ElementKey, Change]:
        changes: dict[ElementKey, Change] = {}
        for number, frontend in enumerate(tuple(self._pending)):
            if number % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
            if frontend[1][-8] not in self._protocols:
                continue
            port = desired.owner(frontend)
            now = None if port is None else build_reach(port, frontend)
            before = self._reaches.get(frontend)
            if before != now or frontend in self._unsettled:
                changes[frontend] = before, now
        return changes

    async def _find_stale(
        self, places: "_Places", changes: dict[ElementKey, Change], filters: Iterable[FlowFilter]
    ) -> dict[Flow, ElementKey]:
        """Return the flows that are stale with the frontend of each."""
        published = ChainMap[ElementKey, Any](changes, self._reaches)
        stale: dict[Flow, ElementKey] = {}
        for wanted in filters:
            for flows in self._conntrack.find(wanted):
                for flow in flows:
                    frontend = frontend_of(flow, published)
                    if frontend not in published:
                        continue
                    change = changes.get(frontend) or (None, self._reaches.get(frontend))
                    if places.settle(flow, judge(flow, frontend, change)):
                        stale[flow] = frontend
                await asyncio.sleep(0)
        return stale

    async def _delete(
        self, desired: Published, stale: dict[Flow, ElementKey]
    ) -> tuple[int, set[ElementKey], set[ElementKey]]:
        """Delete flows, but for those whose frontend has changed since.

        What did not go where its frontend led may well go where it leads meanwhile. Return how many flows
        were there, the frontends of those that were left, and all that have changed since.
        """
        deleted = 0
        unsettled: set[ElementKey] = set()
        meanwhile: set[ElementKey] = set()
        flows = [*stale]
        for start in range(0, len(flows), _AT_ONCE):
            meanwhile |= desired.take_touched_frontends() or set()
            self._pending |= meanwhile
            part = [flow for flow in flows[start : start + _AT_ONCE] if stale[flow] not in meanwhile]
            unsettled |= {stale[flow] for flow in flows[start : start + _AT_ONCE]} & meanwhile
            deleted += self._conntrack.delete(part)
            await asyncio.sleep(0)
        return deleted, unsettled, meanwhile


class _Places:
    """Answers about addresses, each looked up once."""

    def __init__(
        self,
        node_port_ips: frozenset[PackedAddress],
        former_node_port_ips: frozenset[PackedAddress],
        routing: Routing,
        options: RuleOptions,
        *,
        is_first: bool,
    ) -> None:
        self._routing = routing
        self._options = options
        self._node_port_ips = node_port_ips
        self._former_node_port_ips = former_node_port_ips
        self._is_first = is_first
        self._found: dict[PackedAddress, tuple[bool, str]] = {}

    def settle(self, flow: Flow, verdict: Verdict) -> bool:
        """Say whether a flow is stale."""
        if verdict is Verdict.STALE_AT_NODE:
            return self._serves_node_ports(flow.destination)
        if verdict is Verdict.STALE_AWAY_FROM_NODE:
            return flow.is_translated and self._served_node_ports(flow.destination)
        if verdict is Verdict.STALE_FROM_OUTSIDE:
            return not self._is_inside(flow.source)
        return verdict is Verdict.STALE

    def _serves_node_ports(self, address: PackedAddress) -> bool:
        """Judge as the rules of `service_rules` do."""
        if not self._options.node_port_everywhere:
            return address in self._node_port_ips
        is_loopback = address[0] == 127 if len(address) == 4 else address == bytes(15) + b"\1"
        return not is_loopback and self._find(address)[0]

    def _served_node_ports(self, address: PackedAddress) -> bool:
        """Say whether node ports were served at an address and are not; at first all of this node's count."""
        if self._options.node_port_everywhere or address in self._node_port_ips:
            return False
        return address in self._former_node_port_ips or (self._is_first and self._find(address)[0])

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
