"""The command line of netns-lab."""

# First: Ctrl-C may come while the rest is imported.
import nodeplane.runtime.interrupt  # noqa: F401

# isort: split
import json
import logging
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from netns_lab.apiserver.cli import apiserver
from netns_lab.change_command import add, remove
from netns_lab.cni_cli import cni
from netns_lab.doctor.command import doctor
from netns_lab.faults.command import fault
from netns_lab.graph.command import graph_command
from netns_lab.lab_choice import (
    choose_lab,
    complete_place,
    fail_if,
    is_lab_typed,
    lab_argument,
    lab_name,
    lab_option,
    need_root,
    only_lab,
    open_lab,
    said_when_interrupted,
)
from netns_lab.look.command import COMMANDS as LOOKING
from netns_lab.pass_through import PassThrough
from netns_lab.scenarios.command import run_command
from netns_lab.trace.command import trace_command
from netns_lab.ui.command import ui_command
from netns_lab.vm.command import vm
from nodeplane.errors import NodeplaneError
from nodeplane.runtime.cli import common_options, output_option, run, start_logging
from nodeplane.runtime.option_types import FILE_PATH
from nodeplane.runtime.output import count_words, print_report, print_result

if TYPE_CHECKING:
    from netns_lab.loader import LabSpec
    from netns_lab.remote_server import RemoteServer
    from netns_lab.state import StateDirectory

log = logging.getLogger(__name__)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@common_options
def program() -> None:
    """Run Kubernetes networks on this machine, in network namespaces."""
    start_logging()


@program.command("up")
@click.argument("file", type=FILE_PATH)
@click.option(
    "--kubeconfig",
    type=FILE_PATH,
    help="Use this API server in the place of one of the lab's own; the lab remembers it.",
)
@click.option("--lab", callback=lab_name, help="Name of the lab; left out, the topology's.")
@click.option("--dry-run", is_flag=True, help="Print what would change, and change nothing.")
@output_option
def up_command(file: Path, kubeconfig: Path | None, lab: str | None, dry_run: bool, output: str) -> None:
    """Bring the lab of a topology FILE up, or repair it, or change it; wait until it is in service."""
    from netns_lab.lab import up
    from netns_lab.loader import read_lab
    from netns_lab.remote_server import read_remote
    from netns_lab.state import StateDirectory

    spec = read_lab(file)
    if lab is not None:
        spec = spec.named(lab)
    remote = None if kubeconfig is None else read_remote(kubeconfig)
    need_root()
    if dry_run:
        _print_difference(spec, remote, output)
        return
    started = time.monotonic()
    with said_when_interrupted("run `up` again, or `down`"):
        found = up(spec, StateDirectory(spec.topology.name), remote)
    count = len(found.changes)
    summary = count_words(count, "change") if count else "nothing to change"
    report: dict[str, object] = {"lab": spec.topology.name, "state": _word(found.missing), "summary": summary}
    report["seconds"] = round(time.monotonic() - started, 2)
    if output != "table":
        report["changes"] = [{"action": change.action, "what": change.what} for change in found.changes]
    if found.missing:
        report["missing"] = list(found.missing)
    print_report(report, output)
    fail_if(report["state"] != "up")


def _print_difference(spec: "LabSpec", remote: "RemoteServer | None", output: str) -> None:
    from netns_lab.difference import read_difference
    from netns_lab.state import StateDirectory

    changes = read_difference(spec, StateDirectory(spec.topology.name), remote)
    rows = [{"action": change.action, "what": change.what} for change in changes]
    count = count_words(len(rows), "change") if rows else "nothing to change"
    print_report({"lab": spec.topology.name, "summary": count, "changes": rows}, output)


@program.command("validate")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=FILE_PATH)
@output_option
def validate(files: tuple[Path, ...], output: str) -> None:
    """Check topology and scenario FILEs with all that they name; exit code 2 if one is wrong."""
    from netns_lab.checked_file import check_file

    rows = [check_file(file) for file in files]
    for row in rows:
        if row["error"]:
            click.echo(f"netns-lab: {row['error']}", err=True)
    print_result([{**row, "error": row["error"] or "none"} for row in rows], output)
    if any(row["error"] for row in rows):
        raise click.exceptions.Exit(2)


@program.command("down")
@lab_argument
@click.option("--all", "every", is_flag=True, help="Every lab on this machine.")
@output_option
def down_command(lab: str | None, every: bool, output: str) -> None:
    """Remove a LAB whole: processes, namespaces, files. Needs no topology file."""
    from netns_lab.presence import labs
    from netns_lab.removal import down
    from netns_lab.state import StateDirectory

    if every and is_lab_typed():
        raise click.UsageError("expected a LAB or --all, not both")
    need_root()
    found = labs()
    if every:
        names = sorted(found)
    elif lab is not None:
        names = [lab]
    else:
        names = [only_lab(found)] if found else []
    for name in (name for name in names if name not in found):
        click.echo(f"netns-lab: {name}: no lab of that name, nothing to remove", err=True)
    with said_when_interrupted("run `down` again"):
        rows = [{"lab": name, "removed": len(down(StateDirectory(name)))} for name in names if name in found]
    print_report({"labs": rows}, output)


@program.command()
@lab_argument
@click.option("--watch", "-w", is_flag=True, help="Print it again whenever it has changed, until Ctrl-C.")
@output_option
def status(lab: str | None, watch: bool, output: str) -> None:
    """Print a LAB's nodes, pods, services and what runs; exit code 1 if something is missing."""
    from netns_lab.status import read_status

    state = choose_lab(lab)
    if watch:
        from netns_lab.look.watching import watch_status

        watch_status(state, output)
        return
    report = read_status(state)
    print_report(report, output)
    fail_if(report["state"] != "up")


@program.command("exec", cls=PassThrough)
@lab_option
@click.argument("place", metavar="NODE|POD", shell_complete=complete_place)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_command(lab: str | None, place: str, command: tuple[str, ...]) -> None:
    """Run a command in a node, or in a pod (`name` or `namespace/name`) with the pod's own resolv.conf.

    Options that follow the command's name are the command's.
    """
    from netns_lab.execute import become, find_place

    state, topology = open_lab(lab)
    become(state, find_place(topology, place), command)


@program.command("kubectl", cls=PassThrough)
@lab_option
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
# `-v LEVEL` is kubectl's.
@partial(common_options, verbose=("--verbose",))
def kubectl_command(lab: str | None, arguments: tuple[str, ...]) -> None:
    """Run kubectl on the lab's API server; files and pipes are those of the caller.

    Options from the first that is none of these are kubectl's; all that follow `--` are, its --help too.
    """
    from netns_lab.execute import become_kubectl

    become_kubectl(choose_lab(lab), arguments)


@program.command()
@click.option("--lab", default="demo", show_default=True, callback=lab_name, help="Name of the lab to make.")
@click.option("--keep", is_flag=True, help="Leave the lab up afterwards.")
@output_option
def demo(lab: str, keep: bool, output: str) -> None:
    """Show a client reach a service in another namespace by name; exit code 0 if every claim held."""
    from netns_lab.demo import check_free, demonstrate
    from netns_lab.state import StateDirectory

    need_root()
    state = StateDirectory(lab)
    advice = "run it again, or `down`" if keep else "the lab is removed"
    # Held to the end: another command on this lab must not change what is being watched.
    with said_when_interrupted("nothing was done"), state.locked():
        check_free(state)
        with said_when_interrupted(advice), _removed_at_the_end(state, keep=keep):
            report, passed = demonstrate(state)
            print_report(report, output)
    fail_if(not passed)


@program.command()
@click.argument("kind", type=click.Choice(["topology", "scenario"]), default="topology")
def schema(kind: str) -> None:
    """Print the JSON schema of a topology file, or of a scenario file."""
    from netns_lab.scenarios.scenario import scenario_schema
    from netns_lab.topology import json_schema

    click.echo(json.dumps(scenario_schema() if kind == "scenario" else json_schema(), indent=2))


program.add_command(apiserver)
program.add_command(cni)
program.add_command(vm)
program.add_command(doctor)
program.add_command(trace_command)
program.add_command(graph_command)
program.add_command(ui_command)
program.add_command(fault)
program.add_command(add)
program.add_command(remove)
program.add_command(run_command)
for looking in LOOKING:
    program.add_command(looking)


def main() -> None:
    """Run the program."""
    run(program, "netns-lab")


@contextmanager
def _removed_at_the_end(state: "StateDirectory", *, keep: bool) -> Iterator[None]:
    """Remove the lab afterwards, also after a failure, Ctrl-C, a closed terminal or SIGTERM."""
    from netns_lab.removal import down

    endings = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in endings:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    except NodeplaneError:
        if not keep:
            log.info("removing the lab and its logs, --keep would leave them lab=%s", state.lab)
        raise
    finally:
        if not keep:
            # A second Ctrl-C must not stop the cleaning up.
            for number in endings:
                signal.signal(number, signal.SIG_IGN)
            down(state)


def _word(missing: tuple[str, ...]) -> str:
    return "incomplete" if missing else "up"
