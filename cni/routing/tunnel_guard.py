"""The table that lets nodes alone into the tunnels (`cni.routing.guard_rules`): made, changed, removed."""

from collections.abc import Mapping

import msgspec

from cni.routing.guard_rules import build_elements, build_table
from ipam.model import Address, Pool
from nodeplane.datapath.nft.kernel import TableEdge
from nodeplane.datapath.nft.table import ElementChange, Elements
from nodeplane.errors import KernelExistsError, KernelNotFoundError


class Guard(msgspec.Struct, frozen=True):
    """Whom the guard lets through: other nodes by their addresses, to one port and network; and the pools."""

    port: int
    vni: int
    nodes: frozenset[Address] = frozenset()
    pools: tuple[Pool, ...] = ()


class TunnelGuard:
    """The table in the kernel as last seen or written; all of it is the agent's."""

    def __init__(self, edge: TableEdge) -> None:
        self._edge = edge
        self._actual: Guard | None = None

    def sync(self, wanted: Guard | None) -> bool:
        """Bring the table to what is wanted, whatever stands there; say whether it was not so.

        Raises:
            KernelError: the kernel refused.
        """
        self._actual = None
        is_changed = self._edge.delete() if wanted is None else self._mend(wanted)
        self._actual = wanted
        return is_changed

    def change(self, wanted: Guard) -> bool:
        """Bring the table to what is wanted from what it was; say whether that is another thing.

        Raises:
            KernelError: the kernel refused.
        """
        before = self._actual
        if wanted == before:
            return False
        if before is None or (before.port, before.vni) != (wanted.port, wanted.vni):
            return self.sync(wanted)
        changes = _diff(_elements(before), _elements(wanted))
        try:
            self._edge.update(build_table(wanted.port, wanted.vni), changes)
        except (KernelExistsError, KernelNotFoundError):
            # Somebody else was here.
            return self.sync(wanted)
        self._actual = wanted
        return bool(changes)

    def _mend(self, wanted: Guard) -> bool:
        table, elements = build_table(wanted.port, wanted.vni), _elements(wanted)
        state = self._edge.read(table)
        if state is None or not state.holds(table):
            # In one transaction: there is no moment without it.
            self._edge.replace(table, elements)
            return True
        changes = _diff(state.elements, elements)
        self._edge.update(table, changes)
        return bool(changes)


def _elements(guard: Guard) -> Elements:
    return build_elements(guard.nodes, guard.pools)


def _diff(there: Elements, wanted: Elements) -> Mapping[str, ElementChange]:
    changes = {
        name: ElementChange(
            remove=[key for key in there.get(name, {}) if key not in part],
            add={key: data for key, data in part.items() if key not in there.get(name, {})},
        )
        for name, part in wanted.items()
    }
    return {name: change for name, change in changes.items() if change.remove or change.add}
