"""Which fields of a configuration this program knows and does nothing about.

Somebody who has set one should learn that from a warning, not from an outage. A field that says what it says
anyway is left alone: tools write whole files of defaults.
"""

from collections.abc import Iterator

import msgspec

from kubeproxy.config.duration import parse_duration
from kubeproxy.config.model import EXTERNAL_IPS_GATE, KubeProxyConfiguration

_FOR_OTHERS = "has no effect in mode nftables"
_FOR_IPTABLES = "has no effect in mode ipvs"
_UNSUPPORTED: dict[tuple[str, ...], str] = {
    ("clientConnection", "acceptContentTypes"): "objects are read as JSON",
    ("clientConnection", "contentType"): "objects are read as JSON",
    ("clientConnection", "qps"): "watches need no limit on requests",
    ("clientConnection", "burst"): "watches need no limit on requests",
    ("logging", "flushFrequency"): "logs are not buffered",
    ("logging", "vmodule"): "there is one verbosity for all modules",
    ("logging", "options"): "logs go to stderr, unbuffered",
    ("enableProfiling",): "there are no pprof pages",
    ("showHiddenMetricsForVersion",): "no metric is hidden",
    ("iptables",): _FOR_OTHERS,
    ("ipvs",): _FOR_OTHERS,
    ("winkernel",): "is for Windows",
    ("configSyncPeriod",): "watches are not refreshed by time",
    ("portRange",): "is unused upstream as well",
    ("windowsRunAsService",): "is for Windows",
}

_UNSUPPORTED_IN_IPVS = {
    **{path: reason for path, reason in _UNSUPPORTED.items() if path not in {("iptables",), ("ipvs",)}},
    ("iptables", "localhostNodePorts"): "node ports are never served on loopback",
    ("iptables", "syncPeriod"): _FOR_IPTABLES,
    ("iptables", "minSyncPeriod"): _FOR_IPTABLES,
}


def find_unsupported(config: KubeProxyConfiguration) -> Iterator[str]:
    """Yield a line for each field that is set to something else than its default, and is of no effect."""
    given, default = (msgspec.to_builtins(each) for each in (config, KubeProxyConfiguration()))
    for name in sorted(config.feature_gates.keys() - {EXTERNAL_IPS_GATE}):
        yield f"featureGates.{name}: there is no such feature gate here"
    unsupported = _UNSUPPORTED if config.mode == "nftables" else _UNSUPPORTED_IN_IPVS
    for path, reason in unsupported.items():
        found, usual = given, default
        for step in path:
            found, usual = found[step], usual[step]
        for field in _differing(".".join(path), found, usual):
            yield f"{field}: {reason}"


def _differing(field: str, found: object, usual: object) -> Iterator[str]:
    if isinstance(found, dict) and isinstance(usual, dict) and usual:
        for name, value in found.items():
            yield from _differing(f"{field}.{name}", value, usual[name])
    elif found != usual and _meaning(found) != _meaning(usual):
        yield field


def _meaning(value: object) -> object:
    """Return what may be written in several ways in one way: `15m` is `15m0s`, and "0" is nothing."""
    try:
        return parse_duration(str(value or 0))
    except ValueError:
        return value
