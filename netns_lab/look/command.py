"""`netns-lab logs`, `dns`, `curl`, `capture`, `export`, `shell` and `bench`."""

from pathlib import Path
from typing import Any

import click

from netns_lab.lab_choice import choose_lab, complete_place, fail_if, lab_option, open_lab
from nodeplane.errors import ConfigError
from nodeplane.runtime.cli import output_option
from nodeplane.runtime.option_types import FILE_PATH
from nodeplane.runtime.output import print_report, print_result

_from_option = click.option(
    "--from",
    "place",
    metavar="POD|NODE|CLIENT",
    shell_complete=complete_place,
    help="Where it is asked from; left out, the lab's first pod.",
)


@click.command("logs")
@click.argument("program", metavar="PROGRAM|NODE", shell_complete=complete_place)
@click.option("--follow", "-f", is_flag=True, help="Go on with what is written from now on, until Ctrl-C.")
@click.option("--lines", "-n", type=click.IntRange(min=0), default=50, show_default=True, help="How many.")
@lab_option
@output_option
def logs(program: str, follow: bool, lines: int, lab: str | None, output: str) -> None:
    """Print the log of a PROGRAM (NODE/kubeproxy, api-server, a pod), or of all programs of a NODE."""
    from netns_lab.look.logs import follow_logs, log_rows

    state, topology = open_lab(lab)
    if follow:
        follow_logs(state, topology, program, lines)
    rows = log_rows(state, topology, program, lines)
    if output == "table":
        has_several = len({row["program"] for row in rows}) > 1
        for row in rows:
            click.echo(f"{row['program']}: {row['line']}" if has_several else row["line"])
        return
    print_result(rows, output)


@click.command("dns")
@click.argument("name")
@click.argument("record_type", metavar="[TYPE]", default="A")
@_from_option
@lab_option
@output_option
def dns(name: str, record_type: str, place: str | None, lab: str | None, output: str) -> None:
    """Ask the cluster DNS for a NAME's records (TYPE: A, AAAA, SRV, PTR, …), as a pod's resolver does."""
    from netns_lab.look.dns import ask_cluster
    from netns_lab.look.place import choose_place

    state, topology = open_lab(lab)
    report = ask_cluster(state, topology, choose_place(topology, place), name, record_type.upper())
    print_report(report, output)
    fail_if(not report["answers"])


@click.command("curl")
@click.argument("url")
@click.option("--header", "-H", "headers", multiple=True, metavar="NAME: VALUE", help="A header. Repeatable.")
@click.option("--data", "-d", help="Send this with POST.")
@click.option("--max-time", type=float, default=10.0, show_default=True, help="Seconds.")
@_from_option
@lab_option
@output_option
def curl(url: str, place: str | None, lab: str | None, output: str, max_time: float, **options: Any) -> None:
    """Request a URL by curl; -o json tells its status, who was connected to, and how long each part took."""
    from netns_lab.look.curl import Request, send_request
    from netns_lab.look.place import choose_place

    state, topology = open_lab(lab)
    wanted = Request(url, max_time, options["headers"], options["data"])
    report = send_request(state, choose_place(topology, place), wanted)
    if output == "table":
        click.echo(report["body"], nl=not str(report["body"]).endswith("\n"))
        if report["error"]:
            click.echo(f"netns-lab: {report['error']}", err=True)
    else:
        print_report(report, output)
    fail_if(bool(report["error"]))


@click.command("capture")
@click.argument("links", metavar="PLACE[:LINK]...", nargs=-1, required=True, shell_complete=complete_place)
@click.option("-w", "--write", "file", type=FILE_PATH, help="Write all packets to this file (pcapng).")
@click.option("--filter", "expression", default="", help="What to capture, as pcap-filter(7).")
@click.option("--count", "-c", type=click.IntRange(min=1), help="End after so many packets.")
@click.option("--for", "for_s", metavar="DURATION", help="End after so long, such as 10s.")
@lab_option
@output_option
def capture(links: tuple[str, ...], file: Path | None, lab: str | None, output: str, **options: Any) -> None:
    """Capture what passes links of nodes, routers, clients and pods (eth0 unless said), until Ctrl-C.

    Several links are captured at once, with one clock, and told in the order of time.
    """
    from netns_lab.look.capturing import Limits, capture_links, find_link, open_sink
    from netns_lab.quantities import parse_duration

    try:
        for_s = None if options["for_s"] is None else parse_duration(options["for_s"])
    except ValueError as exc:
        raise click.BadParameter(str(exc), param_hint="'--for'") from exc
    state, topology = open_lab(lab)
    limits = Limits(options["count"], for_s)
    found = [find_link(state, topology, link) for link in links]
    with open_sink(found, file, output) as sink:
        capture_links(state.lab, found, options["expression"], limits, sink)


@click.command("export")
@click.option("--all", "-A", "every", is_flag=True, help="What the API server has made, too.")
@lab_option
@click.option("-o", "--output", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True)
def export(every: bool, lab: str | None, output: str) -> None:
    """Print the lab's objects as manifests that kubectl, or a topology's `manifests`, takes."""
    from netns_lab.look.exporting import read_manifests, render_manifests

    click.echo(render_manifests(read_manifests(choose_lab(lab), every=every), output), nl=False)


@click.command("shell")
@click.argument("place", metavar="NODE|POD", shell_complete=complete_place)
@lab_option
def shell(place: str, lab: str | None) -> None:
    """Open a shell in a node, router, client or pod; its prompt says where it is."""
    from netns_lab.execute import become, find_place
    from netns_lab.look.place import prompt_command

    state, topology = open_lab(lab)
    become(state, find_place(topology, place), prompt_command(state.lab, place))


@click.command("bench")
@click.argument("target", metavar="[URL|{tcp|udp|sctp}://HOST:PORT]", required=False)
@click.option(
    "--count", "-c", type=click.IntRange(1, 100_000), default=1000, show_default=True, help="Requests."
)
@_from_option
@lab_option
@output_option
def bench(target: str | None, count: int, place: str | None, lab: str | None, output: str) -> None:
    """Send requests one after the other, each by a connection of its own; print rate and latency.

    Left out, the target is the first Service of the lab's own that speaks TCP.
    """
    from netns_lab.look.bench import first_service, measure
    from netns_lab.look.place import choose_place, place_name
    from netns_lab.scenarios.request import parse_target

    try:
        parse_target(target or "http://any/")
    except ValueError as exc:
        raise ConfigError(target or "", "", str(exc)) from exc
    state, topology = open_lab(lab)
    target = target or first_service(state.load_manifests())
    report = measure(state, topology, place_name(choose_place(topology, place)), target, count)
    print_report(report, output)
    fail_if(bool(report["failed"]))


COMMANDS = (logs, dns, curl, capture, export, shell, bench)
