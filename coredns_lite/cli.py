"""The command line of coredns-lite."""

# First: Ctrl-C may come while the rest is imported.
import nodeplane.runtime.interrupt  # noqa: F401

# isort: split
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click

from coredns_lite.config import Listener, decode_config
from coredns_lite.corefile.parser import read_corefile
from coredns_lite.daemon import Daemon
from coredns_lite.plugins import PLUGINS
from nodeplane.runtime.cli import common_options, output_option, run, start_logging
from nodeplane.runtime.daemon import run_daemon
from nodeplane.runtime.loading import begin_loading
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
    """Serve until SIGTERM; SIGUSR1 reloads the Corefile."""
    begin_loading()
    daemon = Daemon(corefile)
    run_daemon(daemon.run(), daemon.leave)


@program.command()
@_conf_option
@output_option
def check(corefile: Path, output: str) -> None:
    """Check a Corefile and print what it serves: a line for each zone on each address and port."""
    print_result(list(_describe(decode_config(read_corefile(corefile)))), output)


def _describe(listeners: tuple[Listener, ...]) -> Iterator[Row]:
    for listener in listeners:
        for site in listener.sites:
            yield {
                "address": listener.address or "*",
                "port": listener.port,
                "zone": site.zone,
                "plugins": [name for name in PLUGINS if name in site.plugins],
            }


def main() -> None:
    """Run the program."""
    run(program, "coredns-lite")
