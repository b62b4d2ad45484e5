"""Links, addresses, routes and neighbours of a network namespace: the values, and what can be done with them.

Says what there is and does what it is told; whose a link or a route is, its caller knows. Everything is
synchronous and for one thread at a time: asyncio programs call it in a thread of a single-thread executor.

What callers use is here; behind it, a module for each concept (`link`, `address`, `route`, `neighbour`) holds
the values, `…_codec` their bytes, `kernel` and `fake` what `Rtnl` promises, `monitor` the kernel's own word.
"""

from nodeplane.datapath.rtnl.address import (
    Address,
    AddressAddition,
    AddressDeletion,
    Family,
    Interface,
    Network,
    Scope,
)
from nodeplane.datapath.rtnl.change import Change, Deletion, Item, Replacement
from nodeplane.datapath.rtnl.link import ALIAS_BYTES, EgressLink, Fragmentation, Link, LinkChange, Vxlan
from nodeplane.datapath.rtnl.neighbour import FdbEntry, Neighbour
from nodeplane.datapath.rtnl.protocol import Rtnl, open_rtnl
from nodeplane.datapath.rtnl.route import (
    LOCAL_TABLE,
    MAIN_TABLE,
    ROUTE_PROTOCOL,
    NextHop,
    Route,
    RouteAddition,
    RouteKind,
)

__all__ = [
    "ALIAS_BYTES",
    "LOCAL_TABLE",
    "MAIN_TABLE",
    "ROUTE_PROTOCOL",
    "Address",
    "AddressAddition",
    "AddressDeletion",
    "Change",
    "Deletion",
    "EgressLink",
    "Family",
    "FdbEntry",
    "Fragmentation",
    "Interface",
    "Item",
    "Link",
    "LinkChange",
    "Neighbour",
    "Network",
    "NextHop",
    "Replacement",
    "Route",
    "RouteAddition",
    "RouteKind",
    "Rtnl",
    "Scope",
    "Vxlan",
    "open_rtnl",
]
