"""What `show` and `plan` print, as plain rows."""

from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address

from kubeproxy.proxier import FamilyChange
from kubeproxy.rules import layout as at
from kubeproxy.rules.layout import (
    Endpoint,
    Frontend,
    decode_endpoint,
    decode_frontend,
    decode_slot,
    decode_value,
)
from kubeproxy.rules.pool_value import DROP, KIND_MASK, REJECT, WITHOUT_KIND, as_classid, describe, kind_of
from nodeplane.runtime.output import Row

_NOBODY = {REJECT: "rejected: no endpoint", DROP: "dropped: no endpoint on this node"}


def describe_services(
    services: Mapping[Frontend, tuple[int, list[Endpoint]]], connections: Mapping[Frontend, int]
) -> list[Row]:
    """Return a row for each frontend in the kernel; `connections` says how many new ones have come to it."""
    rows: list[Row] = []
    for frontend, (value, endpoints) in services.items():
        nobody = _NOBODY.get(value & WITHOUT_KIND)
        rows.append(
            {
                "frontend": str(frontend),
                "kind": _describe_kind(value),
                "pool": "" if nobody else as_classid(value & WITHOUT_KIND),
                "choice": "" if nobody else describe(value),
                "connections": connections.get(frontend, 0),
                "endpoints": [nobody] if nobody else [str(endpoint) for endpoint in endpoints],
            }
        )
    return rows


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
