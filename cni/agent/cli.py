"""The command line of cni-agent."""

# First: Ctrl-C may come while the rest is imported.
import nodeplane.runtime.interrupt  # noqa: F401

# isort: split
from pathlib import Path

import click

from cni.bgp.cli import bgp_command
from cni.routing.cli import routes_command
from nodeplane.runtime.cli import common_options, run, start_logging
from nodeplane.runtime.option_types import FILE_PATH, NODE_NAME
from nodeplane.runtime.source_options import source_options


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@common_options
def program() -> None:
    """Route pod traffic between the nodes of a cluster."""
    start_logging()


@program.command("run")
@click.option("--node-name", required=True, type=NODE_NAME, help="This node's name in the cluster.")
@click.option(
    "--config",
    "config_file",
    required=True,
    type=FILE_PATH,
    help="YAML file: the datastore that nodeplane-cni uses too, what to install; see docs/cni-agent.md.",
)
@source_options
def run_command(
    node_name: str, config_file: Path, manifests: Path | None, kubeconfig: Path | None, master: str | None
) -> None:
    """Keep this node's routes in step with the cluster until SIGTERM; they stay in force afterwards.

    Once ready, gives the container runtime the plugin and tells the API server, as the configuration says.

    With neither manifests nor a kubeconfig there are no other nodes.
    """
    # Late: `--help` needs neither asyncio nor SQLite.
    from cni.agent import daemon as agent
    from cni.agent.config import read_agent_config, read_files
    from nodeplane.kube.open_source import open_source
    from nodeplane.runtime.daemon import run_daemon

    config = read_agent_config(config_file)
    is_chosen = any(option is not None for option in (manifests, kubeconfig, master))
    source = open_source(manifests, kubeconfig, master) if is_chosen else None
    files = read_files(config, node_name)
    condition, heed_addresses = None, _do_nothing
    if kubeconfig is not None:
        from nodeplane.kube.apiserver import ApiServerSource

        # A directory is in reach whatever the addresses are.
        if isinstance(source, ApiServerSource):
            heed_addresses = source.take_new_addresses
    if kubeconfig is not None and config.node_condition:
        from cni.agent.node_condition import NodeCondition
        from nodeplane.kube.connection import Connection

        condition = NodeCondition(Connection.from_kubeconfig(kubeconfig, master), node_name)
    run_daemon(agent.run(node_name, source, config, files, condition, on_new_addresses=heed_addresses))


def _do_nothing() -> None:
    return


program.add_command(bgp_command)
program.add_command(routes_command)


def main() -> None:
    """Run the program."""
    run(program, "cni-agent")
