"""The fake's neighbours, and its forwarding entries of VXLAN links."""

import errno

from nodeplane.datapath.rtnl.address import Family
from nodeplane.datapath.rtnl.fake_state import State
from nodeplane.datapath.rtnl.neighbour import FdbEntry, Neighbour
from nodeplane.errors import kernel_error


def neighbours(state: State, name: str, family: Family) -> set[Neighbour]:
    """Return a link's neighbours of a family."""
    state.link(f"list neighbours of {name}", name)
    return {
        item for (link, address), item in state.neighbours.items()
        if link == name and address.version == family
    }  # fmt: skip


def fdb(state: State, name: str) -> set[FdbEntry]:
    """Return a link's forwarding entries."""
    state.link(f"list forwarding entries of {name}", name)
    return {item for (link, _), item in state.fdb.items() if link == name}


def put(state: State, item: Neighbour | FdbEntry) -> None:
    """Make an entry, in place of one with its key."""
    operation = f"replace {item}"
    state.link(operation, item.link)
    if isinstance(item, Neighbour):
        state.neighbours[item.link, item.address] = item
    elif item.link not in state.vxlans:
        # Any Ethernet link takes one as an address to receive (ndo_dflt_fdb_add): none that forwards.
        return
    elif item.destination.version != state.vxlans[item.link].local.version:
        raise kernel_error(operation, errno.EAFNOSUPPORT)
    else:
        state.fdb[item.link, item.mac] = item
    state.writes += 1


def delete(state: State, item: Neighbour | FdbEntry) -> None:
    """Delete the entry with the key of `item`."""
    operation = f"del {item}"
    state.link(operation, item.link)
    found: Neighbour | FdbEntry | None
    if isinstance(item, Neighbour):
        found = state.neighbours.pop((item.link, item.address), None)
    else:
        found = state.fdb.pop((item.link, item.mac), None)
    if found is None:
        raise kernel_error(operation, errno.ENOENT)
    state.writes += 1


def drop_neighbours(state: State, link: str) -> None:
    """Forget the neighbours of a link, not what it forwards."""
    state.neighbours = {key: item for key, item in state.neighbours.items() if key[0] != link}


def drop(state: State, link: str) -> None:
    """Forget all entries of a link."""
    drop_neighbours(state, link)
    state.fdb = {key: item for key, item in state.fdb.items() if key[0] != link}
