"""Which pools a request may have its addresses from: by node, namespace, family and what it asks for.

A pool counts for a request when its selectors take the node and the namespace. A request gets one address of
each family that such pools have, also when they are disabled: a pod must not come up with half of its
addresses because an operator drains a pool.
"""

from collections.abc import Sequence

import msgspec

from ipam.errors import AddressRefusedError
from ipam.model import Address, Pool, Request
from ipam.selector import selects


class Slot(msgspec.Struct, frozen=True):
    """One address that a request gets: out of one of these pools, or this very one.

    The pools are in the order of preference; some of them may be disabled, or not for the request.
    """

    what: str
    pools: tuple[Pool, ...]
    address: Address | None = None


def build_slots(pools: Sequence[Pool], request: Request) -> tuple[Slot, ...]:
    """Return what a request gets, in the order in which it gets it: by family, or by set.

    Raises:
        AddressRefusedError: the request names a pool that is not there, or an address that fits nowhere.
    """
    slots = _sets(pools, request) if request.sets else _families(pools, request)
    for address in request.addresses:
        # Where no pool has it, the first of its family says so.
        fitting = [slot for slot in slots if any(address in pool.network for pool in slot.pools)]
        free = [slot for slot in fitting or slots if slot.address is None and _has_family(slot, address)]
        if not free:
            raise AddressRefusedError(f"{address} was asked for, where no further address is given out")
        slots[slots.index(free[0])] = msgspec.structs.replace(free[0], address=address)
    return tuple(slots)


def usable(slot: Slot, request: Request) -> tuple[Pool, ...]:
    """Return the pools of a slot that may give an address now, in their order."""
    return tuple(pool for pool in slot.pools if not pool.disabled and is_for(pool, request))


def _sets(pools: Sequence[Pool], request: Request) -> list[Slot]:
    return [Slot(f"set {', '.join(names)}", _named(pools, names, "")) for names in request.sets]


def _families(pools: Sequence[Pool], request: Request) -> list[Slot]:
    named = {4: request.ipv4_pools, 6: request.ipv6_pools}
    families = set(request.families)
    if not families:
        families |= {pool.network.version for pool in pools if is_for(pool, request)}
        families |= {address.version for address in request.addresses}
        families |= {family for family, names in named.items() if names}
    slots = []
    for family in sorted(families):
        own = tuple(pool for pool in pools if pool.network.version == family)
        chosen = _named(own, named[family], f"IPv{family} ") if named[family] else own
        slots.append(Slot(f"IPv{family}", chosen))
    return slots


def _named(pools: Sequence[Pool], names: Sequence[str], what: str) -> tuple[Pool, ...]:
    """Return the pools of these names or CIDRs, in that order."""
    found = {text: pool for pool in pools for text in (pool.name, str(pool.network))}
    for name in names:
        if name not in found:
            there = ", ".join(f"{pool.name} {pool.network}" for pool in pools) or "none"
            raise AddressRefusedError(f"there is no {what}pool {name}: the pools are {there}")
    return tuple(dict.fromkeys(found[name] for name in names))


def _has_family(slot: Slot, address: Address) -> bool:
    return slot.what == f"IPv{address.version}" or any(
        pool.network.version == address.version for pool in slot.pools
    )


def is_for(pool: Pool, request: Request) -> bool:
    """Say whether a pool's selectors take the node and the namespace; a tunnel has no namespace."""
    return is_for_node(pool, request) and is_for_namespace(pool, request)


def is_for_node(pool: Pool, request: Request) -> bool:
    """Say whether a pool's node selector takes the node."""
    return not pool.node_selector or selects(pool.node_selector, request.node_labels)


def is_for_namespace(pool: Pool, request: Request) -> bool:
    """Say whether a pool's namespace selector takes the namespace."""
    return (
        not pool.namespace_selector
        or request.use == "tunnel"
        or selects(pool.namespace_selector, request.namespace_labels)
    )
