"""Bring a node's kernel to what is desired: guard, links, entries, routes, in the order that packets need."""

from collections.abc import Collection, Iterable, Mapping

import msgspec

from cni.routing.desired import Changed
from cni.routing.entry_table import EntryTable
from cni.routing.links import sync_link
from cni.routing.route_table import RouteTable, SyncReport
from cni.routing.tunnel_guard import Guard, TunnelGuard
from cni.routing.vxlan import FAMILIES, LINK_NAMES, Entry, EntryKey, VxlanLink
from nodeplane.datapath.nft.kernel import TableEdge
from nodeplane.datapath.rtnl import Family, Network, Route, Rtnl
from nodeplane.datapath.sysctl import Sysctls
from nodeplane.errors import KernelError


class Step(msgspec.Struct, frozen=True):
    """What a sync is to do, as values that nobody changes meanwhile.

    With `changed` the mappings hold no more than that; without, all there is, and the kernel is read first.
    """

    routes: Mapping[Network, Route]
    held: Collection[Network]
    entries: Mapping[EntryKey, Entry]
    links: tuple[VxlanLink, ...] = ()
    kept_links: frozenset[int] = frozenset()
    guard: Guard | None = None
    changed: Changed | None = None


class StepReport(msgspec.Struct, frozen=True):
    """What a sync did.

    Attributes:
        routes: What it did to routes.
        entries: What it did to neighbours and forwarding entries.
        links: The VXLAN links that it changed, made or deleted.
        has_guarded: Whether it had to write who may send into the tunnels.
        written: The destinations of the routes that it wrote.
        leftovers: Our routes of before that wait for another's.
        refused: The kernel's reasons for links that are still missing, or a guard that is.
    """

    routes: SyncReport = SyncReport()
    entries: SyncReport = SyncReport()
    links: tuple[str, ...] = ()
    has_guarded: bool = False
    written: tuple[Network, ...] = ()
    leftovers: Mapping[Network, Route] = {}
    refused: frozenset[str] = frozenset()


class KernelState:
    """What the agent has in one network namespace."""

    def __init__(self, rtnl: Rtnl, sysctls: Sysctls, table: TableEdge) -> None:
        self._rtnl = rtnl
        self._sysctls = sysctls
        self._guard = TunnelGuard(table)
        self._routes = RouteTable(rtnl)
        self._entries = EntryTable(rtnl)

    def apply(self, step: Step) -> StepReport:
        """Do a step.

        Raises:
            KernelError: the kernel can't be read.
        """
        if step.changed is not None:
            return self._apply_changed(step, step.changed)
        # First who may use the tunnels, and what leads to the peers, then the routes to their pods, last
        # what no route needs any more.
        has_guarded, unguarded = self._keep_guard(step, is_early=True)
        links, refused = self._sync_links(step.links)
        self._entries.read(self._there())
        written = self._entries.write(step.entries)
        routes = self._routes.sync(step.routes, step.held)
        swept = self._entries.sweep(step.entries)
        gone = self._delete_links({link.vxlan.local.version for link in step.links} | step.kept_links)
        has_opened, still_closed = self._keep_guard(step, is_early=False)
        return StepReport(
            routes,
            SyncReport(written.written, swept.deleted, written.refused | swept.refused),
            (*links, *gone),
            has_guarded or has_opened,
            self._routes.written,
            dict(self._routes.leftovers),
            refused | unguarded | still_closed,
        )

    def _apply_changed(self, step: Step, changed: Changed) -> StepReport:
        has_guarded, refused = self._keep_guard(step, is_early=True)
        written = self._entries.write(step.entries)
        routes = self._routes.sync(step.routes, step.held, changed.destinations)
        swept = self._entries.sweep(step.entries, changed.entries)
        entries = SyncReport(written.written, swept.deleted, written.refused | swept.refused)
        return StepReport(
            routes,
            entries,
            has_guarded=has_guarded,
            written=self._routes.written,
            leftovers=dict(self._routes.leftovers),
            refused=refused,
        )

    def _keep_guard(self, step: Step, *, is_early: bool) -> tuple[bool, frozenset[str]]:
        """Write who may send into the tunnels, before there are any; or forget it after the last one."""
        if is_early != (step.guard is not None):
            return False, frozenset()
        try:
            if step.guard is not None and step.changed is not None:
                return self._guard.change(step.guard), frozenset()
            return self._guard.sync(step.guard), frozenset()
        except KernelError as exc:
            # Packets flow all the same, as they do without this.
            return False, frozenset({str(exc)})

    def _sync_links(self, links: Iterable[VxlanLink]) -> tuple[list[str], frozenset[str]]:
        changed, refused = [], set()
        for link in links:
            try:
                if sync_link(self._rtnl, self._sysctls, link):
                    changed.append(link.name)
            except KernelError as exc:
                # A foreign VXLAN link with the same network and port: the other modes work all the same.
                refused.add(str(exc))
        return changed, frozenset(refused)

    def _there(self) -> list[Family]:
        return [version for version in FAMILIES if self._rtnl.find_vxlan(LINK_NAMES[version]) is not None]

    def _delete_links(self, kept: Collection[int]) -> list[str]:
        gone = [version for version in FAMILIES if version not in kept]
        names = [LINK_NAMES[version] for version in gone if self._rtnl.find_link(LINK_NAMES[version])]
        for name in names:
            self._rtnl.delete_link(name)
        return names
