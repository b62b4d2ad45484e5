"""One table: what it should hold, what a sync has to write to it, and how that is written.

As a rule in one transaction. What the kernel refuses for its size goes in parts, in an order in which no
frontend is led to a pool without endpoints.
"""

import logging
from collections.abc import Mapping
from typing import Protocol

import msgspec

from kubeproxy.desired.desired_elements import DesiredElements
from kubeproxy.element_rows import describe_change
from kubeproxy.flows.flow_cleaner import FlowCleaner
from kubeproxy.rules.change_order import order_changes
from kubeproxy.rules.rule_options import DEFAULT_OPTIONS, RuleOptions
from kubeproxy.rules.skeleton import build_skeleton
from nodeplane.datapath.nft.expr import Family
from nodeplane.datapath.nft.in_parts import (
    is_too_large,
    repair,
    repair_in_parts,
    replace_in_parts,
    update_in_parts,
)
from nodeplane.datapath.nft.kernel import TableEdge
from nodeplane.datapath.nft.table import ElementChange, Table, TableState
from nodeplane.errors import KernelError
from nodeplane.runtime.output import Row

log = logging.getLogger(__name__)


class FamilyChange(msgspec.Struct, frozen=True):
    """What one sync has to write to one table.

    Attributes:
        replace: The whole table, which is not there or has other maps.
        changes: Elements that go and come.
        damaged: The table whose constant part is to be put right, its other elements to be kept.
    """

    family: Family
    replace: bool
    changes: Mapping[str, ElementChange]
    damaged: TableState | None = None

    @property
    def elements(self) -> int:
        """How many elements go and come."""
        return sum(len(change.remove) + len(change.add) for change in self.changes.values())

    @property
    def done(self) -> str:
        """What is done to the table as a whole, in a word."""
        return "written" if self.replace else "repaired" if self.damaged is not None else ""

    def rows(self) -> list[Row]:
        """Return a row for each element that goes or comes."""
        return describe_change(self.family, self.changes, self.done)

    def __bool__(self) -> bool:
        return self.replace or self.damaged is not None or bool(self.elements)


class TableElements(Protocol):
    """The elements that a table should have."""

    @property
    def elements(self) -> Mapping[str, Mapping[bytes, bytes]]:
        """The elements by map."""
        ...

    def take_changes(self) -> Mapping[str, ElementChange]:
        """Return what has changed since the last call."""
        ...

    def changes_from(self, actual: Mapping[str, Mapping[bytes, bytes]]) -> Mapping[str, ElementChange]:
        """Return what turns the elements that a table holds into the desired ones."""
        ...


class TableWriter:
    """A table of ours, what should be in it, and the edge that it is written to."""

    def __init__(
        self,
        edge: TableEdge,
        skeleton: Table,
        desired: TableElements,
        cleaner: FlowCleaner | None = None,
    ) -> None:
        self.family: Family = "ip6" if skeleton.family == "ip6" else "ip"
        self.edge = edge
        self.skeleton = skeleton
        self.desired = desired
        self.cleaner = cleaner

    def plan(self, *, full: bool) -> FamilyChange:
        """Say what to write: after reading the table if `full`, else what changed since the last plan."""
        if not full:
            return FamilyChange(self.family, replace=False, changes=self.desired.take_changes())
        state = self.edge.read(self.skeleton)
        if state is None or not state.can_be_repaired(self.skeleton):
            return FamilyChange(self.family, replace=True, changes=self.desired.changes_from({}))
        if self.cleaner is not None:
            # What led where before this process: after a restart, flows may be of that time.
            self.cleaner.learn(state.elements)
        damaged = None if state.holds(self.skeleton) else state
        changes = self.desired.changes_from(state.elements_to_keep)
        return FamilyChange(self.family, replace=False, changes=changes, damaged=damaged)

    def apply(self, change: FamilyChange) -> int:
        """Write a change in one transaction, or in several if it is too large; return how many they were."""
        if not change:
            return 0
        try:
            return self._write(change)
        except KernelError as exc:
            if not is_too_large(exc):
                raise
            return self._write_in_parts(change, exc)

    def _write(self, change: FamilyChange) -> int:
        if change.damaged is not None:
            try:
                return repair(self.edge, self.skeleton, change.damaged, change.changes)
            except KernelError as exc:
                if is_too_large(exc):
                    raise
                # What somebody has put there can't be taken away piece by piece.
                log.warning("table not repaired, written anew family=%s error=%r", self.family, str(exc))
                self.edge.replace(self.skeleton, self.desired.elements)
        elif change.replace:
            self.edge.replace(self.skeleton, self.desired.elements)
        else:
            self.edge.update(self.skeleton, change.changes)
        return 1

    def _write_in_parts(self, change: FamilyChange, refusal: KernelError) -> int:
        log.warning(
            "too large for one transaction, written in several family=%s elements=%d is_served_meanwhile=%s "
            "error=%r advice='give CAP_NET_ADMIN in the first user namespace or raise net.core.wmem_max'",
            self.family,
            change.elements,
            not (change.replace or (change.damaged is not None and change.damaged.is_asleep)),
            str(refusal),
        )
        steps = order_changes(change.changes)
        if change.damaged is not None:
            return repair_in_parts(self.edge, self.skeleton, change.damaged, steps)
        if change.replace:
            return replace_in_parts(self.edge, self.skeleton, steps)
        return update_in_parts(self.edge, self.skeleton, steps)


class FamilyProxier(TableWriter):
    """Mode nftables: the table is all there is. A `Backend`."""

    desired: DesiredElements

    def __init__(
        self,
        family: Family,
        edge: TableEdge,
        options: RuleOptions = DEFAULT_OPTIONS,
        cleaner: FlowCleaner | None = None,
    ) -> None:
        super().__init__(edge, build_skeleton(family, options), DesiredElements(), cleaner)

    @property
    def is_draining(self) -> bool:
        """See `Backend`: what is translated once needs no rule any more."""
        return False

    def sync(self, *, full: bool) -> tuple[FamilyChange, int]:
        """See `Backend`."""
        change = self.plan(full=full)
        return change, self.apply(change)

    def preview(self) -> FamilyChange:
        """See `Backend`."""
        return self.plan(full=True)

    def drain(self) -> int:
        """See `Backend`."""
        return 0

    def generation(self) -> int:
        """See `Backend`."""
        return self.edge.generation()
