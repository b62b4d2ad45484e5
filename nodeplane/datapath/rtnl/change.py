"""What can be changed about links, addresses, routes, neighbours and forwarding entries, as values."""

import msgspec

from nodeplane.datapath.rtnl.address import AddressAddition, AddressDeletion, Interface
from nodeplane.datapath.rtnl.link import LinkChange
from nodeplane.datapath.rtnl.neighbour import FdbEntry, Neighbour
from nodeplane.datapath.rtnl.route import Route, RouteAddition

Item = Route | Neighbour | FdbEntry


class Replacement(msgspec.Struct, frozen=True):
    """What is to be there, in place of what of any owner has the same key.

    A route's is destination and metric, a neighbour's link and address, a forwarding entry's link and MAC.
    """

    item: Item


class Deletion(msgspec.Struct, frozen=True):
    """What is to go; of a route, gateway, link, source and metric may be left out."""

    item: Item


Change = LinkChange | AddressAddition | AddressDeletion | RouteAddition | Replacement | Deletion


def describe(change: Change) -> str:
    """Name a change in an error, as the method that makes it alone does."""
    match change:
        case LinkChange():
            fields = (("address", change.mac), ("mtu", change.mtu_bytes), ("alias", change.alias))
            what = [f"{field} {value!r}" for field, value in fields if value is not None]
            if change.is_up is not None:
                what.append("up" if change.is_up else "down")
            return f"set link {change.name} {' '.join(what)}"
        case AddressAddition():
            return adding(change.address, change.name)
        case AddressDeletion():
            return deleting(change.address, change.name)
        case RouteAddition():
            return f"add route {change.route}"
        case Replacement(item) | Deletion(item):
            verb = "del" if isinstance(change, Deletion) else "replace"
            return f"{verb} {'route ' if isinstance(item, Route) else ''}{item}"


def adding(address: Interface, name: str) -> str:
    """Name the addition of an address in an error."""
    return f"add address {address} to {name}"


def deleting(address: Interface, name: str) -> str:
    """Name the deletion of an address in an error."""
    return f"delete address {address} from {name}"
