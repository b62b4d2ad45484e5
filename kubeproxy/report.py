"""What `show` and `plan` print, as plain rows."""

from collections.abc import Iterable, Mapping

from kubeproxy.layout import (
    FRONTENDS,
    SLOTS,
    Endpoint,
    Frontend,
    Pool,
    decode_endpoint,
    decode_frontend,
    decode_hairpin,
    decode_pool,
    decode_slot,
)
from kubeproxy.proxier import FamilyChange
from nodeplane.runtime.output import Row


def describe_services(services: Mapping[Frontend, tuple[Pool, list[Endpoint]]]) -> list[Row]:
    """Return a row for each frontend in the kernel."""
    return [
        {
            "frontend": str(frontend),
            "pool": "" if pool.is_reject else str(pool),
            "endpoints": ["rejected: no endpoint"]
            if pool.is_reject
            else [str(endpoint) for endpoint in endpoints],
        }
        for frontend, (pool, endpoints) in services.items()
    ]


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
    if map_name == FRONTENDS:
        return str(decode_frontend(key))
    if map_name == SLOTS:
        pool, index = decode_slot(key)
        return f"{pool}[{index}]"
    return str(decode_hairpin(key))


def _describe_element(map_name: str, key: bytes, data: bytes) -> str:
    value = {FRONTENDS: decode_pool, SLOTS: decode_endpoint}.get(map_name)
    return _describe_key(map_name, key) + (f" -> {value(data)}" if value else "")
