"""Elements that go and come, as plain rows: what `plan` prints."""

from collections.abc import Callable, Mapping
from ipaddress import ip_address

from kubeproxy.rules import layout as at
from kubeproxy.rules.layout import decode_endpoint, decode_frontend, decode_slot, decode_value
from kubeproxy.rules.pool_value import as_classid
from nodeplane.datapath.nft.expr import Family
from nodeplane.datapath.nft.table import ElementChange
from nodeplane.runtime.output import Row

_WHOLE = {"written": "the whole table", "repaired": "its chains and rules"}


def describe_change(family: Family, changes: Mapping[str, ElementChange], done: str = "") -> list[Row]:
    """Return a row for each element that goes or comes, after one for the table itself."""
    rows = [build_row(family, "write", "table", _WHOLE[done])] if done else []
    for map_name, part in changes.items():
        rows += [build_row(family, "remove", map_name, _describe_key(map_name, key)) for key in part.remove]
        rows += [
            build_row(family, "add", map_name, _describe_element(map_name, key, data))
            for key, data in part.add.items()
        ]
    return rows


def build_row(family: Family, change: str, map_name: str, element: str) -> Row:
    """Return the row for one thing that goes, comes or changes."""
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
