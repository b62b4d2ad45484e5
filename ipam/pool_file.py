"""A file of pools for `ipamctl pools apply`: our own form, and Calico's IPPool and IPReservation objects.

    pools: [{name: default, cidr: 10.244.0.0/16, blockSize: 26}]        # the form of a CNI configuration

Calico's objects are taken as calicoctl takes them, one or more documents or Lists. What only Calico's own
data plane acts on (`ipipMode`, `vxlanMode`, `natOutgoing`) is left out; what would change who gets an address
and is not ours (`assignmentMode: Manual`) is refused.

Source: https://docs.tigera.io/calico/latest/reference/resources/ippool (and …/ipreservation).
"""

from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import msgspec

from ipam.model import Network, Pool
from ipam.pool_config import PoolConfig, build_pools
from nodeplane.errors import ConfigError
from nodeplane.yamldoc import FieldPath, YamlDocument, read_documents

_CALICO = ("projectcalico.org/v3", "crd.projectcalico.org/v1")


class _Metadata(msgspec.Struct, frozen=True):
    name: str


class _IPPoolSpec(msgspec.Struct, frozen=True, rename="camel"):
    cidr: str
    block_size: int | None = None
    node_selector: str = ""
    namespace_selector: str = ""
    disabled: bool = False
    allowed_uses: tuple[str, ...] | None = None
    assignment_mode: str = "Automatic"


class _IPPool(msgspec.Struct, frozen=True):
    metadata: _Metadata
    spec: _IPPoolSpec


class _IPReservationSpec(msgspec.Struct, frozen=True):
    reserved: tuple[str, ...] = msgspec.field(name="reservedCIDRs", default=())


class _IPReservation(msgspec.Struct, frozen=True):
    spec: _IPReservationSpec = _IPReservationSpec()


class _OwnForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pools: tuple[PoolConfig, ...]


def read_pool_file(path: Path) -> tuple[Pool, ...]:
    """Read the pools of a file, in its order; reservations in it are part of the pools that they lie in.

    Raises:
        ConfigError: the file can't be read, has no pool, or one is not valid; names line and field.
    """
    found: list[tuple[PoolConfig, str]] = []
    reserved: list[Network] = []
    for document in read_documents(path):
        for where in _objects(document, ()):
            _take(document, where, found, reserved)
    if not found:
        raise ConfigError(str(path), "", "expected at least one pool")
    for _, place in found:
        # Checked one by one for its line first, then all together for what they are to one another.
        build_pools([item for item, other in found if other == place], place, "pools")
    pools = build_pools([item for item, _ in found], str(path), "pools")
    return tuple(_reserve(pool, reserved) for pool in pools)


def _objects(document: YamlDocument, at: FieldPath) -> Iterator[FieldPath]:
    """Yield the paths of the objects at a path: of a List, its items."""
    value = document.at(at)
    if not isinstance(value, dict):
        raise document.error(at, "expected a mapping: `pools:`, an IPPool or an IPReservation")
    kind = value.get("kind")
    if not (isinstance(kind, str) and kind.endswith("List")):
        yield at
        return
    items = value.get("items") or []
    if not isinstance(items, list):
        raise document.error((*at, "items"), "expected a list of objects")
    for index, item in enumerate(items):
        if isinstance(item, dict) and "kind" not in item:
            # As an API server lists them: only the list says what its items are.
            item.update(apiVersion=value.get("apiVersion"), kind=kind.removesuffix("List"))
        yield from _objects(document, (*at, "items", index))


def _take(
    document: YamlDocument, where: FieldPath, found: list[tuple[PoolConfig, str]], reserved: list[Network]
) -> None:
    value: dict[str, Any] = document.at(where)
    place = document.error(where, "").place
    if "kind" not in value:
        found.extend((item, place) for item in document.convert(_OwnForm, where).pools)
        return
    if value.get("apiVersion") not in _CALICO:
        raise document.error((*where, "apiVersion"), f"expected {' or '.join(_CALICO)}")
    if value["kind"] == "IPPool":
        found.append((_decode_pool(document, where), place))
    elif value["kind"] == "IPReservation":
        for index, text in enumerate(document.convert(_IPReservation, where).spec.reserved):
            try:
                reserved.append(ip_network(text))
            except ValueError as exc:
                path = (*where, "spec", "reservedCIDRs", index)
                raise document.error(path, f"expected a network: {exc}") from exc
    else:
        raise document.error((*where, "kind"), "expected IPPool or IPReservation")


def _decode_pool(document: YamlDocument, where: FieldPath) -> PoolConfig:
    item = document.convert(_IPPool, where)
    spec = item.spec
    if spec.assignment_mode != "Automatic":
        raise document.error((*where, "spec", "assignmentMode"), "expected Automatic")
    if spec.allowed_uses is not None and "Workload" not in spec.allowed_uses:
        raise document.error((*where, "spec", "allowedUses"), "expected Workload among them")
    return PoolConfig(
        name=item.metadata.name,
        cidr=spec.cidr,
        block_size=spec.block_size,
        disabled=spec.disabled,
        # Calico writes out what is meant by none.
        node_selector="" if spec.node_selector.strip() == "all()" else spec.node_selector,
        namespace_selector=spec.namespace_selector,
    )


def _reserve(pool: Pool, reserved: list[Network]) -> Pool:
    """Add to a pool what of the reservations lies inside it."""
    inside = {_part_inside(item, pool.network) for item in reserved if item.overlaps(pool.network)}
    left = [
        item for item in inside - set(pool.reserved) if not any(_covers(one, item) for one in pool.reserved)
    ]
    if not left:
        return pool
    kept = [item for item in pool.reserved if not any(_covers(one, item) for one in left)]
    outer = [item for item in left if not any(item != one and _covers(one, item) for one in left)]
    ordered = tuple(sorted(kept + outer, key=lambda item: int(item.network_address)))
    return msgspec.structs.replace(pool, reserved=ordered)


def _part_inside(item: Network, pool: Network) -> Network:
    return item if item.prefixlen >= pool.prefixlen else pool


def _covers(outer: Network, inner: Network) -> bool:
    return inner.network_address in outer and inner.prefixlen >= outer.prefixlen
