"""What one namespace of `FakeKernel` has, and the question that every operation asks first."""

import errno
from collections.abc import Callable, Iterator
from itertools import count

from nodeplane.datapath.rtnl.address import Address, Interface, Network, Scope
from nodeplane.datapath.rtnl.link import Link, Vxlan
from nodeplane.datapath.rtnl.neighbour import FdbEntry, Neighbour
from nodeplane.datapath.rtnl.route import Route
from nodeplane.errors import kernel_error

RouteKey = tuple[int, Network, int]
"""Table, destination, metric."""


class State:
    """One namespace's tables; `writes` counts what changed something, `peers` has the veths' other ends.

    Args:
        next_mac: Returns an Ethernet address that no link of the machine has.
    """

    def __init__(self, next_mac: Callable[[], str]) -> None:
        self.next_mac = next_mac
        self.writes = 0
        self.links: dict[str, Link] = {}
        self.addresses: dict[str, dict[Interface, Scope]] = {}
        self.routes: dict[RouteKey, Route] = {}
        self.peers: dict[str, tuple[State, str]] = {}
        self.vxlans: dict[str, Vxlan] = {}
        self.neighbours: dict[tuple[str, Address], Neighbour] = {}
        self.fdb: dict[tuple[str, str], FdbEntry] = {}
        self.indexes: Iterator[int] = count(1)

    def link(self, operation: str, name: str) -> Link:
        """Return a link as it is kept.

        Raises:
            KernelNotFoundError: there is none of that name.
        """
        if name not in self.links:
            raise kernel_error(operation, errno.ENODEV)
        return self.links[name]
