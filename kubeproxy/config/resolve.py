"""From the command line and the file to one configuration: which of the two counts where.

As upstream: beside a file other flags count for nothing, which is said. Excepted are the node's name, where
cluster state comes from, how to log, and (this program's own contract) the two addresses to listen on and the
mode.
"""

import logging
import os
from pathlib import Path

import msgspec

from kubeproxy.config.file import read_config
from kubeproxy.config.flag_table import FLAGS_BESIDE_FILE
from kubeproxy.config.flags import (
    MIN_SYNC_INTERVAL,
    Given,
    config_from_flags,
    is_turned_off,
    override_from_flags,
)
from kubeproxy.config.model import KubeProxyConfiguration
from kubeproxy.config.settings import Settings, build_settings
from kubeproxy.config.unsupported import find_unsupported
from nodeplane.dnsname import is_subdomain
from nodeplane.errors import ConfigError
from nodeplane.file_watch import FileWatch

log = logging.getLogger(__name__)


class Resolved(msgspec.Struct, frozen=True):
    """The configuration in force, what it means, and the watch over the file that it comes from."""

    config: KubeProxyConfiguration
    settings: Settings
    watch: FileWatch[KubeProxyConfiguration] | None = None


def resolve(file: Path | None, given: Given) -> Resolved:
    """Put file and flags together; what counts for nothing is named in the log.

    Raises:
        ConfigError: the file or a flag is wrong.
    """
    watch = None
    if file is None:
        config = config_from_flags(given)
    else:
        from_file = read_config(file)
        watch = FileWatch(file, read_config, from_file)
        config = override_from_flags(from_file, given)
        for name in sorted(given.keys() - FLAGS_BESIDE_FILE):
            log.warning("flag ignored beside --config flag=%s", name)
    for line in find_unsupported(config):
        log.warning("configuration without effect %s", line)
    settings = build_settings(config)
    if file is None and MIN_SYNC_INTERVAL in given:
        settings = msgspec.structs.replace(settings, min_sync_interval_s=given[MIN_SYNC_INTERVAL])
    if is_turned_off(given, "--metrics-bind-address"):
        settings = msgspec.structs.replace(settings, metrics=None)
    if is_turned_off(given, "--healthz-bind-address"):
        settings = msgspec.structs.replace(settings, healthz=None)
    return Resolved(config, settings, watch)


def resolve_node_name(given: str | None, config: KubeProxyConfiguration) -> str:
    """Return this node's name: the flag's, or else the file's, or else the host's.

    Raises:
        ConfigError: there is neither of the first two, and the host's name can't be a Node's.
    """
    name = given or config.hostname_override.strip().lower()
    if name:
        return name
    # As kubelet and upstream's proxy do (k/k pkg/util/node).
    name = os.uname().nodename.strip().lower()
    if not is_subdomain(name):
        raise ConfigError("--node-name", "", f"expected, since the host name {name!r} can't be a Node's")
    return name


def resolve_kubeconfig(
    manifests: Path | None, kubeconfig: Path | None, config: KubeProxyConfiguration
) -> Path | None:
    """Return the kubeconfig to use: the flag's, or where no source was chosen the file's."""
    if manifests is None and kubeconfig is None and config.client_connection.kubeconfig:
        return Path(config.client_connection.kubeconfig)
    return kubeconfig


def write_config(config: KubeProxyConfiguration, file: Path) -> None:
    """Write a configuration as a file that `--config` takes.

    Raises:
        ConfigError: the file can't be written.
    """
    import yaml

    try:
        file.write_text(yaml.safe_dump(msgspec.to_builtins(config), sort_keys=False), encoding="utf-8")
    except OSError as exc:
        raise ConfigError(str(file), "", f"expected a file to write to: {exc.strerror}") from exc
