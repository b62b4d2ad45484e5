"""The reconciler: batches of objects in, one transaction a change out.

One `FamilyProxier` for each address family, as each has its own table. `Proxier` holds them together,
knows when a sync has to read the kernel first, and notices when somebody else wrote to the ruleset.
"""

import logging
import time
from collections.abc import Iterable, Mapping

import msgspec

from kubeproxy.desired import DesiredElements
from kubeproxy.layout import TABLE
from kubeproxy.service_port import HEADLESS_LABEL, PROXY_NAME_LABEL, build_service_ports
from kubeproxy.skeleton import build_skeleton
from nodeplane.datapath.nft.expr import Family
from nodeplane.datapath.nft.kernel import TableEdge
from nodeplane.datapath.nft.table import ElementChange, Table
from nodeplane.kube.api_request import Selector
from nodeplane.kube.objects import EndpointSlice, Object, Service
from nodeplane.kube.source import Batch
from nodeplane.kube.store import Store

log = logging.getLogger(__name__)

FAMILIES: tuple[Family, ...] = ("ip", "ip6")
WATCHED: tuple[type[Object], ...] = (Service, EndpointSlice)
SELECTORS: dict[type[Object], Selector] = {
    Service: Selector(label=f"!{PROXY_NAME_LABEL}", field="spec.clusterIP!=None"),
    EndpointSlice: Selector(label=f"!{HEADLESS_LABEL}"),
}
"""What upstream asks an API server for; `build_service_ports` leaves the same things out by itself."""


class FamilyChange(msgspec.Struct, frozen=True):
    """What one sync has to write to one table; `replace` means the whole table."""

    family: Family
    replace: bool
    changes: Mapping[str, ElementChange]

    @property
    def elements(self) -> int:
        """How many elements go and come."""
        return sum(len(change.remove) + len(change.add) for change in self.changes.values())

    def __bool__(self) -> bool:
        return self.replace or bool(self.elements)


class SyncReport(msgspec.Struct, frozen=True):
    """What a sync did: transactions, and elements that went or came."""

    transactions: int
    elements: int


class FamilyProxier:
    """The desired table of one family and the edge that it is written to."""

    def __init__(self, family: Family, edge: TableEdge) -> None:
        self.family = family
        self.edge = edge
        self.skeleton: Table = build_skeleton(family)
        self.desired = DesiredElements()

    def plan(self, *, full: bool) -> FamilyChange:
        """Say what to write: after reading the table if `full`, else what changed since the last plan."""
        if not full:
            return FamilyChange(self.family, replace=False, changes=self.desired.take_changes())
        state = self.edge.read(self.skeleton)
        if state is None or not state.holds(self.skeleton):
            return FamilyChange(self.family, replace=True, changes=self.desired.changes_from({}))
        return FamilyChange(self.family, replace=False, changes=self.desired.changes_from(state.elements))

    def apply(self, change: FamilyChange) -> None:
        """Write a change in one transaction."""
        if change.replace:
            self.edge.replace(self.skeleton, self.desired.elements)
        elif change:
            self.edge.update(self.skeleton, change.changes)


class Proxier:
    """All families together."""

    def __init__(self, node_name: str, families: Iterable[FamilyProxier]) -> None:
        self._node_name = node_name
        self._families = tuple(families)
        self._store = Store()
        self._generation = 0

    def take(self, batch: Batch) -> None:
        """Take objects in; nothing reaches the kernel before the next sync."""
        for namespace, name in self._store.apply(batch):
            service, slices = self._store.service(namespace, name), self._store.slices(namespace, name)
            for proxier in self._families:
                ports = build_service_ports(service, slices, self._node_name, proxier.family)
                proxier.desired.set_service((namespace, name), ports)

    def plan(self) -> list[FamilyChange]:
        """Say what a full sync would write; writes nothing."""
        return [proxier.plan(full=True) for proxier in self._families]

    def sync(self, *, full: bool) -> SyncReport:
        """Bring the kernel to the desired state.

        Raises:
            KernelError: the kernel refused; a family that was written stays written. Sync in full next.
        """
        started = time.monotonic()
        if full:
            self._generation = self._read_generation()
        written = 0
        commits = 0
        for proxier in self._families:
            change = proxier.plan(full=full)
            proxier.apply(change)
            written += change.elements
            commits += bool(change)
            if change.replace:
                log.info("table written family=%s table=%s", proxier.family, TABLE)
        # Each commit is one generation. Had another write come between, the sum is not what the kernel says.
        self._generation += commits
        log.log(
            logging.INFO if commits else logging.DEBUG,
            "synced full=%s elements=%d service_ports=%d seconds=%.4f",
            full,
            written,
            sum(proxier.desired.service_ports for proxier in self._families),
            time.monotonic() - started,
        )
        return SyncReport(commits, written)

    def is_disturbed(self) -> bool:
        """Say whether somebody else has written to the ruleset since the last sync."""
        return self._read_generation() != self._generation

    def _read_generation(self) -> int:
        return self._families[0].edge.generation()
