"""`netns-lab trace`: follow one packet through the lab."""

from typing import TYPE_CHECKING

import click

from netns_lab.lab_choice import complete_place, fail_if, lab_option, open_lab
from nodeplane.runtime.cli import output_option
from nodeplane.runtime.output import print_report

if TYPE_CHECKING:
    from nodeplane.datapath.rtnl import Family


@click.command("trace")
@lab_option
@click.argument("place", metavar="POD", shell_complete=complete_place)
@click.argument("target", metavar="URL|PROTO:HOST:PORT")
@click.option("-6", "family", flag_value=6, type=int, default=None, help="Resolve the name to IPv6.")
@click.option("-4", "family", flag_value=4, type=int, help="Resolve the name to IPv4.")
@click.option(
    "--timeout",
    "limit_s",
    type=click.FloatRange(0.1, 60),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Wait so long for each answer.",
)
@output_option
def trace_command(
    *, lab: str | None, place: str, target: str, family: int | None, limit_s: float, output: str
) -> None:
    """Send one request from a POD, and show what became of it on its way through the lab and back.

    POD may be a node, a router or an external client too. A URL is asked for by HTTP; PROTO is tcp, udp or
    sctp, a HOST of IPv6 stands in brackets. The names are resolved as the pod resolves them. Exit code 1 if
    the request was not answered; the first line says why.
    """
    from netns_lab.execute import find_place
    from netns_lab.trace.report import describe
    from netns_lab.trace.run import trace
    from netns_lab.trace.target import parse_target

    parsed = parse_target(target)
    state, topology = open_lab(lab)
    chosen = find_place(topology, place)
    wanted: Family | None = 4 if family == 4 else 6 if family == 6 else None
    case = trace(state, topology, chosen, parsed, limit_s=limit_s, family=wanted)
    report, verdict = describe(case, output)
    print_report(report, output)
    fail_if(verdict.state != "answered")
