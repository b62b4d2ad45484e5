"""The agent's routes in the kernel's main table: read, and brought to what is desired."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from ipaddress import IPv4Network

import msgspec

from cni.routes import is_agents
from nodeplane.datapath.rtnl import ROUTE_PROTOCOL, Network, Route, Rtnl
from nodeplane.errors import KernelError, KernelNotFoundError
from nodeplane.reconcile.delta import diff

# The kernel tells routes to one destination apart by their metric; ours have none, so one with a metric
# is stale.
_RouteKey = tuple[Network, int]


class SyncReport(msgspec.Struct, frozen=True):
    """What a sync did; `refused` holds the kernel's reason for each route that is still missing."""

    written: int = 0
    deleted: int = 0
    refused: frozenset[str] = frozenset()


class RouteTable:
    """The kernel's routes that are the agent's, as last seen or written.

    Foreign routes are never changed: one that is in the way of ours stays, and ours is refused.
    """

    def __init__(self, rtnl: Rtnl) -> None:
        self._rtnl = rtnl
        self._actual: dict[_RouteKey, Route] = {}

    def sync(self, desired: Mapping[IPv4Network, Route], *, full: bool) -> SyncReport:
        """Bring the kernel from what it has to `desired`; with `full`, read first what it has.

        A route that is refused does not hold up the others. What can cure it (an address, a link, the end of
        a foreign route) is an event, so there is nothing to retry by the clock.

        Raises:
            KernelError: the routes can't be read.
        """
        if full:
            self._actual = self._read()
        wanted: dict[_RouteKey, Route] = {(network, 0): route for network, route in desired.items()}
        delta = diff(wanted, self._actual)
        refused: set[str] = set()
        written = sum(self._try(self._write, key, route, refused) for key, route in delta.upsert.items())
        gone = {key: self._actual[key] for key in delta.delete}
        deleted = sum(self._try(self._delete, key, route, refused) for key, route in gone.items())
        return SyncReport(written, deleted, frozenset(refused))

    def _read(self) -> dict[_RouteKey, Route]:
        return {
            (route.destination, route.metric): _without_link(route)
            for route in self._rtnl.routes(ROUTE_PROTOCOL)
            if is_agents(route)
        }

    def _write(self, key: _RouteKey, route: Route) -> None:
        # Replacing takes whatever is there, so it is only for what is known to be ours.
        if key in self._actual:
            self._rtnl.replace_route(route)
        else:
            self._rtnl.add_route(route)
        self._actual[key] = route

    def _delete(self, key: _RouteKey, route: Route) -> None:
        # Not found: somebody was faster; what is wanted is that it is gone.
        with suppress(KernelNotFoundError):
            self._rtnl.delete_route(route)
        del self._actual[key]

    def _try(
        self, step: Callable[[_RouteKey, Route], None], key: _RouteKey, route: Route, refused: set[str]
    ) -> bool:
        try:
            step(key, route)
        except KernelError as exc:
            refused.add(str(exc))
            return False
        return True


def _without_link(route: Route) -> Route:
    """Leave out the link, which the kernel chose by the gateway."""
    return msgspec.structs.replace(route, link=None)
