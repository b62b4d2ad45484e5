"""The agent's routes in the kernel's main table: read, and brought to what is desired."""

from collections.abc import Collection, Iterable, Mapping

import msgspec

from cni.routing.ownership import is_agents
from nodeplane.datapath.rtnl import (
    ROUTE_PROTOCOL,
    Change,
    Deletion,
    Family,
    Network,
    NextHop,
    Replacement,
    Route,
    RouteAddition,
    Rtnl,
)
from nodeplane.errors import KernelNotFoundError

_FAMILIES: tuple[Family, Family] = (4, 6)
# The kernel tells routes to one destination apart by their metric; ours have none, so one with a metric
# is stale.
_RouteKey = tuple[Network, int]


class SyncReport(msgspec.Struct, frozen=True):
    """What a sync did; `refused` holds the kernel's reason for each thing that is still missing."""

    written: int = 0
    deleted: int = 0
    refused: frozenset[str] = frozenset()


class RouteTable:
    """The kernel's routes that are the agent's, as last seen or written.

    Foreign routes are never changed: one that is in the way of ours stays, and ours is refused.

    Attributes:
        written: The destinations of the routes that the last sync wrote.
    """

    def __init__(self, rtnl: Rtnl) -> None:
        self._rtnl = rtnl
        self._actual: dict[_RouteKey, Route] = {}
        self._leftovers: set[Network] = set()
        self.written: tuple[Network, ...] = ()

    @property
    def leftovers(self) -> Mapping[Network, Route]:
        """Our routes of before that stay until another's has come."""
        return {network: _without_links(self._actual[network, 0]) for network in self._leftovers}

    def sync(
        self,
        desired: Mapping[Network, Route],
        held: Collection[Network] = frozenset(),
        changed: Iterable[Network] | None = None,
    ) -> SyncReport:
        """Bring the kernel from what it has to `desired`.

        A route that is refused does not hold up the others. What can cure it (an address, a link, the end of
        a foreign route) is an event, so there is nothing to retry by the clock.

        Args:
            desired: All routes that must be there.
            held: Where another's route is to come, or ours can't be written yet: ours of before stays.
            changed: Where to look at all; None is everywhere, after reading what is there.

        Raises:
            KernelError: the routes can't be read.
        """
        if changed is None:
            self._actual = self._read()
            keys: Iterable[_RouteKey] = {*self._actual, *((network, 0) for network in desired)}
        else:
            keys = [(network, 0) for network in changed]
            self._leftovers -= {network for network, _ in keys}
        stale = [key for key in keys if key in self._actual and (key[1] or key[0] not in desired)]
        left = {network for network, metric in stale if not metric and network in held}
        if left:
            left -= self._replaced(left)
        self._leftovers = (set() if changed is None else self._leftovers) | left
        gone = [key for key in stale if key[1] or key[0] not in left]
        due = [
            network
            for network, metric in keys
            if not metric and network in desired and not self._is_right(network, desired[network])
        ]
        return self._apply([desired[network] for network in due], gone)

    def _is_right(self, network: Network, wanted: Route) -> bool:
        actual = self._actual.get((network, 0))
        return actual is not None and _as_asked(actual, wanted) == wanted

    def _read(self) -> dict[_RouteKey, Route]:
        return {
            (route.destination, route.metric): route
            for family in _FAMILIES
            for route in self._rtnl.routes(ROUTE_PROTOCOL, family=family)
            if is_agents(route)
        }

    def _replaced(self, networks: Collection[Network]) -> set[Network]:
        """Return those of our destinations that somebody else has a route to."""
        return {
            route.destination
            for family in _FAMILIES
            if any(network.version == family for network in networks)
            for route in self._rtnl.routes(family=family)
            if route.protocol != ROUTE_PROTOCOL and route.kind == "unicast"
        }

    def _apply(self, due: list[Route], gone: list[_RouteKey]) -> SyncReport:
        # First what is wanted, then what is not: a way that moves to another destination is never missing.
        # Replacing takes whatever is there, so it is only for what is known to be ours.
        changes: list[Change] = [
            Replacement(route) if (route.destination, 0) in self._actual else RouteAddition(route)
            for route in due
        ]
        changes += [Deletion(_without_links(self._actual[key])) for key in gone]
        refused = dict(self._rtnl.apply(changes))
        done = [route for position, route in enumerate(due) if position not in refused]
        self._actual |= {(route.destination, 0): route for route in done}
        self.written = tuple(route.destination for route in done)
        for position, key in enumerate(gone, len(due)):
            # Not found: somebody was faster; what is wanted is that it is gone.
            if isinstance(refused.get(position), KernelNotFoundError):
                del refused[position]
            if position not in refused:
                del self._actual[key]
        deleted = len(changes) - len(refused) - len(done)
        return SyncReport(len(done), deleted, frozenset(str(error) for error in refused.values()))


def _as_asked(actual: Route, wanted: Route) -> Route:
    """Return a route of the kernel's without links that it chose itself, by gateways or for want of one."""
    has_links = wanted.link is not None or any(hop.link for hop in wanted.next_hops)
    return (
        msgspec.structs.replace(actual, next_hops=tuple(sorted(actual.next_hops)))
        if has_links
        else (_without_links(actual))
    )


def _without_links(route: Route) -> Route:
    hops = tuple(sorted(NextHop(hop.gateway) for hop in route.next_hops))
    return msgspec.structs.replace(route, link=route.link if route.is_onlink else None, next_hops=hops)
