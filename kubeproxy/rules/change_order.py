"""In which order elements may change one after the other, when they can't all at once.

A new connection looks maps up from `cluster-ips` on inward (see `skeleton`). So that a frontend never leads
to a pool that is not there yet or any more, what is new is written from the inside outward, and what is gone
is taken away from the outside inward:

    new inner elements ─► changed inner elements ─► frontends ─► gone inner elements

The one danger left is a pool's value that changes hands: whoever had it would be led to the new owner's
endpoints. Then changed frontends drop their clients, who try again, until all is there.
"""

from collections.abc import Mapping

from kubeproxy.rules import layout as at
from kubeproxy.rules.layout import decode_slot, decode_value, encode_value
from kubeproxy.rules.pool_value import DROP, WITHOUT_KIND
from nodeplane.datapath.nft.table import ElementChange

Changes = Mapping[str, ElementChange]

_RANGES = (at.SOURCE_RANGES, at.SERVICE_CIDRS)
# Outside to inside. An address whose frontends are not there yet is better unknown, which clients outlive.
_OUTER = (at.CLUSTER_IPS, at.FRONTENDS, at.NODE_PORTS, at.LOCAL_POOLS)
_INNER = (
    *(at.SLOTS, at.MEMBERS, at.MEMBERS_ALIVE, at.MEMBER_ADDRESSES, at.AFFINE_POOLS),
    *(at.HAIRPINS, at.NODE_PORT_IPS),
)
_LEADING = (at.FRONTENDS, at.NODE_PORTS, at.LOCAL_POOLS)


def order_changes(changes: Changes) -> list[Changes]:
    """Divide changes into steps that may each become visible for itself; all of them come to the same."""
    held = _hold(changes) if _moved_values(changes) else {}
    steps: list[Changes] = [held]
    # Ranges must not overlap, so old ones go before new ones come: for a moment too few clients are let in.
    for name in _RANGES:
        change = changes.get(name, ElementChange())
        steps += [{name: ElementChange(remove=change.remove)}, {name: ElementChange(add=change.add)}]
    inner = {name: changes[name] for name in reversed(_INNER) if name in changes}
    steps += [
        {name: _added(change) for name, change in inner.items()},
        {name: _replaced(change) for name, change in inner.items()},
    ]
    outer = {name: changes[name] for name in reversed(_OUTER) if name in changes}
    if held:
        outer |= {name: _without_gone(outer[name]) for name in held}
    steps += [{name: _added(change)} for name, change in outer.items() if name != at.CLUSTER_IPS]
    steps += [{name: _replaced(change)} for name, change in outer.items()]
    steps += [{name: _added(change)} for name, change in outer.items() if name == at.CLUSTER_IPS]
    steps += [{name: _gone(outer[name])} for name in _OUTER if name in outer]
    steps.append({name: _gone(changes[name]) for name in _INNER if name in changes})
    return [step for step in map(_without_empty, steps) if step]


def _moved_values(changes: Changes) -> set[int]:
    """Return the values of pools that something leads to anew and that had other endpoints before."""
    left = {
        decode_slot(key)[0]
        for name in (at.SLOTS, at.MEMBERS)
        for key in changes.get(name, ElementChange()).remove
    }
    taken = {
        decode_value(data) & WITHOUT_KIND
        for name in _LEADING
        for data in changes.get(name, ElementChange()).add.values()
    }
    return left & taken


def _hold(changes: Changes) -> dict[str, ElementChange]:
    """Take away what is gone, and let what changes drop its clients meanwhile."""
    return {
        name: ElementChange(
            remove=changes[name].remove,
            add={key: encode_value(DROP) for key in changes[name].remove if key in changes[name].add},
        )
        for name in _LEADING
        if name in changes and changes[name].remove
    }


def _added(change: ElementChange) -> ElementChange:
    known = frozenset(change.remove)
    return ElementChange(add={key: data for key, data in change.add.items() if key not in known})


def _replaced(change: ElementChange) -> ElementChange:
    keys = [key for key in change.remove if key in change.add]
    return ElementChange(remove=keys, add={key: change.add[key] for key in keys})


def _gone(change: ElementChange) -> ElementChange:
    return ElementChange(remove=[key for key in change.remove if key not in change.add])


def _without_gone(change: ElementChange) -> ElementChange:
    return ElementChange([key for key in change.remove if key in change.add], change.add)


def _without_empty(step: Changes) -> Changes:
    return {name: change for name, change in step.items() if change.remove or change.add}
