"""Our one table, `inet nodeplane-cni`: what every part of the plugin has in it, and how elements get there.

The rules are constant. Pods are elements of maps, so that an ADD or DEL writes a few of them, whatever else
there is. Whoever needs the table first makes it, whole and in one transaction: a plugin in its own process or
an agent. Of several who try at once the kernel lets one do it. It begins with all that the features know from
where a wipe does not reach, so that nobody's pods wait for somebody else to restore them.

To add to the table, give chains, maps and rules of your own to `NODE_TABLE`, elements by `NodeTable.put`, and
say by `Feature.elements` what belongs there.
"""

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from cni.features import host_port_rules, masquerade_rules, source_rules
from nodeplane.datapath.nft.in_parts import repair
from nodeplane.datapath.nft.kernel import KernelTable, TableEdge
from nodeplane.datapath.nft.table import ElementChange, Elements, Table, TableState
from nodeplane.errors import KernelError, KernelExistsError, KernelNotFoundError

NAME = "nodeplane-cni"
WRITER = "nodeplane-cni"
"""What threads are called that write to the table for an ADD or DEL, in whatever process."""

NODE_TABLE = Table(
    family="inet",
    name=NAME,
    comment="nodeplane pods",
    chains=(*host_port_rules.CHAINS, *masquerade_rules.CHAINS, *source_rules.CHAINS),
    maps=(
        *host_port_rules.build_maps(),
        *masquerade_rules.build_maps(),
        *source_rules.build_maps(),
    ),
    rules=(
        *host_port_rules.build_rules(),
        *masquerade_rules.build_rules(),
        *source_rules.build_rules(),
    ),
    fixed={},
)
"""All that is constant."""

_named = threading.local()
_MAPS = {declared.name: declared for declared in NODE_TABLE.maps}

# Each failure is a change by somebody else between two requests of ours.
_ATTEMPTS = 20

Desired = Callable[[], Elements]
"""Says what the table must hold, as far as is known here."""


class NodeTable:
    """The table, for writing elements that it may have or not have already."""

    def __init__(self, edge: TableEdge, desired: Desired) -> None:
        self._edge = edge
        self._desired = desired

    def put(self, elements: Elements) -> None:
        """Have elements in the table; makes or repairs the table if it is not as it should be.

        Raises:
            KernelError: the kernel refused, or others write faster than we can.
        """

        def step() -> None:
            if not self._ensure(elements):
                return
            try:
                # As a rule nothing is there yet, and the kernel says if it is: no need to ask for each.
                self._edge.update(
                    NODE_TABLE, {name: ElementChange(add=part) for name, part in elements.items()}
                )
            except KernelExistsError:
                there = self.find(elements)
                self._edge.update(
                    NODE_TABLE, {name: _put(there[name], part) for name, part in elements.items()}
                )

        _persist(step)

    def drop(self, elements: Elements) -> None:
        """Have elements out of the table, as far as they are there with this data.

        One that has got other data meanwhile is somebody else's.

        Raises:
            KernelError: the kernel refused, or others write faster than we can.
        """
        if not any(data for part in elements.values() for data in part.values()):
            # As a rule all of them are there, and the kernel says if not: no need to ask for each.
            with suppress(KernelNotFoundError):
                everything = {name: ElementChange(remove=[*part]) for name, part in elements.items()}
                self._edge.update(NODE_TABLE, everything)
                return

        def step() -> None:
            there = self.find(elements)
            changes = {
                name: ElementChange(
                    remove=[key for key, data in part.items() if there[name].get(key) == data]
                )
                for name, part in elements.items()
            }
            self._edge.update(NODE_TABLE, changes)

        _persist(step)

    def widen(self, name: str, ranges: Collection[bytes]) -> None:
        """Have ranges in a set of the table, in one piece with those of the set that they meet.

        Raises:
            KernelError: the kernel refused, or others write faster than we can.
        """

        def step() -> None:
            self._ensure({})
            change = masquerade_rules.widen(self._edge.read_map(_MAPS[name]), ranges)
            self._edge.update(NODE_TABLE, {name: change})

        if ranges:
            _persist(step)

    def find(self, elements: Elements) -> dict[str, dict[bytes, bytes]]:
        """Return those of some elements that are there, with the data that they have there."""
        return {name: self._find(name, part) for name, part in elements.items()}

    def _find(self, name: str, keys: Collection[bytes]) -> dict[bytes, bytes]:
        declared = _MAPS[name]
        if not declared.ranges or not keys:
            return self._edge.find(name, keys)
        try:
            there = self._edge.read_map(declared)
        except KernelNotFoundError:
            return {}
        return {key: there[key] for key in keys if key in there}

    def _ensure(self, elements: Elements) -> bool:
        """Make sure of all that is constant; say whether the elements are still to be put in."""
        try:
            if self._edge.is_whole(NODE_TABLE):
                return True
        except KernelNotFoundError:
            self._edge.create(NODE_TABLE, join_elements([self._desired(), elements]))
            return False
        mend(self._edge, join_elements([self._desired(), elements]), ())
        return False


def mend(edge: TableEdge, desired: Elements, swept: Collection[str]) -> bool:
    """Bring the whole table to what it should be, whatever has become of it; say whether anything was wrong.

    Elements of the maps in `swept` that are not desired go; others may be of an ADD that is going on.

    Raises:
        KernelError: the kernel refused.
    """
    state = edge.read(NODE_TABLE)
    if state is None:
        edge.create(NODE_TABLE, desired)
        return True
    if not state.can_be_repaired(NODE_TABLE):
        edge.replace(NODE_TABLE, desired)
        return True
    changes = diff(state, desired, swept)
    if not state.holds(NODE_TABLE):
        try:
            repair(edge, NODE_TABLE, state, changes)
        except (KernelExistsError, KernelNotFoundError):
            raise  # it has changed since it was read
        except KernelError:
            # What somebody has put there can't be taken away piece by piece.
            kept = _without(state.elements_to_keep, changes)
            edge.replace(NODE_TABLE, join_elements([kept, desired]))
        return True
    edge.update(NODE_TABLE, changes)
    return bool(changes)


def diff(state: TableState | None, desired: Elements, swept: Collection[str]) -> dict[str, ElementChange]:
    """Say what has to change of the elements; see `mend`."""
    there: Mapping[str, Mapping[bytes, bytes]] = state.elements_to_keep if state is not None else {}
    changes = {}
    for declared in NODE_TABLE.maps:
        if declared.name in NODE_TABLE.fixed or declared.remembers:
            continue
        found, wanted = there.get(declared.name, {}), desired.get(declared.name, {})
        change = _put(found, wanted)
        if declared.name in swept:
            gone = [key for key in found if key not in wanted]
            change = ElementChange(remove=[*change.remove, *gone], add=change.add)
        if change.remove or change.add:
            changes[declared.name] = change
    return changes


def join_elements(parts: Iterable[Elements]) -> dict[str, dict[bytes, bytes]]:
    """Join elements; a later one takes the place of an earlier one with its key."""
    joined: dict[str, dict[bytes, bytes]] = {}
    for part in parts:
        for name, elements in part.items():
            joined.setdefault(name, {}).update(elements)
    return joined


@contextmanager
def open_node_table(folder: Path) -> Iterator[NodeTable]:
    """Open the table of this namespace; `folder` is where features remember what belongs there."""
    # Features write to the table, and the table asks them.
    from cni.features.feature import all_elements

    _take_name()
    with _opened() as edge:
        yield NodeTable(edge, lambda: all_elements(folder))


_kept: list[KernelTable] | None = None


@contextmanager
def keeping_sockets() -> Iterator[None]:
    """Keep sockets open from one call to the next, in a process that stays in its namespace.

    To close one that has deleted something takes 7 ms: the kernel frees that first, and waits for all who may
    still look at it (net/netfilter/nf_tables_api.c, nft_rcv_nl_event).
    """
    global _kept  # noqa: PLW0603  # the process's, as its sockets are
    _kept = []
    try:
        yield
    finally:
        sockets, _kept = _kept, None
        for each in sockets:
            each.close()


@contextmanager
def _opened() -> Iterator[KernelTable]:
    sockets = _kept
    if sockets is None:
        with KernelTable("inet", NAME) as edge:
            yield edge
        return
    try:
        # A list's methods are whole, whichever thread calls them.
        edge = sockets.pop()
    except IndexError:
        edge = KernelTable("inet", NAME)
    try:
        yield edge
    except BaseException:
        edge.close()
        raise
    sockets.append(edge)


def _take_name() -> None:
    """Give this thread the name by which the agent's watch over the table knows who is no stranger."""
    if not getattr(_named, "is_done", False):
        _named.is_done = True
        # Without it the agent reads the table once too often.
        with suppress(OSError):
            Path("/proc/thread-self/comm").write_text(WRITER)


def _put(there: Mapping[bytes, bytes], wanted: Mapping[bytes, bytes]) -> ElementChange:
    fresh = {key: data for key, data in wanted.items() if there.get(key) != data}
    return ElementChange(remove=[key for key in fresh if key in there], add=fresh)


def _without(elements: Elements, changes: Mapping[str, ElementChange]) -> Elements:
    return {
        name: {key: data for key, data in part.items() if key not in changes[name].remove}
        if name in changes
        else part
        for name, part in elements.items()
    }


def _persist(step: Callable[[], None]) -> None:
    """Do a step again while others change the table in the middle of it."""
    for _ in range(_ATTEMPTS - 1):
        try:
            step()
        except (KernelExistsError, KernelNotFoundError):
            continue
        return
    step()
