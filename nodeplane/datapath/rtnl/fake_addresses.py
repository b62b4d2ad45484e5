"""The fake's addresses of links."""

import errno

from nodeplane.datapath.rtnl.address import Family, Interface, Scope
from nodeplane.datapath.rtnl.change import adding, deleting
from nodeplane.datapath.rtnl.fake_state import State
from nodeplane.errors import kernel_error


def addresses(state: State, name: str, family: Family) -> set[Interface]:
    """Return a link's addresses of a family."""
    state.link(f"list addresses of {name}", name)
    return {address for address in state.addresses[name] if address.version == family}


def addresses_by_link(state: State, family: Family) -> dict[str, set[Interface]]:
    """Return the addresses of every link that has any."""
    found = {name: addresses(state, name, family) for name in state.addresses}
    return {name: held for name, held in found.items() if held}


def add(state: State, name: str, address: Interface, scope: Scope) -> None:
    """Give a link an address."""
    operation = adding(address, name)
    state.link(operation, name)
    if address in state.addresses[name]:
        raise kernel_error(operation, errno.EEXIST)
    state.addresses[name][address] = scope
    state.writes += 1


def delete(state: State, name: str, address: Interface) -> None:
    """Take an address from a link, and what sends from it."""
    operation = deleting(address, name)
    state.link(operation, name)
    if state.addresses[name].pop(address, None) is None:
        raise kernel_error(operation, errno.EADDRNOTAVAIL)
    # Routes that send from the address go with it (net/ipv4/fib_semantics.c, fib_sync_down_addr).
    state.routes = {key: route for key, route in state.routes.items() if route.source != address.ip}
    state.writes += 1


def drop_ipv6(state: State, name: str) -> None:
    """Forget a link's IPv6 addresses."""
    held = state.addresses[name]
    state.addresses[name] = {address: scope for address, scope in held.items() if address.version == 4}
