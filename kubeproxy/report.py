"""What `show` and `plan` print, as plain rows."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from ipaddress import ip_address

from kubeproxy.family_proxier import FamilyChange
from kubeproxy.published import Published, Remembered, pool_number
from kubeproxy.rules import layout as at
from kubeproxy.rules.layout import (
    Frontend,
    decode_endpoint,
    decode_frontend,
    decode_slot,
    decode_value,
)
from kubeproxy.rules.pool_value import DROP, KIND_MASK, REJECT, WITHOUT_KIND, as_classid, describe, kind_of
from nodeplane.runtime.output import Row

_NONE: Mapping[int, int] = {}
_NOBODY = {REJECT: "rejected: no endpoint", DROP: "dropped: no endpoint on this node"}


def describe_services(
    published: Collection[Published],
    connections: Mapping[Frontend, int],
    remembered: Mapping[int, int] = _NONE,
) -> list[Row]:
    """Return a row for each frontend in the kernel, two for policy Local: for this node, and for others.

    Args:
        published: The frontends.
        connections: How many new connections have come to each, from anywhere.
        remembered: How many clients session affinity remembers, by number of pool.
    """
    rows: list[Row] = []
    local = {each.frontend for each in published if each.is_outside}
    for each in published:
        value = each.value & WITHOUT_KIND
        nobody = _NOBODY.get(value)
        number = pool_number(value)
        inside = "this node" if each.frontend in local else "anywhere"
        rows.append(
            {
                "frontend": str(each.frontend),
                "kind": _describe_kind(each.value),
                "client": "elsewhere" if each.is_outside else inside,
                "pool": "" if nobody else as_classid(value),
                "choice": "" if nobody else describe(value),
                "connections": connections.get(each.frontend, 0),
                "remembered": 0 if number is None else remembered.get(number, 0),
                "endpoints": [nobody] if nobody else [str(endpoint) for endpoint in each.endpoints],
            }
        )
    return rows


def describe_clients(
    published: Iterable[Published], remembered: Mapping[int, Sequence[Remembered]]
) -> list[Row]:
    """Return a row for each client that session affinity remembers, with the frontends that it counts for."""
    frontends: defaultdict[int, list[str]] = defaultdict(list)
    for each in published:
        number = pool_number(each.value)
        if number is not None:
            frontends[number].append(str(each.frontend))
    return [
        {
            "client": str(client.client),
            "endpoint": str(client.endpoint),
            "seconds": round(client.seconds),
            "frontends": frontends.get(number, []),
        }
        for number, clients in sorted(remembered.items())
        for client in clients
    ]


def _describe_kind(value: int) -> str:
    try:
        return kind_of(value).name.lower().replace("_", "-")
    except ValueError:
        # Somebody else's writing.
        return as_classid(value & KIND_MASK)


def describe_plan(plan: Iterable[FamilyChange]) -> list[Row]:
    """Return a row for each element that goes or comes."""
    rows = []
    for change in plan:
        if change.replace:
            rows.append(_row(change.family, "write", "table", "the whole table"))
        elif change.damaged is not None:
            rows.append(_row(change.family, "write", "table", "its chains and rules"))
        for map_name, part in change.changes.items():
            rows += [
                _row(change.family, "remove", map_name, _describe_key(map_name, key)) for key in part.remove
            ]
            rows += [
                _row(change.family, "add", map_name, _describe_element(map_name, key, data))
                for key, data in part.add.items()
            ]
    return rows


def _row(family: str, change: str, map_name: str, element: str) -> Row:
    return {"family": family, "change": change, "map": map_name, "element": element}


def _describe_key(map_name: str, key: bytes) -> str:
    return _KEYS.get(map_name, _address)(key)


def _address(key: bytes) -> str:
    return str(ip_address(key))


def _slot(key: bytes) -> str:
    value, index = decode_slot(key)
    return f"{as_classid(value)}[{index}]"


def _value(key: bytes) -> str:
    return as_classid(decode_value(key))


def _hairpin(key: bytes) -> str:
    return _address(key[: len(key) // 2])


def _source_range(key: bytes) -> str:
    address_bytes = (len(key) // 2 - 8) // 2
    first, last = at.decode_ranges(key, address_bytes)
    return f"{decode_frontend(key[: address_bytes + 8])} from {first}-{last}"


def _service_cidr(key: bytes) -> str:
    first, last = at.decode_ranges(key, len(key) // 2)
    return f"{first}-{last}"


_KEYS: dict[str, Callable[[bytes], str]] = {
    at.FRONTENDS: lambda key: str(decode_frontend(key)),
    at.NODE_PORTS: lambda key: str(decode_frontend(key)),
    at.LOCAL_POOLS: _value,
    at.SLOTS: _slot,
    at.MEMBERS: _slot,
    at.MEMBER_ADDRESSES: _value,
    at.MEMBERS_ALIVE: _value,
    at.AFFINE_POOLS: _value,
    at.SOURCE_RANGES: _source_range,
    at.SERVICE_CIDRS: _service_cidr,
    at.HAIRPINS: _hairpin,
}


def _describe_element(map_name: str, key: bytes, data: bytes) -> str:
    described = _describe_key(map_name, key)
    if map_name in {at.SLOTS, at.MEMBER_ADDRESSES}:
        return f"{described} -> {decode_endpoint(data)}"
    return f"{described} -> {as_classid(decode_value(data))}" if data else described
