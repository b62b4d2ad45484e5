"""A file of pools for `ipamctl pools apply`: our own form, and Calico's IPPool and IPReservation objects.

    pools: [{name: default, cidr: 10.244.0.0/16, blockSize: 26}]        # the form of a CNI configuration

Calico's objects are taken as calicoctl takes them, one or more documents or Lists. `vxlanMode` gives the
pool's mode: Always is vxlan, CrossSubnet is cross-subnet, and Never (Calico's default) is bgp, which is how
Calico routes what it does not encapsulate. What only Calico's own data plane acts on (`disableBGPExport`) is
left out; what is not ours and would change who gets an address (`assignmentMode: Manual`) or how it is
reached (`ipipMode`) is refused, and so is a field that Calico does not have: it is a misspelt one.

Source: https://docs.tigera.io/calico/latest/reference/resources/ippool (and …/ipreservation).
"""

from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal

import msgspec

from ipam.model import Mode, Network, Pool
from ipam.pool_config import PoolConfig, build_pools
from nodeplane.errors import ConfigError
from nodeplane.yamldoc import FieldPath, YamlDocument, read_documents

_Encapsulation = Literal["Always", "CrossSubnet", "Never"]
_Use = Literal["Workload", "Tunnel", "LoadBalancer"]

# By Calico's vxlanMode.
_MODES: dict[str, Mode] = {"Always": "vxlan", "CrossSubnet": "cross-subnet", "Never": "bgp"}
_CALICO = ("projectcalico.org/v3", "crd.projectcalico.org/v1")


class _Metadata(msgspec.Struct, frozen=True):
    name: str


class _IPPoolSpec(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """All fields of Calico's v3 IPPool, but `ipip` and `nat-outgoing`, which it does not let anyone set."""

    cidr: str
    block_size: int | None = None
    node_selector: str = ""
    namespace_selector: str = ""
    disabled: bool = False
    allowed_uses: tuple[_Use, ...] = ()
    assignment_mode: Literal["Automatic", "Manual"] = "Automatic"
    nat_outgoing: bool = False
    ipip_mode: _Encapsulation = "Never"
    vxlan_mode: _Encapsulation = "Never"
    # Not acted on, yet held to what Calico has.
    disable_bgp_export: bool = msgspec.field(name="disableBGPExport", default=False)


class _Object(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    api_version: str
    kind: str
    # Of the cluster's making, in what `kubectl get -o yaml` prints.
    status: Any = None


class _IPPool(_Object, frozen=True, kw_only=True):
    metadata: _Metadata
    spec: _IPPoolSpec


class _IPReservationSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reserved: tuple[str, ...] = msgspec.field(name="reservedCIDRs", default=())


class _IPReservation(_Object, frozen=True, kw_only=True):
    metadata: Any = None
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
    # None given are all of them.
    if spec.allowed_uses and "Workload" not in spec.allowed_uses:
        raise document.error((*where, "spec", "allowedUses"), "expected Workload among them")
    if spec.ipip_mode != "Never":
        expected = "expected Never: there is no IPIP here, vxlanMode has the same choices"
        raise document.error((*where, "spec", "ipipMode"), expected)
    return PoolConfig(
        name=item.metadata.name,
        cidr=spec.cidr,
        block_size=spec.block_size,
        disabled=spec.disabled,
        node_selector=spec.node_selector,
        namespace_selector=spec.namespace_selector,
        nat_outgoing=spec.nat_outgoing,
        mode=_MODES[spec.vxlan_mode],
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
