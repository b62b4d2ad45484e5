"""What the command line of `run`, `once` and `plan` says, the configuration file put to it."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from kubeproxy.config.flags import Given, config_flags
from kubeproxy.config.resolve import Resolved, resolve, resolve_kubeconfig, resolve_node_name
from kubeproxy.proxier import selectors
from nodeplane.kube.open_source import open_source
from nodeplane.kube.source import Source
from nodeplane.runtime.log import setup_logging
from nodeplane.runtime.option_types import FILE_PATH, NODE_NAME
from nodeplane.runtime.source_options import source_options

if TYPE_CHECKING:
    from nodeplane.kube.event_writer import EventWriter

F = TypeVar("F", bound=Callable[..., Any])

# The verbosity at which klog's users expect debug output.
_DEBUG_VERBOSITY = 4


class Inputs(msgspec.Struct, frozen=True):
    """What the options of `run`, `once` and `plan` come to."""

    node_name: str
    resolved: Resolved
    flags: Given
    manifests: Path | None
    kubeconfig: Path | None
    master: str | None

    def open_source(self, *, within_s: float | None = None) -> Source:
        """Open the source of cluster state.

        Raises:
            ConfigError: what the user chose is wrong, as far as that shows without asking a server.
        """
        if self.kubeconfig is not None and self.manifests is None:
            from nodeplane.kube.kubeconfig import read_target

            read_target(self.kubeconfig, self.master)
        return open_source(
            self.manifests,
            self.kubeconfig,
            self.master,
            selectors(self.node_name),
            snapshot_within_s=within_s,
        )

    def open_events(self) -> "EventWriter | None":
        """Open what writes events, where there is an API server to write them to."""
        if self.kubeconfig is None:
            return None
        from nodeplane.kube.connection import Connection
        from nodeplane.kube.event_writer import EventWriter

        connection = Connection.from_kubeconfig(self.kubeconfig, self.master)
        return EventWriter(connection, "kube-proxy", self.node_name)


def input_options(command: F) -> F:
    """Give a command the options that say what it works on, and how."""
    for option in (
        click.option(
            "--node-name",
            "--hostname-override",
            "node_name",
            type=NODE_NAME,
            help="This node's name in the cluster; else the file's hostnameOverride, else the host name.",
        ),
        source_options,
        click.option(
            "--config",
            "config_file",
            type=FILE_PATH,
            help="KubeProxyConfiguration file; beside it of the flags below only addresses and mode count.",
        ),
        config_flags,
    ):
        command = option(command)
    return command


def resolve_options(options: dict[str, Any]) -> Resolved:
    """Put file and flags together; the file says how to log where the command line does not."""
    resolved = resolve(options["config_file"], options.get("flags", {}))
    said = click.get_current_context().ensure_object(dict)
    logging_ = resolved.config.logging
    setup_logging(
        said.get("log_format") or ("json" if logging_.format == "json" else "text"),
        said.get("verbose") or int(logging_.verbosity >= _DEBUG_VERBOSITY),
    )
    return resolved


def build_inputs(resolved: Resolved, options: dict[str, Any]) -> Inputs:
    """Say what the options come to, the file's part being resolved."""
    manifests = options["manifests"]
    return Inputs(
        resolve_node_name(options["node_name"], resolved.config),
        resolved,
        options.get("flags", {}),
        manifests,
        resolve_kubeconfig(manifests, options["kubeconfig"], resolved.config),
        options["master"],
    )
