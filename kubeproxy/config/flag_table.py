"""The flags that stand for fields of the configuration, with upstream's names where upstream has one."""

from typing import Any, get_args

import click
import msgspec

from kubeproxy.config.fields import FieldPath
from kubeproxy.config.model import Mode


class Flag(msgspec.Struct, frozen=True):
    """One flag.

    Attributes:
        kind: What click takes for a type, or between commas: `list` for words, `dict` for `word=true`.
    """

    name: str
    path: FieldPath
    kind: Any
    help: str

    @property
    def parameter(self) -> str:
        """The name that click gives its value."""
        return self.name.removeprefix("--").replace("-", "_")


NO_EFFECT = "Has no effect."

FLAGS = (
    Flag(
        "--metrics-bind-address",
        ("metricsBindAddress",),
        str,
        "Address and port of the metrics server (127.0.0.1:10249); empty for none.",
    ),
    Flag(
        "--healthz-bind-address",
        ("healthzBindAddress",),
        str,
        "Address and port of the health server (0.0.0.0:10256); empty for none.",
    ),
    Flag(
        "--proxy-mode",
        ("mode",),
        click.Choice(get_args(Mode)),
        "How VIPs are programmed (nftables); auto is ipvs where the kernel has it, else nftables.",
    ),
    Flag(
        "--bind-address",
        ("bindAddress",),
        str,
        "The node's primary IP, if not the Node's; nothing is bound to it.",
    ),
    Flag(
        "--bind-address-hard-fail", ("bindAddressHardFail",), bool, "Exit when a port can't be listened on."
    ),
    Flag("--cluster-cidr", ("clusterCIDR",), str, "Pods' addresses: a CIDR, or one of each family."),
    Flag(
        "--detect-local-mode",
        ("detectLocalMode",),
        click.Choice(["ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix"]),
        "How pods of this node are told from others (ClusterCIDR).",
    ),
    Flag(
        "--pod-bridge-interface",
        ("detectLocal", "bridgeInterface"),
        str,
        "The bridge of mode BridgeInterface.",
    ),
    Flag(
        "--pod-interface-name-prefix",
        ("detectLocal", "interfaceNamePrefix"),
        str,
        "How interface names begin in mode InterfaceNamePrefix.",
    ),
    Flag(
        "--masquerade-all", ("nftables", "masqueradeAll"), bool, "Masquerade all connections to cluster IPs."
    ),
    Flag(
        "--nftables-masquerade-bit",
        ("nftables", "masqueradeBit"),
        int,
        "The bit of the packet mark in use (14).",
    ),
    Flag(
        "--sync-period",
        ("nftables", "syncPeriod"),
        str,
        "The longest pause before a failed sync is tried again (30s).",
    ),
    Flag(
        "--nodeport-addresses",
        ("nodePortAddresses",),
        list,
        "Where node ports are served: CIDRs, or 'primary'; everywhere but on loopback if not given.",
    ),
    Flag("--oom-score-adj", ("oomScoreAdj",), int, "This process's oom_score_adj (-999)."),
    Flag(
        "--conntrack-max-per-core",
        ("conntrack", "maxPerCore"),
        int,
        "Connections to track for each core (32768); 0 leaves the limit.",
    ),
    Flag("--conntrack-min", ("conntrack", "min"), int, "Connections to track at least (131072)."),
    Flag(
        "--conntrack-tcp-timeout-established",
        ("conntrack", "tcpEstablishedTimeout"),
        str,
        "How long idle TCP connections are kept (24h); 0 leaves it.",
    ),
    Flag(
        "--conntrack-tcp-timeout-close-wait",
        ("conntrack", "tcpCloseWaitTimeout"),
        str,
        "How long TCP connections in CLOSE_WAIT are kept (1h); 0 leaves it.",
    ),
    Flag(
        "--conntrack-tcp-be-liberal",
        ("conntrack", "tcpBeLiberal"),
        bool,
        "Let TCP packets outside of the window pass as valid.",
    ),
    Flag(
        "--conntrack-udp-timeout", ("conntrack", "udpTimeout"), str, "How long UDP without an answer is kept."
    ),
    Flag(
        "--conntrack-udp-timeout-stream",
        ("conntrack", "udpStreamTimeout"),
        str,
        "How long UDP streams are kept.",
    ),
    Flag("--feature-gates", ("featureGates",), dict, "AllowServiceExternalIPs=false ignores external IPs."),
    Flag("--logging-format", ("logging", "format"), click.Choice(["text", "json"]), "As --log-format."),
    Flag("--v", ("logging", "verbosity"), int, "Verbosity as upstream counts it; 4 and more is debug."),
    Flag("--log-flush-frequency", ("logging", "flushFrequency"), str, NO_EFFECT),
    Flag("--iptables-masquerade-bit", ("iptables", "masqueradeBit"), int, NO_EFFECT),
    Flag("--iptables-localhost-nodeports", ("iptables", "localhostNodePorts"), bool, NO_EFFECT),
    Flag("--iptables-sync-period", ("iptables", "syncPeriod"), str, NO_EFFECT),
    Flag("--iptables-min-sync-period", ("iptables", "minSyncPeriod"), str, NO_EFFECT),
    Flag(
        "--ipvs-sync-period",
        ("ipvs", "syncPeriod"),
        str,
        "Mode ipvs: how often the kernel is compared with what it should be (30s).",
    ),
    Flag(
        "--ipvs-min-sync-period",
        ("ipvs", "minSyncPeriod"),
        str,
        "Mode ipvs: the shortest time between two syncs; 0s is 10 ms.",
    ),
    Flag(
        "--ipvs-scheduler",
        ("ipvs", "scheduler"),
        str,
        "Mode ipvs: the scheduler of Services that name none (rr).",
    ),
    Flag(
        "--ipvs-exclude-cidrs",
        ("ipvs", "excludeCIDRs"),
        list,
        "Mode ipvs: CIDRs whose virtual services are somebody else's.",
    ),
    Flag("--ipvs-strict-arp", ("ipvs", "strictARP"), bool, "Mode ipvs: always so, whatever is said."),
    Flag(
        "--ipvs-tcp-timeout",
        ("ipvs", "tcpTimeout"),
        str,
        "Mode ipvs: how long idle TCP connections are kept; 0 leaves it.",
    ),
    Flag(
        "--ipvs-tcpfin-timeout",
        ("ipvs", "tcpFinTimeout"),
        str,
        "Mode ipvs: how long they are kept after a FIN; 0 leaves it.",
    ),
    Flag(
        "--ipvs-udp-timeout",
        ("ipvs", "udpTimeout"),
        str,
        "Mode ipvs: how long UDP flows are kept; 0 leaves it.",
    ),
    Flag("--kube-api-content-type", ("clientConnection", "contentType"), str, NO_EFFECT),
    Flag("--kube-api-qps", ("clientConnection", "qps"), float, NO_EFFECT),
    Flag("--kube-api-burst", ("clientConnection", "burst"), int, NO_EFFECT),
    Flag("--config-sync-period", ("configSyncPeriod",), str, NO_EFFECT),
    Flag("--profiling", ("enableProfiling",), bool, NO_EFFECT),
    Flag("--show-hidden-metrics-for-version", ("showHiddenMetricsForVersion",), str, NO_EFFECT),
)
FLAGS_BESIDE_FILE = frozenset({"--metrics-bind-address", "--healthz-bind-address", "--proxy-mode"})
"""These count beside a file as well."""
