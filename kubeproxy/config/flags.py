"""The flags that stand for fields of the configuration, with upstream's names where upstream has one.

A flag is a place in the configuration: what it may hold is checked there, and an error names the flag.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_args

import click
import msgspec

from kubeproxy.config.complete import complete
from kubeproxy.config.fields import FieldError, FieldPath
from kubeproxy.config.model import KubeProxyConfiguration, Mode
from kubeproxy.config.settings import build_settings
from nodeplane.errors import ConfigError

F = TypeVar("F", bound=Callable[..., Any])


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


_NO_EFFECT = "Has no effect."

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
    Flag("--log-flush-frequency", ("logging", "flushFrequency"), str, _NO_EFFECT),
    Flag("--iptables-masquerade-bit", ("iptables", "masqueradeBit"), int, _NO_EFFECT),
    Flag("--iptables-localhost-nodeports", ("iptables", "localhostNodePorts"), bool, _NO_EFFECT),
    Flag("--iptables-sync-period", ("iptables", "syncPeriod"), str, _NO_EFFECT),
    Flag("--iptables-min-sync-period", ("iptables", "minSyncPeriod"), str, _NO_EFFECT),
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
    Flag("--kube-api-content-type", ("clientConnection", "contentType"), str, _NO_EFFECT),
    Flag("--kube-api-qps", ("clientConnection", "qps"), float, _NO_EFFECT),
    Flag("--kube-api-burst", ("clientConnection", "burst"), int, _NO_EFFECT),
    Flag("--config-sync-period", ("configSyncPeriod",), str, _NO_EFFECT),
    Flag("--profiling", ("enableProfiling",), bool, _NO_EFFECT),
    Flag("--show-hidden-metrics-for-version", ("showHiddenMetricsForVersion",), str, _NO_EFFECT),
)

FLAGS_BESIDE_FILE = frozenset({"--metrics-bind-address", "--healthz-bind-address", "--proxy-mode"})
"""These count beside a file as well."""

MIN_SYNC_INTERVAL = "--min-sync-interval"
"""Ours, in seconds: to upstream's minSyncPeriod 0 is a second, and there is no reason to wait that long."""

_TRUTHS = {"true": True, "false": False}

_NAMES = {flag.path: flag.name for flag in FLAGS}

Given = Mapping[str, Any]
"""The value of each flag that was given, by the name of the flag."""


def keep_given(context: click.Context, param: click.Parameter, value: Any) -> None:
    """Keep an option that was given among the command's `flags`: a click callback."""
    if value is not None:
        context.params.setdefault("flags", {})[param.opts[0]] = value


def config_flags(command: F) -> F:
    """Add the flags; the command gets those that were given as `flags`."""
    for flag in reversed(FLAGS):
        # As Go's: `--x`, `--x=true` and `--x=false` are all a bool's.
        extra: dict[str, Any] = {"is_flag": False, "flag_value": "true"} if flag.kind is bool else {}
        command = click.option(
            flag.name,
            flag.parameter,
            type=str if flag.kind in {list, dict} else flag.kind,
            expose_value=False,
            callback=keep_given,
            help=flag.help,
            hidden=flag.help == _NO_EFFECT,
            **extra,
        )(command)
    return command


def config_from_flags(given: Given) -> KubeProxyConfiguration:
    """Build the configuration that flags describe, with the defaults filled in.

    Raises:
        ConfigError: a flag's value is wrong; names the flag and what is expected.
    """
    return _with_flags(KubeProxyConfiguration(), given)


def override_from_flags(config: KubeProxyConfiguration, given: Given) -> KubeProxyConfiguration:
    """Put what those flags say that count beside a file in place of what the file says.

    Raises:
        ConfigError: a flag's value is wrong.
    """
    return _with_flags(config, {name: value for name, value in given.items() if name in FLAGS_BESIDE_FILE})


def is_turned_off(given: Given, name: str) -> bool:
    """Say whether a flag was given without a value, which for an address means: none."""
    return given.get(name) == ""


def _with_flags(config: KubeProxyConfiguration, given: Given) -> KubeProxyConfiguration:
    raw = msgspec.to_builtins(config)
    for flag in FLAGS:
        if flag.name in given:
            value = given[flag.name]
            part = raw
            for step in flag.path[:-1]:
                part = part[step]
            part[flag.path[-1]] = _read(flag, value)
            # One by one, so that what msgspec refuses is this flag's.
            try:
                msgspec.convert(raw, KubeProxyConfiguration)
            except msgspec.ValidationError as exc:
                raise ConfigError(flag.name, "", _lowered(str(exc)) + f", got {value!r}") from exc
    fresh = complete(msgspec.convert(raw, KubeProxyConfiguration))
    try:
        build_settings(fresh)
    except FieldError as exc:
        name = _NAMES.get(exc.path)
        raise ConfigError(name or ".".join(exc.path), "", exc.expected) from exc
    return fresh


def _read(flag: Flag, value: Any) -> Any:
    """Return what a flag's text means.

    Raises:
        ConfigError: a word has no value.
    """
    if flag.kind not in {list, dict}:
        return value
    words = [word.strip() for word in value.split(",") if word.strip()]
    if flag.kind is list:
        return words
    found = {}
    for word in words:
        name, _, truth = word.partition("=")
        if not name or truth not in _TRUTHS:
            raise ConfigError(flag.name, "", f"expected NAME=true or NAME=false, got {word!r}")
        found[name] = _TRUTHS[truth]
    return found


def _lowered(refusal: str) -> str:
    words = refusal.partition(" - at ")[0]
    return words[:1].lower() + words[1:]
