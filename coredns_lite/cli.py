"""The command line of coredns-lite."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click

from coredns_lite import daemon
from coredns_lite.config import Listener, Origin, Plugins, decode_config
from coredns_lite.corefile import read_corefile
from nodeplane.kube.open_source import open_source
from nodeplane.kube.source import Source
from nodeplane.runtime.cli import common_options, output_option, run, start_logging
from nodeplane.runtime.daemon import run_daemon
from nodeplane.runtime.option_types import FILE_PATH
from nodeplane.runtime.output import Row, print_result

F = TypeVar("F", bound=Callable[..., Any])


def _conf_option(command: F) -> F:
    return click.option(
        "--conf",
        "corefile",
        required=True,
        type=FILE_PATH,
        help="The Corefile: server blocks and their plugins.",
    )(command)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@common_options
def program() -> None:
    """Answer DNS queries for the names of a cluster's Services."""
    start_logging()


@program.command("run")
@_conf_option
def run_command(corefile: Path) -> None:
    """Serve until SIGTERM."""
    run_daemon(daemon.run(decode_config(read_corefile(corefile)), _open_cluster))


@program.command()
@_conf_option
@output_option
def check(corefile: Path, output: str) -> None:
    """Check a Corefile and print what it serves: a line for each zone on each address and port."""
    print_result(list(_describe(decode_config(read_corefile(corefile)))), output)


def _open_cluster(origin: Origin) -> Source:
    return open_source(origin.manifests, origin.kubeconfig)


def _describe(listeners: tuple[Listener, ...]) -> Iterator[Row]:
    for listener in listeners:
        for site in listener.sites:
            yield {
                "address": listener.address or "*",
                "port": listener.port,
                "zone": site.zone,
                "plugins": _plugin_names(site.plugins),
            }


def _plugin_names(plugins: Plugins) -> list[str]:
    return [name for name in plugins.__struct_fields__ if getattr(plugins, name)]


def main() -> None:
    """Run the program."""
    run(program, "coredns-lite")
