"""`kubeproxy show`: what the kernel publishes, read back from its own maps."""

import time
from collections.abc import Iterator
from pathlib import Path

import click

from kubeproxy.ipvs.show import describe_clients as describe_balanced_clients
from kubeproxy.ipvs.show import describe_services as describe_balanced
from kubeproxy.ipvs.skeleton import is_ipvs
from kubeproxy.published import count_remembered, read_published, read_remembered
from kubeproxy.report import describe_clients, describe_services
from kubeproxy.rules.layout import AFFINITY, FRONTENDS, NODE_PORTS, TABLE, decode_frontend
from kubeproxy.rules.skeleton import build_skeleton
from nodeplane.datapath.ipvs.remembered import read_remembered as read_balanced_clients
from nodeplane.datapath.ipvs.table import KernelIpvs
from nodeplane.datapath.nft.expr import Family
from nodeplane.datapath.nft.kernel import KernelTable
from nodeplane.datapath.nft.table import TableState
from nodeplane.runtime.cli import output_option
from nodeplane.runtime.option_types import Seconds
from nodeplane.runtime.output import Row, print_result
from nodeplane.runtime.source_options import source_options

_FAMILIES: tuple[Family, ...] = ("ip", "ip6")


@click.command("show")
@click.option("--clients", is_flag=True, help="Print the clients that session affinity remembers instead.")
@click.option("--watch", is_flag=True, help="Print again whenever it has changed, until Ctrl-C.")
@click.option(
    "--interval",
    default=1.0,
    show_default=True,
    type=Seconds(0.1),
    help="With --watch: seconds between two looks.",
)
@source_options
@output_option
def show_command(
    *,
    clients: bool,
    watch: bool,
    interval: float,
    manifests: Path | None,
    kubeconfig: Path | None,
    master: str | None,
    output: str,
) -> None:
    """Print services, their endpoints and how often they were connected to, as the kernel holds them.

    The kernel has no names; with a source of objects, which is read once, those are printed too.
    """
    from kubeproxy.names import name_rows, read_names

    names = read_names(manifests, kubeconfig, master)

    def look() -> list[Row]:
        return [*_read_clients()] if clients else name_rows([*_read_services()], names)

    rows = look()
    print_result(rows, output)
    while watch:
        time.sleep(interval)
        fresh = look()
        if fresh != rows:
            rows = fresh
            if output == "table":
                click.echo()
            print_result(rows, output)


def _read_services() -> Iterator[Row]:
    for family, table, state in _read_tables():
        uses = (use for name in (FRONTENDS, NODE_PORTS) for use in table.read_uses(name))
        connections = {decode_frontend(use.key): use.packets for use in uses}
        if is_ipvs(state.signature):
            with KernelIpvs() as ipvs:
                yield from describe_balanced(family, state.elements, connections, ipvs)
            continue
        remembered = count_remembered(table.read_uses(AFFINITY))
        yield from describe_services(read_published(state.elements), connections, remembered)


def _read_clients() -> Iterator[Row]:
    yield from describe_balanced_clients(read_balanced_clients())
    for _, table, state in _read_tables():
        if is_ipvs(state.signature):
            continue
        remembered = read_remembered(state.elements, table.read_uses(AFFINITY))
        yield from describe_clients(read_published(state.elements), remembered)


def _read_tables() -> Iterator[tuple[Family, KernelTable, TableState]]:
    for family in _FAMILIES:
        with KernelTable(family, TABLE) as table:
            state = table.read(build_skeleton(family))
            if state is not None:
                yield family, table, state
