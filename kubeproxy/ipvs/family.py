"""Mode ipvs: a table, virtual services and a link, brought to the desired state together. A `Backend`."""

import time
from collections.abc import Callable
from ipaddress import ip_address

import msgspec

from kubeproxy.element_rows import build_row
from kubeproxy.family_proxier import FamilyChange, TableWriter
from kubeproxy.flows.flow_cleaner import FlowCleaner
from kubeproxy.ipvs.balancer import Balancer, BalancerChange
from kubeproxy.ipvs.desired_services import DesiredServices
from kubeproxy.ipvs.layout import LINK, LINK_ADDRESSES, VIRTUAL_SERVICES
from kubeproxy.ipvs.other_table import OtherTable
from kubeproxy.ipvs.service_writer import raise_first
from kubeproxy.ipvs.skeleton import build_skeleton
from kubeproxy.rules.addresses import PackedAddress
from kubeproxy.rules.rule_options import DEFAULT_OPTIONS, RuleOptions
from kubeproxy.rules.skeleton import build_skeleton as build_nftables_skeleton
from nodeplane.datapath.ipvs.service import describe
from nodeplane.datapath.nft.expr import Family
from nodeplane.datapath.nft.kernel import TableEdge
from nodeplane.runtime.output import Row


class IpvsChange(msgspec.Struct, frozen=True):
    """What one sync has to write: to the table, and to IPVS and the link."""

    table: FamilyChange
    balancer: BalancerChange

    @property
    def elements(self) -> int:
        """How many things go and come."""
        return self.table.elements + self.balancer.size

    @property
    def done(self) -> str:
        """What is done to the table as a whole, in a word."""
        return self.table.done

    def __bool__(self) -> bool:
        return bool(self.table) or bool(self.balancer.size)

    def rows(self) -> list[Row]:
        """Return a row for each thing that goes or comes."""
        family = self.table.family
        rows = self.table.rows()
        for change in self.balancer.changes:
            verb, _, what = describe(change).partition(" ")
            rows.append(build_row(family, verb, VIRTUAL_SERVICES, what))
        for verb, addresses in (("add", self.balancer.come), ("remove", self.balancer.go)):
            rows += [build_row(family, verb, LINK_ADDRESSES, f"{_text(each)} {LINK}") for each in addresses]
        return rows


class IpvsFamily:
    """One address family.

    Args:
        family: The address family.
        edge: The table.
        balancer: IPVS and the link.
        options: What the rules depend on.
        scheduler: IPVS's, for Services that name none.
        cleaner: Removes flows that are stale.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        family: Family,
        edge: TableEdge,
        balancer: Balancer,
        options: RuleOptions = DEFAULT_OPTIONS,
        *,
        scheduler: str = "rr",
        cleaner: FlowCleaner | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.family: Family = family
        self.cleaner = cleaner
        self.desired = DesiredServices(family, scheduler, node_port_everywhere=options.node_port_everywhere)
        self._table = TableWriter(edge, build_skeleton(family, options), self.desired.table, cleaner)
        self._before = OtherTable(edge, build_nftables_skeleton(family, options))
        self._balancer = balancer
        self._clock = clock

    @property
    def is_draining(self) -> bool:
        """See `Backend`."""
        return self._balancer.is_draining

    def sync(self, *, full: bool) -> tuple[IpvsChange, int]:
        """See `Backend`; what comes is in IPVS before the table leads there, what goes stays until after.

        For as long as the link has an address, a table refuses what no Service publishes there: else the
        node's own sockets would answer.
        """
        change = self._plan(full=full)
        # What one virtual service is refused must not keep the others from being published.
        errors = self._balancer.bring(change.balancer)
        commits = 0
        if change.table.replace and (guards := self._before.guard(change.balancer.come)) is not None:
            # Mode nftables goes on serving until all is there that takes its place.
            errors += self._balancer.bring_addresses(change.balancer)
            commits += guards + self._table.apply(change.table)
        else:
            commits += self._table.apply(change.table)
            errors += self._balancer.bring_addresses(change.balancer)
        errors += self._balancer.leave(change.balancer, self._clock())
        self.desired.set_lingering(self._balancer.lingering())
        commits += self._table.apply(self._table.plan(full=False))
        raise_first(errors)
        return change, commits

    def preview(self) -> IpvsChange:
        """See `Backend`."""
        return self._plan(full=True)

    def drain(self) -> int:
        """See `Backend`."""
        before = self._balancer.lingering()
        raise_first(self._balancer.drain(self._clock()))
        if self._balancer.lingering() == before:
            return 0
        _, commits = self.sync(full=False)
        return commits

    def generation(self) -> int:
        """See `Backend`."""
        return self._table.edge.generation()

    def _plan(self, *, full: bool) -> IpvsChange:
        wanted = self.desired.balancer
        if full:
            actual = self._balancer.read(wanted.elements[VIRTUAL_SERVICES])
            changes = wanted.changes_from(actual)
        else:
            changes = wanted.take_changes()
        change = self._balancer.plan(changes)
        self.desired.set_lingering(self._balancer.lingering(change))
        return IpvsChange(self._table.plan(full=full), change)


def _text(address: PackedAddress) -> str:
    return str(ip_address(address))
