"""The IPAM section of a CNI network configuration, and what it says about pools.

Every message names the field as it stands in the configuration, e.g. `ipam.pools[0].cidr`.
"""

import os
import re
from collections.abc import Iterator, Mapping
from ipaddress import (
    IPv4Network,
    IPv6Network,
    collapse_addresses,
    ip_address,
    ip_network,
    summarize_address_range,
)
from pathlib import Path

import msgspec

from ipam.model import Network, PodRef, Pool
from nodeplane.cnispec import PLACE
from nodeplane.errors import ConfigError

DEFAULT_DATASTORE = "sqlite:////var/lib/nodeplane/ipam.sqlite"

# As in Calico: 64 addresses, so that a node of 110 pods owns two blocks, which is two routes on its peers.
_DEFAULT_BLOCK_SIZE = {4: 26, 6: 122}
# As in Calico: from 4,096 addresses to one.
_BLOCK_SIZES = {4: range(20, 33), 6: range(116, 129)}
# RFC 1123 subdomain, what Kubernetes allows for the names of nodes and pools. No '/', which parts our keys.
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAME_EXPECTED = "expected a DNS subdomain name (lower case, digits, '-', '.')"


class PoolConfig(msgspec.Struct, frozen=True, rename="camel"):
    """A pool as it is written; `reserved` holds addresses, CIDRs and ranges `first-last`."""

    name: str
    cidr: str
    block_size: int | None = None
    reserved: tuple[str, ...] = ()


class IpamConfig(msgspec.Struct, frozen=True, rename="camel"):
    """The `ipam` section; further fields are other plugins'."""

    type: str = "nodeplane-ipam"
    datastore: str = DEFAULT_DATASTORE
    pools: tuple[PoolConfig, ...] = ()


class NetworkConfig(msgspec.Struct, frozen=True, rename="camel"):
    """What IPAM reads of a network configuration; `nodeName` is the host name when it is not given."""

    ipam: IpamConfig
    node_name: str = ""


def build_node_name(config: NetworkConfig) -> str:
    """Return the node's name in Kubernetes' form.

    Raises:
        ConfigError: neither `nodeName` nor the host name can be one.
    """
    # Kubelet does the same with the host name.
    name = config.node_name or os.uname().nodename.lower()
    if not _NAME.fullmatch(name):
        raise ConfigError(PLACE, "nodeName", f"{_NAME_EXPECTED}, got {name!r}")
    return name


def build_pools(config: IpamConfig) -> tuple[Pool, ...]:
    """Return the pools that the section describes, in its order.

    Raises:
        ConfigError: there is none, or one is not valid, or two of them overlap.
    """
    if not config.pools:
        raise ConfigError(PLACE, "ipam.pools", "expected at least one pool")
    pools: list[Pool] = []
    for index, item in enumerate(config.pools):
        field = f"ipam.pools[{index}]"
        pool = _build_pool(item, field)
        for other in pools:
            if other.name == pool.name:
                raise ConfigError(PLACE, f"{field}.name", f"expected each name once, got {pool.name!r} twice")
            if other.network.version != pool.network.version:
                # A request gets one address: a pod must not get IPv6 because IPv4 has run out.
                raise ConfigError(PLACE, f"{field}.cidr", "expected pools of one address family")
            if other.network.overlaps(pool.network):
                raise ConfigError(
                    PLACE, f"{field}.cidr", f"expected pools apart, {pool.network} overlaps {other.network}"
                )
        pools.append(pool)
    return tuple(pools)


def build_pod(args: Mapping[str, str]) -> PodRef:
    """Return the pod that a Kubernetes runtime names in CNI_ARGS."""
    return PodRef(
        namespace=args.get("K8S_POD_NAMESPACE", ""),
        name=args.get("K8S_POD_NAME", ""),
        uid=args.get("K8S_POD_UID", ""),
    )


def decode_datastore(url: str, place: str = PLACE, field: str = "ipam.datastore") -> Path:
    """Return the file that a datastore URL names.

    Raises:
        ConfigError: it is not `sqlite:///absolute/path`.
    """
    scheme, separator, path = url.partition("://")
    if scheme != "sqlite" or not separator or not path.strip("/") or not path.startswith("/"):
        raise ConfigError(place, field, f"expected sqlite:///absolute/path, got {url!r}")
    # POSIX keeps a leading '//' apart; the four slashes of SQLAlchemy's URLs mean the same file as three.
    return Path("/" + path.lstrip("/"))


def _build_pool(item: PoolConfig, field: str) -> Pool:
    if not _NAME.fullmatch(item.name):
        raise ConfigError(PLACE, f"{field}.name", f"{_NAME_EXPECTED}, got {item.name!r}")
    try:
        network = ip_network(item.cidr)
    except ValueError as exc:
        raise ConfigError(PLACE, f"{field}.cidr", f"expected a network: {exc}") from exc
    if "/" not in item.cidr:
        raise ConfigError(PLACE, f"{field}.cidr", f"expected address/prefix length, got {item.cidr!r}")
    sizes = _BLOCK_SIZES[network.version]
    size = _DEFAULT_BLOCK_SIZE[network.version] if item.block_size is None else item.block_size
    if size not in sizes or size < network.prefixlen:
        first = max(sizes[0], network.prefixlen)
        raise ConfigError(
            PLACE,
            f"{field}.blockSize",
            f"expected a prefix length from {first} to {sizes[-1]} for {network}, got {size}",
        )
    reserved = [
        part
        for index, text in enumerate(item.reserved)
        for part in _reserved(text, network, f"{field}.reserved[{index}]")
    ]
    return Pool(item.name, network, size, _collapse(reserved))


def _reserved(text: str, pool: Network, field: str) -> Iterator[Network]:
    """Yield the networks that make up an address, a CIDR or a range `first-last` inside a pool."""
    first, dash, last = text.partition("-")
    try:
        parts = list(_range(first, last)) if dash else [ip_network(text)]
    except (ValueError, TypeError) as exc:
        raise ConfigError(PLACE, field, f"expected an address, a network or first-last: {exc}") from exc
    for part in parts:
        if part.network_address not in pool or part.broadcast_address not in pool:
            raise ConfigError(PLACE, field, f"expected what lies inside {pool}, got {text!r}")
        yield part


def _range(first: str, last: str) -> Iterator[Network]:
    return iter(summarize_address_range(ip_address(first.strip()), ip_address(last.strip())))


def _collapse(networks: list[Network]) -> tuple[Network, ...]:
    return (
        *collapse_addresses(item for item in networks if isinstance(item, IPv4Network)),
        *collapse_addresses(item for item in networks if isinstance(item, IPv6Network)),
    )
