"""KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1) as it is written, with upstream's defaults.

All fields of v1.36 are here, also those that mean nothing to this program: an unknown field is a mistake, a
known one is not. What the words mean is decided in `settings`, which of them are left out in `unsupported`.
"""

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

API_VERSION = "kubeproxy.config.k8s.io/v1alpha1"
KIND = "KubeProxyConfiguration"

EXTERNAL_IPS_GATE = "AllowServiceExternalIPs"
"""The feature gate that can turn `externalIPs` off: who may write a Service takes an address with them."""

Mode: TypeAlias = Literal["nftables", "ipvs", "auto"]
"""`auto`, which is ours: ipvs where the kernel has it, else nftables."""
Count: TypeAlias = Annotated[int, Meta(ge=0)]
MasqueradeBit: TypeAlias = Annotated[int, Meta(ge=0, le=31)]
LocalMode: TypeAlias = Literal["ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix"]


class _Part(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A part of the configuration."""


class ClientConnection(_Part, frozen=True):
    """How to reach the API server (component-base v1alpha1 ClientConnectionConfiguration)."""

    kubeconfig: str = ""
    accept_content_types: str = ""
    content_type: str = "application/vnd.kubernetes.protobuf"
    qps: float = 5.0
    burst: Count = 10


class VModule(_Part, frozen=True):
    """The verbosity of one source file."""

    file_pattern: str
    verbosity: Count = 0


class OutputOptions(_Part, frozen=True):
    """Buffers of one log format; a size may carry a unit."""

    split_stream: bool = False
    info_buffer_size: int | str = 0


class FormatOptions(_Part, frozen=True):
    """The options of each log format."""

    text: OutputOptions = OutputOptions()
    json: OutputOptions = OutputOptions()


class Logging(_Part, frozen=True):
    """How to log (component-base LoggingConfiguration)."""

    format: Literal["text", "json"] = "text"
    flush_frequency: int | str = "5s"
    verbosity: Count = 0
    vmodule: tuple[VModule, ...] = ()
    options: FormatOptions = FormatOptions()


class IPTables(_Part, frozen=True):
    """The settings of mode iptables."""

    masquerade_bit: MasqueradeBit = 14
    masquerade_all: bool = False
    localhost_node_ports: bool = True
    sync_period: str = "30s"
    min_sync_period: str = "1s"


class IPVS(_Part, frozen=True):
    """The settings of mode ipvs."""

    sync_period: str = "30s"
    min_sync_period: str = "0s"
    scheduler: str = ""
    exclude_cidrs: tuple[str, ...] = msgspec.field(name="excludeCIDRs", default=())
    strict_arp: bool = msgspec.field(name="strictARP", default=False)
    tcp_timeout: str = "0s"
    tcp_fin_timeout: str = "0s"
    udp_timeout: str = "0s"


class NFTables(_Part, frozen=True):
    """The settings of mode nftables."""

    masquerade_bit: MasqueradeBit = 14
    masquerade_all: bool = False
    sync_period: str = "30s"
    min_sync_period: str = "0s"


class Winkernel(_Part, frozen=True):
    """The settings of mode kernelspace, on Windows."""

    network_name: str = ""
    source_vip: str = ""
    enable_dsr: bool = msgspec.field(name="enableDSR", default=False)
    root_hns_endpoint_name: str = ""
    forward_health_check_vip: bool = False


class DetectLocal(_Part, frozen=True):
    """What the modes that go by an interface need."""

    bridge_interface: str = ""
    interface_name_prefix: str = ""


class Conntrack(_Part, frozen=True):
    """Limits and timeouts of connection tracking; 0 leaves the kernel's."""

    max_per_core: Count = 32 * 1024
    min: Count = 128 * 1024
    tcp_established_timeout: str = "24h0m0s"
    tcp_close_wait_timeout: str = "1h0m0s"
    tcp_be_liberal: bool = False
    udp_timeout: str = "0s"
    udp_stream_timeout: str = "0s"


class KubeProxyConfiguration(_Part, frozen=True):
    """The whole file."""

    api_version: str = API_VERSION
    kind: str = KIND
    feature_gates: dict[str, bool] = msgspec.field(default_factory=dict)
    client_connection: ClientConnection = ClientConnection()
    logging: Logging = Logging()
    hostname_override: str = ""
    bind_address: str = "0.0.0.0"  # noqa: S104  # which upstream's documentation says: no socket is bound to it
    healthz_bind_address: str = ""
    metrics_bind_address: str = ""
    bind_address_hard_fail: bool = False
    enable_profiling: bool = False
    show_hidden_metrics_for_version: str = ""
    mode: Mode = "nftables"
    iptables: IPTables = IPTables()
    ipvs: IPVS = IPVS()
    nftables: NFTables = NFTables()
    winkernel: Winkernel = Winkernel()
    detect_local_mode: LocalMode = "ClusterCIDR"
    detect_local: DetectLocal = DetectLocal()
    cluster_cidr: str = msgspec.field(name="clusterCIDR", default="")
    node_port_addresses: tuple[str, ...] = ()
    oom_score_adj: Annotated[int, Meta(ge=-1000, le=1000)] = -999
    conntrack: Conntrack = Conntrack()
    config_sync_period: str = "15m0s"
    port_range: str = ""
    windows_run_as_service: bool = False
