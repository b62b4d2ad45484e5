"""A configuration with upstream's defaults where it says nothing (k/k v1alpha1/defaults.go).

To Go an empty word and a zero are nothing: kubeadm writes `syncPeriod: 0s` and means 30 seconds.
"""

from ipaddress import ip_address
from typing import Any, TypeVar

import msgspec

from kubeproxy.config.duration import parse_duration
from kubeproxy.config.model import (
    IPVS,
    ClientConnection,
    IPTables,
    KubeProxyConfiguration,
    Logging,
    NFTables,
)
from kubeproxy.config.settings import HEALTHZ_PORT, METRICS_PORT

S = TypeVar("S", bound=msgspec.Struct)


def complete(config: KubeProxyConfiguration) -> KubeProxyConfiguration:
    """Fill the defaults in."""
    bind_address = config.bind_address or "0.0.0.0"  # noqa: S104
    everywhere, loopback = ("[::]", "[::1]") if _is_ipv6(bind_address) else ("0.0.0.0", "127.0.0.1")  # noqa: S104
    default = KubeProxyConfiguration()
    return msgspec.structs.replace(
        config,
        bind_address=bind_address,
        healthz_bind_address=config.healthz_bind_address or f"{everywhere}:{HEALTHZ_PORT}",
        metrics_bind_address=config.metrics_bind_address or f"{loopback}:{METRICS_PORT}",
        config_sync_period=_period(config.config_sync_period, default.config_sync_period),
        client_connection=_filled(
            config.client_connection, ClientConnection(), "content_type", "qps", "burst"
        ),
        logging=_filled(config.logging, Logging(), "flush_frequency"),
        iptables=_with_periods(config.iptables, IPTables(), "sync_period", "min_sync_period"),
        ipvs=_with_periods(config.ipvs, IPVS(), "sync_period"),
        nftables=_with_periods(config.nftables, NFTables(), "sync_period"),
    )


def _filled(part: S, default: S, *names: str) -> S:
    fresh = {name: getattr(part, name) or getattr(default, name) for name in names}
    return msgspec.structs.replace(part, **fresh)


def _with_periods(part: S, default: S, *names: str) -> S:
    fresh: dict[str, Any] = {name: _period(getattr(part, name), getattr(default, name)) for name in names}
    return msgspec.structs.replace(part, **fresh)


def _period(text: str, default: str) -> str:
    """Return the default for what is no time at all; what is wrong is for `settings` to refuse."""
    try:
        return text if text and parse_duration(text) else default
    except ValueError:
        return text


def _is_ipv6(text: str) -> bool:
    try:
        return ip_address(text).version == 6
    except ValueError:
        return False
