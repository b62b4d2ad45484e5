"""The command line of cni-agent."""

from pathlib import Path

import click

from nodeplane.runtime.cli import common_options, run, start_logging


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@common_options
def program() -> None:
    """Route pod traffic between the nodes of a cluster."""
    start_logging()


@program.command("run")
@click.option("--node-name", required=True, help="This node's name in the cluster.")
@click.option(
    "--config",
    "config_file",
    required=True,
    type=click.Path(path_type=Path),
    help="YAML file with `datastore:`, the URL that nodeplane-cni uses too.",
)
@click.option(
    "--manifests",
    type=click.Path(path_type=Path),
    help="Directory of manifests to take Nodes from; without it there are no other nodes.",
)
def run_command(node_name: str, config_file: Path, manifests: Path | None) -> None:
    """Keep this node's routes in step with the cluster until SIGTERM; they stay in force afterwards."""
    # Late: `--help` needs neither pyroute2 nor SQLite.
    from cni import agent
    from cni.agent_config import read_agent_config
    from nodeplane.kube.manifests import ManifestDirectory
    from nodeplane.runtime.daemon import run_daemon

    config = read_agent_config(config_file)
    source = ManifestDirectory(manifests) if manifests is not None else None
    run_daemon(agent.run(node_name, source, config.datastore))


def main() -> None:
    """Run the program."""
    run(program, "cni-agent")
