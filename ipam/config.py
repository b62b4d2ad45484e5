"""The IPAM section of a CNI network configuration: what is written there, and what it means.

Every message names the field as it stands in the configuration, e.g. `ipam.pools[0].cidr`. Fields that are
not here are other plugins'; the section `ipam` is ours alone, so that a field we do not have is a mistake.
"""

import os
from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network

import msgspec

from ipam.host_local import RangeConfig, build_range_sets
from ipam.model import Address, PodRef, Policy, Pool
from ipam.pool_config import NAME_EXPECTED, PoolConfig, build_pools, is_name
from nodeplane.cniresult import Route
from nodeplane.cnispec import PLACE
from nodeplane.errors import ConfigError

DEFAULT_DATASTORE = "sqlite:////var/lib/nodeplane/ipam.sqlite"


class RouteConfig(msgspec.Struct, frozen=True):
    """A route that pods get (SPEC 1.1.0 section 5, `routes`)."""

    dst: str
    gw: str = ""
    mtu: int = 0
    advmss: int = 0
    priority: int = 0
    table: int | None = None
    scope: int | None = None


class KubernetesConfig(msgspec.Struct, frozen=True, rename="camel"):
    """Where annotations and labels are: a directory of manifests, or a kubeconfig (`in-cluster` too)."""

    manifests: str = ""
    kubeconfig: str = ""


class IpamConfig(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The `ipam` section; `subnet` to `dataDir` are host-local's."""

    type: str = "nodeplane-ipam"
    datastore: str = DEFAULT_DATASTORE
    pools: tuple[PoolConfig, ...] = ()
    # As Calico's plugin writes them: which of the pools, by name or CIDR.
    ipv4_pools: tuple[str, ...] = msgspec.field(name="ipv4_pools", default=())
    ipv6_pools: tuple[str, ...] = msgspec.field(name="ipv6_pools", default=())
    strict_affinity: bool = False
    max_blocks_per_node: int = 0
    kubernetes: KubernetesConfig | None = None
    routes: tuple[RouteConfig, ...] = ()
    gateway: str = ""
    resolv_conf: str = ""
    subnet: str = ""
    range_start: str = ""
    range_end: str = ""
    ranges: tuple[tuple[RangeConfig, ...], ...] = ()
    data_dir: str = ""


class RuntimeConfig(msgspec.Struct, frozen=True, rename="camel"):
    """What the runtime fills in for the capabilities `ips` and `ipRanges` (CONVENTIONS.md)."""

    ips: tuple[str, ...] | None = None
    ip_ranges: tuple[tuple[RangeConfig, ...], ...] | None = None


class CniArgs(msgspec.Struct, frozen=True):
    """What an operator asks for in `args.cni` (CONVENTIONS.md)."""

    ips: tuple[str, ...] | None = None


class Args(msgspec.Struct, frozen=True):
    """The `args` section."""

    cni: CniArgs | None = None


class NetworkConfig(msgspec.Struct, frozen=True, rename="camel"):
    """What IPAM reads of a network configuration; `nodeName` is the host name when it is not given."""

    ipam: IpamConfig
    node_name: str = ""
    cni_version: str = "0.1.0"
    runtime_config: RuntimeConfig | None = None
    args: Args | None = None
    # Where Calico's plugin has it; ours is in `ipam`.
    kubernetes: KubernetesConfig | None = None


class Supply(msgspec.Struct, frozen=True):
    """Where addresses come from.

    `pools` is empty when the datastore's pools are meant. With `sets` (pool names) each of them gives one
    address, in that order; otherwise each address family does. `gateways` are what pods of a pool are told;
    `gateway` is for all other pools of its family.
    """

    pools: tuple[Pool, ...] = ()
    sets: tuple[tuple[str, ...], ...] = ()
    gateways: Mapping[str, Address] = {}
    gateway: Address | None = None


def build_node_name(config: NetworkConfig) -> str:
    """Return the node's name in Kubernetes' form.

    Raises:
        ConfigError: neither `nodeName` nor the host name can be one.
    """
    name = config.node_name or default_node_name()
    if not is_name(name):
        raise ConfigError(PLACE, "nodeName", f"{NAME_EXPECTED}, got {name!r}")
    return name


def default_node_name() -> str:
    """Return the host name as kubelet makes a node's name of it."""
    return os.uname().nodename.lower()


def build_supply(config: NetworkConfig) -> Supply:
    """Return where a configuration says that addresses come from.

    Raises:
        ConfigError: a pool or a range is not valid, or there are both.
    """
    ipam = config.ipam
    written = _range_sets(config)
    if written and ipam.pools:
        raise ConfigError(PLACE, "ipam.pools", "expected either pools or host-local's ranges, got both")
    if written:
        return _build_range_supply(written, config.cni_version)
    gateway = None if not ipam.gateway else _decode_address(ipam.gateway, "ipam.gateway")
    items = [_with_gateway(item, gateway) for item in ipam.pools]
    pools = build_pools(items, PLACE, "ipam.pools")
    gateways = {item.name: ip_address(item.gateway) for item in items if item.gateway}
    return Supply(pools=pools, gateways=gateways, gateway=gateway)


def build_policy(config: IpamConfig) -> Policy:
    """Return what the section decides about blocks.

    Raises:
        ConfigError: the limit is negative.
    """
    if config.max_blocks_per_node < 0:
        expected = f"expected a number of blocks, 0 for no limit, got {config.max_blocks_per_node}"
        raise ConfigError(PLACE, "ipam.maxBlocksPerNode", expected)
    return Policy(strict_affinity=config.strict_affinity, max_blocks_per_node=config.max_blocks_per_node)


def build_routes(routes: Sequence[RouteConfig]) -> tuple[Route, ...]:
    """Return the routes that pods get.

    Raises:
        ConfigError: a destination or a gateway is none.
    """
    built = []
    for index, route in enumerate(routes):
        field = f"ipam.routes[{index}]"
        try:
            # As Go's parser does, the host bits of a destination are ignored.
            dst = ip_network(route.dst, strict=False)
        except ValueError as exc:
            raise ConfigError(PLACE, f"{field}.dst", f"expected a network: {exc}") from exc
        gateway = _decode_address(route.gw, f"{field}.gw") if route.gw else None
        built.append(Route(dst, gateway, route.mtu, route.advmss, route.priority, route.table, route.scope))
    return tuple(built)


def build_pod(args: Mapping[str, str]) -> PodRef:
    """Return the pod that a Kubernetes runtime names in CNI_ARGS."""
    return PodRef(
        namespace=args.get("K8S_POD_NAMESPACE", ""),
        name=args.get("K8S_POD_NAME", ""),
        uid=args.get("K8S_POD_UID", ""),
    )


def wanted_addresses(config: NetworkConfig, args: Mapping[str, str]) -> tuple[Address, ...]:
    """Return the addresses that the runtime or an operator asks for, each once, in host-local's order.

    Raises:
        ConfigError: one is no address; names the field or variable.
    """
    named: list[tuple[str, str]] = []
    if args.get("IP"):
        named.append((args["IP"], "CNI_ARGS: IP"))
    in_args = config.args.cni.ips if config.args and config.args.cni else None
    named += [(text, f"args.cni.ips[{index}]") for index, text in enumerate(in_args or ())]
    in_runtime = config.runtime_config.ips if config.runtime_config else None
    named += [(text, f"runtimeConfig.ips[{index}]") for index, text in enumerate(in_runtime or ())]
    # CONVENTIONS.md has them with a prefix length, which the pool knows better.
    found = [_decode_address(text.partition("/")[0], field) for text, field in named]
    return tuple(dict.fromkeys(found))


def _range_sets(config: NetworkConfig) -> list[tuple[str, Sequence[RangeConfig]]]:
    """Return host-local's range sets with their places, in its order: the runtime's, then the old form."""
    ipam = config.ipam
    in_runtime = (config.runtime_config.ip_ranges if config.runtime_config else None) or ()
    written: list[tuple[str, Sequence[RangeConfig]]] = [
        (f"runtimeConfig.ipRanges[{index}]", item) for index, item in enumerate(in_runtime)
    ]
    if ipam.subnet:
        old = RangeConfig(ipam.subnet, ipam.range_start, ipam.range_end, ipam.gateway)
        written.append(("ipam", (old,)))
    return written + [(f"ipam.ranges[{index}]", item) for index, item in enumerate(ipam.ranges)]


def _build_range_supply(written: list[tuple[str, Sequence[RangeConfig]]], version: str) -> Supply:
    sets = build_range_sets([item for _, item in written], [field for field, _ in written])
    families = [ranges[0].pool.network.version for ranges in sets]
    # Results before 0.3.0 have room for one address of each family.
    if version in {"", "0.1.0", "0.2.0"} and len(set(families)) < len(families):
        expected = f"expected one range set of each family, CNI {version or '0.1.0'} has room for no more"
        raise ConfigError(PLACE, "ipam.ranges", expected)
    ranges = [item for built in sets for item in built]
    return Supply(
        pools=tuple(item.pool for item in ranges),
        sets=tuple(tuple(item.pool.name for item in built) for built in sets),
        gateways={item.pool.name: item.gateway for item in ranges},
    )


def _with_gateway(item: PoolConfig, gateway: Address | None) -> PoolConfig:
    """Give a pool the section's gateway, unless it has one or is of the other family."""
    is_ipv6 = ":" in item.cidr
    if gateway is None or item.gateway or is_ipv6 != (gateway.version == 6):
        return item
    return msgspec.structs.replace(item, gateway=str(gateway))


def _decode_address(text: str, field: str) -> Address:
    try:
        return ip_address(text)
    except ValueError as exc:
        raise ConfigError(PLACE, field, f"expected an address: {exc}") from exc
