"""Changes to the kernel, many in one message: encoded, sent, and what was refused told by position."""

from collections.abc import Callable, Mapping, Sequence

from nodeplane.datapath import netlink as nl
from nodeplane.datapath.netlink_socket import NetlinkSocket
from nodeplane.datapath.rtnl import address_codec, link_codec, neighbour_codec, route_codec
from nodeplane.datapath.rtnl.address import AddressAddition, AddressDeletion
from nodeplane.datapath.rtnl.change import Change, Deletion, Replacement, describe
from nodeplane.datapath.rtnl.link import LinkChange
from nodeplane.datapath.rtnl.route import Route, RouteAddition
from nodeplane.errors import KernelError, kernel_error

MAKE = nl.NLM_F_CREATE | nl.NLM_F_EXCL
PUT = nl.NLM_F_CREATE | nl.NLM_F_REPLACE
# Changes in one message to the kernel: the refusals of all of them fit into the socket's buffer.
_AT_ONCE = 1000


def apply(
    socket: NetlinkSocket, find: Callable[[str], int], changes: Sequence[Change]
) -> Mapping[int, KernelError]:
    """Make changes in order and return the refused ones by position; `find` looks a link's index up."""
    refused: dict[int, KernelError] = {}
    indexes: dict[str, int] = {}

    def index(name: str) -> int:
        if name not in indexes:
            indexes[name] = find(name)
        return indexes[name]

    for start in range(0, len(changes), _AT_ONCE):
        positions = range(start, min(start + _AT_ONCE, len(changes)))
        refused |= _apply_some(socket, index, changes, positions)
    return refused


def encode_route(route: Route, index: Callable[[str], int]) -> bytes:
    """Encode a route; `index` looks up its links."""
    hops = [None if hop.link is None else index(hop.link) for hop in route.next_hops]
    return route_codec.route(route, None if route.link is None else index(route.link), hops)


def _apply_some(
    socket: NetlinkSocket, index: Callable[[str], int], changes: Sequence[Change], positions: range
) -> dict[int, KernelError]:
    refused: dict[int, KernelError] = {}
    requests = []
    for position in positions:
        change = changes[position]
        try:
            requests.append((position, *_encode(change, index)))
        except KernelError as exc:
            refused[position] = exc
    if not requests:
        return refused
    last = requests[-1][0]
    data = b"".join(
        # Sequence number 0 is the kernel's own for notifications.
        nl.request(kind, flags | (nl.NLM_F_ACK if position == last else 0), position + 1, body)
        for position, kind, flags, body in requests
    )
    for sequence, code in socket.errors("apply changes", data, last + 1).items():
        refused[sequence - 1] = kernel_error(describe(changes[sequence - 1]), code)
    return refused


def _encode(change: Change, index: Callable[[str], int]) -> tuple[int, int, bytes]:
    """Encode a change: the message's type, its flags and its body."""
    match change:
        case LinkChange():
            return link_codec.NEWLINK, 0, link_codec.link_change(change)
        case AddressAddition():
            body = address_codec.address(index(change.name), change.address, change.scope)
            return address_codec.NEWADDR, MAKE, body
        case AddressDeletion():
            return address_codec.DELADDR, 0, address_codec.address(index(change.name), change.address)
        case RouteAddition(route):
            return route_codec.NEWROUTE, MAKE, encode_route(route, index)
        case Replacement(item) | Deletion(item):
            is_deleted = isinstance(change, Deletion)
            flags = 0 if is_deleted else PUT
            if isinstance(item, Route):
                kind = route_codec.DELROUTE if is_deleted else route_codec.NEWROUTE
                return kind, flags, encode_route(item, index)
            kind = neighbour_codec.DELNEIGH if is_deleted else neighbour_codec.NEWNEIGH
            return kind, flags, neighbour_codec.encode(item, index(item.link), is_deleted=is_deleted)
