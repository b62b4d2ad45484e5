"""Pools as people write them, in a CNI configuration or a file for `ipamctl pools apply`, checked.

Every message names the field as it stands there, e.g. `ipam.pools[0].cidr`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import (
    IPv4Network,
    IPv6Network,
    collapse_addresses,
    ip_address,
    ip_network,
    summarize_address_range,
)

import msgspec

from ipam.host_local import POOL_PREFIX
from ipam.model import Mode, Network, Pool
from ipam.selector import parse_selector
from nodeplane.errors import ConfigError

# As in Calico: 64 addresses, so that a node of 110 pods owns two blocks, which is two routes on its peers.
_DEFAULT_BLOCK_SIZE = {4: 26, 6: 122}
# As in Calico: from 4,096 addresses to one.
_BLOCK_SIZES = {4: range(20, 33), 6: range(116, 129)}
# Loopback and multicast: no pod is reached by such an address. Link-local ones are not routed, and the pods'
# gateway is one of them; Calico refuses them too (its IPPool reference, `cidr`).
_UNUSABLE = tuple(
    map(
        ip_network,
        ("127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "::1/128", "fe80::/10", "ff00::/8"),
    )
)
# RFC 1123 subdomain, what Kubernetes allows for the names of nodes and pools. No '/', which parts our keys.
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
# Written by people, so a wrong one is told in our own words.
_MODES: Mapping[str, Mode] = {
    "direct": "direct", "vxlan": "vxlan", "cross-subnet": "cross-subnet", "bgp": "bgp"
}  # fmt: skip
NAME_EXPECTED = "expected a DNS subdomain name (lower case, digits, '-', '.')"


class PoolConfig(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A pool as it is written; `reserved` holds addresses, CIDRs and ranges `first-last`."""

    name: str
    cidr: str
    block_size: int | None = None
    reserved: tuple[str, ...] = ()
    disabled: bool = False
    node_selector: str = ""
    namespace_selector: str = ""
    gateway: str = ""
    on_link: bool = False
    nat_outgoing: bool = False
    mode: str = "direct"


def is_name(text: str) -> bool:
    """Say whether a node or a pool can have this name."""
    return _NAME.fullmatch(text) is not None


def build_pools(items: Sequence[PoolConfig], place: str, field: str) -> tuple[Pool, ...]:
    """Return the pools that a list describes, in its order; `place` and `field` say where it stands.

    Raises:
        ConfigError: one is not valid, or two of them overlap.
    """
    pools: list[Pool] = []
    for index, item in enumerate(items):
        where = f"{field}[{index}]"
        pool = build_pool(item, place, where)
        for other in pools:
            if other.name == pool.name:
                expected = f"expected each name once, got {pool.name!r} twice"
                raise ConfigError(place, f"{where}.name", expected)
            if other.network.overlaps(pool.network):
                expected = f"expected pools apart, {pool.network} overlaps {other.network}"
                raise ConfigError(place, f"{where}.cidr", expected)
        pools.append(pool)
    return tuple(pools)


def build_pool(item: PoolConfig, place: str, field: str) -> Pool:
    """Return the pool that one entry describes.

    Raises:
        ConfigError: it is not valid.
    """
    if not is_name(item.name):
        raise ConfigError(place, f"{field}.name", f"{NAME_EXPECTED}, got {item.name!r}")
    if item.name.startswith(POOL_PREFIX):
        expected = f"expected another beginning: {POOL_PREFIX} is for the pools of ranges, got {item.name!r}"
        raise ConfigError(place, f"{field}.name", expected)
    try:
        network = ip_network(item.cidr)
    except ValueError as exc:
        raise ConfigError(place, f"{field}.cidr", f"expected a network: {exc}") from exc
    if "/" not in item.cidr:
        raise ConfigError(place, f"{field}.cidr", f"expected address/prefix length, got {item.cidr!r}")
    if any(network.version == other.version and network.overlaps(other) for other in _UNUSABLE):
        raise ConfigError(place, f"{field}.cidr", f"expected addresses that pods can have, got {network}")
    sizes = _BLOCK_SIZES[network.version]
    size = _DEFAULT_BLOCK_SIZE[network.version] if item.block_size is None else item.block_size
    if size not in sizes or size < network.prefixlen:
        first = max(sizes[0], network.prefixlen)
        raise ConfigError(
            place,
            f"{field}.blockSize",
            f"expected a prefix length from {first} to {sizes[-1]} for {network}, got {size}",
        )
    reserved = [
        part
        for index, text in enumerate(item.reserved)
        for part in _reserved(text, network, place, f"{field}.reserved[{index}]")
    ]
    if network in _collapse(reserved):
        expected = f"expected that some addresses of {network} are left, all are reserved"
        raise ConfigError(place, f"{field}.reserved", expected)
    reserved += _gateway(item, network, place, field)
    for name, text in (("nodeSelector", item.node_selector), ("namespaceSelector", item.namespace_selector)):
        parse_selector(text, place, f"{field}.{name}")
    return Pool(
        name=item.name,
        network=network,
        block_size=size,
        reserved=_collapse(reserved),
        disabled=item.disabled,
        node_selector=_unless_all(item.node_selector),
        namespace_selector=_unless_all(item.namespace_selector),
        on_link=item.on_link,
        nat_outgoing=item.nat_outgoing,
        mode=_mode(item, place, field),
    )


def _unless_all(selector: str) -> str:
    """Return a selector; "" for the one that Calico writes out for none: it needs nobody's labels."""
    return "" if selector.strip() == "all()" else selector


def _mode(item: PoolConfig, place: str, field: str) -> Mode:
    mode = _MODES.get(item.mode)
    if mode is None:
        expected = f"expected one of {', '.join(_MODES)}, got {item.mode!r}"
        raise ConfigError(place, f"{field}.mode", expected)
    if item.on_link and mode != "direct":
        # The link's own route leads to its pods; the agent makes none.
        expected = f"expected direct, as the pool is onLink, got {item.mode!r}"
        raise ConfigError(place, f"{field}.mode", expected)
    return mode


def _gateway(item: PoolConfig, pool: Network, place: str, field: str) -> list[Network]:
    """Return the gateway as what is reserved, if it lies inside the pool."""
    if not item.gateway:
        return []
    try:
        gateway = ip_address(item.gateway)
    except ValueError as exc:
        raise ConfigError(place, f"{field}.gateway", f"expected an address: {exc}") from exc
    if gateway.version != pool.version:
        raise ConfigError(place, f"{field}.gateway", f"expected IPv{pool.version}, got {gateway}")
    return [ip_network(gateway)] if gateway in pool else []


def _reserved(text: str, pool: Network, place: str, field: str) -> Iterator[Network]:
    """Yield the networks that make up an address, a CIDR or a range `first-last` inside a pool."""
    first, dash, last = text.partition("-")
    try:
        parts = list(_range(first, last)) if dash else [ip_network(text)]
    except (ValueError, TypeError) as exc:
        raise ConfigError(place, field, f"expected an address, a network or first-last: {exc}") from exc
    for part in parts:
        if part.network_address not in pool or part.broadcast_address not in pool:
            raise ConfigError(place, field, f"expected what lies inside {pool}, got {text!r}")
        yield part


def _range(first: str, last: str) -> Iterator[Network]:
    return iter(summarize_address_range(ip_address(first.strip()), ip_address(last.strip())))


def _collapse(networks: list[Network]) -> tuple[Network, ...]:
    return (
        *collapse_addresses(item for item in networks if isinstance(item, IPv4Network)),
        *collapse_addresses(item for item in networks if isinstance(item, IPv6Network)),
    )
