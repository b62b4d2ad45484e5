"""The command line of kubeproxy."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, aclosing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from kubeproxy.daemon import Daemon
from kubeproxy.layout import TABLE, read_services
from kubeproxy.proxier import FAMILIES, SELECTORS, WATCHED, FamilyProxier, Proxier
from kubeproxy.report import describe_plan, describe_services
from kubeproxy.skeleton import build_skeleton
from nodeplane.datapath.nft.kernel import KernelTable
from nodeplane.kube.open_source import open_source
from nodeplane.kube.source import Source
from nodeplane.runtime.cli import common_options, output_option, run, start_logging
from nodeplane.runtime.daemon import run_daemon
from nodeplane.runtime.option_types import NODE_NAME
from nodeplane.runtime.output import print_result
from nodeplane.runtime.source_options import source_options

F = TypeVar("F", bound=Callable[..., Any])

# `once` and `plan` don't wait for an API server for ever.
_SNAPSHOT_WITHIN_S = 60.0


def _input_options(command: F) -> F:
    for option in (
        click.option("--node-name", required=True, type=NODE_NAME, help="This node's name in the cluster."),
        source_options,
        click.option(
            "--proxy-mode",
            # One mode so far: there is nothing to pass on.
            expose_value=False,
            type=click.Choice(["nftables"]),
            default="nftables",
            show_default=True,
            help="How VIPs are programmed.",
        ),
    ):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@common_options
def program() -> None:
    """Program the service VIPs of this network namespace into nftables."""
    start_logging()


@program.command("run")
@_input_options
@click.option(
    "--min-sync-interval",
    default=0.01,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Seconds between two syncs; changes in between are written together.",
)
def run_command(
    node_name: str,
    manifests: Path | None,
    kubeconfig: Path | None,
    master: str | None,
    min_sync_interval: float,
) -> None:
    """Keep the kernel in step with the cluster until SIGTERM; the rules stay in force afterwards."""
    source = open_source(manifests, kubeconfig, master, SELECTORS)
    with _proxier(node_name) as proxier:
        run_daemon(Daemon(proxier, min_sync_interval_s=min_sync_interval).run(source))


@program.command()
@_input_options
def once(node_name: str, manifests: Path | None, kubeconfig: Path | None, master: str | None) -> None:
    """Sync once and exit."""
    source = open_source(manifests, kubeconfig, master, SELECTORS, snapshot_within_s=_SNAPSHOT_WITHIN_S)
    with _proxier(node_name) as proxier:
        _take_snapshot(proxier, source)
        proxier.sync(full=True)


@program.command()
@_input_options
@output_option
def plan(
    node_name: str, manifests: Path | None, kubeconfig: Path | None, master: str | None, output: str
) -> None:
    """Print what `once` would change in the kernel; write nothing."""
    source = open_source(manifests, kubeconfig, master, SELECTORS, snapshot_within_s=_SNAPSHOT_WITHIN_S)
    with _proxier(node_name) as proxier:
        _take_snapshot(proxier, source)
        print_result(describe_plan(proxier.plan()), output)


@program.command()
@output_option
def show(output: str) -> None:
    """Print services and endpoints as the kernel holds them."""
    services = {}
    for family in FAMILIES:
        with KernelTable(family, TABLE) as table:
            state = table.read(build_skeleton(family))
            services.update(read_services(state.elements) if state else {})
    print_result(describe_services(services), output)


@program.command()
def cleanup() -> None:
    """Remove everything that kubeproxy has written to this network namespace."""
    for family in FAMILIES:
        with KernelTable(family, TABLE) as table:
            if table.delete():
                click.echo(f"removed table {family} {TABLE}")


@contextmanager
def _proxier(node_name: str) -> Iterator[Proxier]:
    with ExitStack() as stack:
        edges = {family: stack.enter_context(KernelTable(family, TABLE)) for family in FAMILIES}
        yield Proxier(node_name, [FamilyProxier(family, edge) for family, edge in edges.items()])


def _take_snapshot(proxier: Proxier, source: Source) -> None:
    async def take_first_batch() -> None:
        async with aclosing(source.batches(WATCHED)) as batches:
            proxier.take(await anext(batches))

    asyncio.run(take_first_batch())


def main() -> None:
    """Run the program."""
    run(program, "kubeproxy")
