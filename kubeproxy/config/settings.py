"""What the configuration means to this program: values of the right types, checked, nothing left to guess.

The rules' options are built here too, for each address family (`build_rule_options`): in mode NodeCIDR they
need the node's pod networks, which are known later than the rest.
"""

from collections.abc import Iterable
from typing import Literal, TypeAlias, get_args

import msgspec

from kubeproxy.config.fields import (
    FieldError,
    FieldPath,
    read_address,
    read_duration_s,
    read_interface,
    read_listen_address,
    read_networks,
)
from kubeproxy.config.model import EXTERNAL_IPS_GATE, IPVS, Conntrack, KubeProxyConfiguration, Mode, NFTables
from kubeproxy.desired.annotations import Scheduler
from kubeproxy.rules.addresses import Address, Network, family_of
from kubeproxy.rules.rule_options import LocalDetector, RuleOptions, SourceInterface, SourceNetwork
from nodeplane.datapath.ipvs.service import Timeouts
from nodeplane.datapath.nft.expr import Family
from nodeplane.dnsname import is_subdomain
from nodeplane.runtime.listen import ListenAddress

HEALTHZ_PORT, METRICS_PORT = 10256, 10249

DEFAULT_MIN_SYNC_INTERVAL_S = 0.01

DetectLocalMode: TypeAlias = Literal["ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix"]


class LocalTraffic(msgspec.Struct, frozen=True):
    """How this node's pods are recognized: by `networks` (of the cluster) or by `interface`."""

    mode: DetectLocalMode = "ClusterCIDR"
    networks: tuple[Network, ...] = ()
    interface: str = ""


class NodePortAddresses(msgspec.Struct, frozen=True):
    """Where node ports are served; with neither on all addresses but loopback ones.

    `networks` count for their own family: the other one is served everywhere, as upstream has it.
    """

    is_primary: bool = False
    networks: tuple[Network, ...] = ()

    def is_everywhere(self, family: Family) -> bool:
        """Whether all of the node's addresses of a family are meant."""
        mine = [network for network in self.networks if family_of(network) == family]
        return not self.is_primary and (not mine or any(network.prefixlen == 0 for network in mine))


class ConntrackSettings(msgspec.Struct, frozen=True):
    """Limits and timeouts; 0 leaves the kernel's."""

    max_per_core: int = 0
    minimum: int = 0
    tcp_established_timeout_s: int = 0
    tcp_close_wait_timeout_s: int = 0
    tcp_be_liberal: bool = False
    udp_timeout_s: int = 0
    udp_stream_timeout_s: int = 0


class IpvsSettings(msgspec.Struct, frozen=True):
    """What concerns mode ipvs alone.

    Attributes:
        scheduler: Of Services that name none.
        excluded: Networks whose virtual services are somebody else's.
        timeouts: Of idle connections; 0 leaves the kernel's.
    """

    scheduler: str = "rr"
    excluded: tuple[Network, ...] = ()
    timeouts: Timeouts = Timeouts(0, 0, 0)


class Settings(msgspec.Struct, frozen=True):
    """The settings of `kubeproxy run`; an address to listen on that is None is not listened on.

    Attributes:
        node_ips: Stand in for the Node's own addresses, each in its family (bindAddress).
        sync_period_s: The longest pause before a failed sync is tried again; a change that waits twice as
            long makes the proxy unhealthy.
    """

    masquerade_bit: int = 14
    masquerade_all: bool = False
    local_traffic: LocalTraffic = LocalTraffic()
    node_port_addresses: NodePortAddresses = NodePortAddresses()
    node_ips: tuple[Address, ...] = ()
    allows_external_ips: bool = True
    healthz: ListenAddress | None = None
    metrics: ListenAddress | None = None
    must_listen: bool = False
    sync_period_s: float = 30.0
    min_sync_interval_s: float = DEFAULT_MIN_SYNC_INTERVAL_S
    oom_score_adj: int | None = None
    conntrack: ConntrackSettings = ConntrackSettings()
    mode: Mode = "nftables"
    ipvs: IpvsSettings = IpvsSettings()


def build_settings(config: KubeProxyConfiguration) -> Settings:
    """Read the words of a configuration whose defaults are filled in (`complete`).

    Raises:
        FieldError: a word is none of those that its field takes.
    """
    bind_address = read_address(("bindAddress",), config.bind_address)
    if config.hostname_override and not is_subdomain(config.hostname_override.strip().lower()):
        raise FieldError(("hostnameOverride",), "expected the name of a Node")
    nftables, iptables = config.nftables, config.iptables
    # Where it may come to that: `auto` is either.
    is_ipvs = config.mode != "nftables"
    section, periods = ("ipvs", config.ipvs) if is_ipvs else ("nftables", nftables)
    sync_period_s = read_duration_s((section, "syncPeriod"), periods.sync_period, is_positive=True)
    min_sync_period_s = read_duration_s((section, "minSyncPeriod"), periods.min_sync_period)
    if min_sync_period_s > sync_period_s:
        raise FieldError((section, "minSyncPeriod"), f"expected at most syncPeriod, {periods.sync_period}")
    # In mode ipvs upstream reads both where mode iptables has them; here either place will do.
    bit = iptables.masquerade_bit if is_ipvs else nftables.masquerade_bit
    if nftables.masquerade_bit != NFTables().masquerade_bit:
        bit = nftables.masquerade_bit
    return Settings(
        masquerade_bit=bit,
        masquerade_all=nftables.masquerade_all or (is_ipvs and iptables.masquerade_all),
        local_traffic=_read_local_traffic(config),
        node_port_addresses=_read_node_port_addresses(config.node_port_addresses),
        node_ips=() if bind_address.is_unspecified else (bind_address,),
        allows_external_ips=config.feature_gates.get(EXTERNAL_IPS_GATE, True),
        healthz=read_listen_address(("healthzBindAddress",), config.healthz_bind_address, HEALTHZ_PORT),
        metrics=read_listen_address(("metricsBindAddress",), config.metrics_bind_address, METRICS_PORT),
        must_listen=config.bind_address_hard_fail,
        sync_period_s=sync_period_s,
        min_sync_interval_s=min_sync_period_s or DEFAULT_MIN_SYNC_INTERVAL_S,
        oom_score_adj=config.oom_score_adj,
        conntrack=_read_conntrack(config.conntrack),
        mode=config.mode,
        ipvs=_read_ipvs(config.ipvs) if is_ipvs else IpvsSettings(),
    )


def build_rule_options(settings: Settings, family: Family, pod_networks: Iterable[Network]) -> RuleOptions:
    """Say what the rules of one family depend on; `pod_networks` are the Node's (mode NodeCIDR)."""
    return RuleOptions(
        masquerade_bit=settings.masquerade_bit,
        masquerade_all=settings.masquerade_all,
        local_detector=_build_detector(settings.local_traffic, family, pod_networks),
        node_port_everywhere=settings.node_port_addresses.is_everywhere(family),
    )


def _build_detector(local: LocalTraffic, family: Family, pod_networks: Iterable[Network]) -> LocalDetector:
    if local.interface:
        return SourceInterface(local.interface, is_prefix=local.mode == "InterfaceNamePrefix")
    networks = pod_networks if local.mode == "NodeCIDR" else local.networks
    mine = (network for network in networks if family_of(network) == family)
    return next((SourceNetwork(network) for network in mine), None)


def _read_local_traffic(config: KubeProxyConfiguration) -> LocalTraffic:
    mode = config.detect_local_mode
    path = ("clusterCIDR",)
    networks = read_networks(path, config.cluster_cidr.split(",") if config.cluster_cidr else ())
    if len(networks) > 2 or len({network.version for network in networks}) != len(networks):
        raise FieldError(
            path, "expected one CIDR, or one of each family, such as 10.244.0.0/16,fd00:10:244::/56"
        )
    interface = ""
    if mode == "BridgeInterface":
        name = config.detect_local.bridge_interface
        interface = read_interface(("detectLocal", "bridgeInterface"), name, mode)
    elif mode == "InterfaceNamePrefix":
        name = config.detect_local.interface_name_prefix
        interface = read_interface(("detectLocal", "interfaceNamePrefix"), name, mode)
    return LocalTraffic(mode, networks if mode == "ClusterCIDR" else (), interface)


def _read_node_port_addresses(texts: tuple[str, ...]) -> NodePortAddresses:
    path = ("nodePortAddresses",)
    if "primary" in texts:
        if len(texts) > 1:
            raise FieldError(path, "expected 'primary' alone, or CIDRs")
        return NodePortAddresses(is_primary=True)
    return NodePortAddresses(networks=read_networks(path, texts))


def _read_ipvs(ipvs: IPVS) -> IpvsSettings:
    scheduler = ipvs.scheduler or "rr"
    if scheduler not in get_args(Scheduler):
        raise FieldError(("ipvs", "scheduler"), f"expected {' or '.join(get_args(Scheduler))}")
    return IpvsSettings(
        scheduler,
        read_networks(("ipvs", "excludeCIDRs"), ipvs.exclude_cidrs),
        Timeouts(
            tcp_s=_read_whole_s(("ipvs", "tcpTimeout"), ipvs.tcp_timeout),
            tcp_fin_s=_read_whole_s(("ipvs", "tcpFinTimeout"), ipvs.tcp_fin_timeout),
            udp_s=_read_whole_s(("ipvs", "udpTimeout"), ipvs.udp_timeout),
        ),
    )


def _read_whole_s(path: FieldPath, text: str) -> int:
    # The kernel counts in seconds; less than one would mean "leave as it is".
    return -int(-read_duration_s(path, text) // 1)


def _read_conntrack(conntrack: Conntrack) -> ConntrackSettings:
    def whole_s(name: str, text: str) -> int:
        return _read_whole_s(("conntrack", name), text)

    return ConntrackSettings(
        max_per_core=conntrack.max_per_core,
        minimum=conntrack.min,
        tcp_established_timeout_s=whole_s("tcpEstablishedTimeout", conntrack.tcp_established_timeout),
        tcp_close_wait_timeout_s=whole_s("tcpCloseWaitTimeout", conntrack.tcp_close_wait_timeout),
        tcp_be_liberal=conntrack.tcp_be_liberal,
        udp_timeout_s=whole_s("udpTimeout", conntrack.udp_timeout),
        udp_stream_timeout_s=whole_s("udpStreamTimeout", conntrack.udp_stream_timeout),
    )
