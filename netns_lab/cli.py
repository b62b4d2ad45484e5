"""The command line of netns-lab."""

import json
import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from netns_lab.apiserver.cli import apiserver
from netns_lab.cni_cli import cni
from netns_lab.names import LAB_NAME_WORDS, is_lab_name
from nodeplane.errors import ConfigError, NodeplaneError, SetupError
from nodeplane.runtime.cli import common_options, output_option, run, start_logging
from nodeplane.runtime.option_types import FILE_PATH
from nodeplane.runtime.output import print_report

if TYPE_CHECKING:
    from netns_lab.state import StateDirectory

log = logging.getLogger(__name__)

# The lab's other modules are imported by the commands that use them: rtnetlink alone costs 0.2 s, which
# `--help` and the shell's completion need not pay.


def _lab_name(_context: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    if value is not None and not is_lab_name(value):
        raise ConfigError(value, "", LAB_NAME_WORDS)
    return value


_lab_argument = click.argument("lab", required=False, callback=_lab_name)
_lab_option = click.option("--lab", callback=_lab_name, help="The lab; may be left out while there is one.")


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
@output_option
def up_command(file: Path, kubeconfig: Path | None, output: str) -> None:
    """Bring the lab of a topology FILE up, or repair it, or change it; wait until it is in service."""
    from netns_lab.lab import up
    from netns_lab.loader import read_lab
    from netns_lab.remote_server import read_remote
    from netns_lab.state import StateDirectory

    spec = read_lab(file)
    remote = None if kubeconfig is None else read_remote(kubeconfig)
    _need_root()
    started = time.monotonic()
    with _said_when_interrupted("run `up` again, or `down`"):
        lab = up(spec, StateDirectory(spec.topology.name), remote)
    count = len(lab.changes)
    summary = f"{count} change{'s' if count > 1 else ''}" if count else "nothing to change"
    report: dict[str, object] = {"lab": spec.topology.name, "state": _word(lab.missing), "summary": summary}
    report["seconds"] = round(time.monotonic() - started, 2)
    if output != "table":
        report["changes"] = [{"action": change.action, "what": change.what} for change in lab.changes]
    if lab.missing:
        report["missing"] = list(lab.missing)
    print_report(report, output)
    _fail_if(report["state"] != "up")


@program.command("down")
@_lab_argument
@click.option("--all", "every", is_flag=True, help="Every lab on this machine.")
@output_option
def down_command(lab: str | None, every: bool, output: str) -> None:
    """Remove a LAB whole: processes, namespaces, files. Needs no topology file."""
    from netns_lab.lab import down, labs
    from netns_lab.state import StateDirectory

    _need_root()
    found = labs()
    if every:
        names = sorted(found)
    elif lab is not None:
        names = [lab]
    else:
        names = [_only(found)] if found else []
    for name in (name for name in names if name not in found):
        click.echo(f"netns-lab: {name}: no lab of that name, nothing to remove", err=True)
    with _said_when_interrupted("run `down` again"):
        rows = [{"lab": name, "removed": len(down(StateDirectory(name)))} for name in names if name in found]
    print_report({"labs": rows}, output)


@program.command()
@_lab_argument
@output_option
def status(lab: str | None, output: str) -> None:
    """Print a LAB's nodes, pods, services and what runs; exit code 1 if something is missing."""
    from netns_lab.lab import labs
    from netns_lab.state import StateDirectory
    from netns_lab.status import read_status

    _need_root()
    report = read_status(StateDirectory(_choose(lab, labs())))
    print_report(report, output)
    _fail_if(report["state"] != "up")


@program.command("exec", context_settings={"ignore_unknown_options": True})
@_lab_option
@click.argument("place", metavar="NODE|POD")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_command(lab: str | None, place: str, command: tuple[str, ...]) -> None:
    """Run a command in a node, or in a pod (`name` or `namespace/name`) with the pod's own resolv.conf."""
    from netns_lab.execute import become, find_place
    from netns_lab.lab import labs
    from netns_lab.state import StateDirectory

    _need_root()
    state = StateDirectory(_choose(lab, labs()))
    topology = state.load_topology()
    if topology is None:
        raise ConfigError(state.lab, "", "expected a lab that is up")
    become(state, find_place(topology, place), command)


@program.command(
    "kubectl",
    context_settings={
        "ignore_unknown_options": True,
        "help_option_names": [],
        "allow_interspersed_args": False,
    },
)
@_lab_option
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def kubectl_command(lab: str | None, arguments: tuple[str, ...]) -> None:
    """Run kubectl on the lab's API server; files and pipes are those of the caller."""
    from netns_lab.execute import become_kubectl
    from netns_lab.lab import labs
    from netns_lab.state import StateDirectory

    _need_root()
    become_kubectl(StateDirectory(_choose(lab, labs())), arguments)


@program.command()
@click.option("--lab", default="demo", show_default=True, callback=_lab_name, help="Name of the lab to make.")
@click.option("--keep", is_flag=True, help="Leave the lab up afterwards.")
@output_option
def demo(lab: str, keep: bool, output: str) -> None:
    """Show a client reach a service in another namespace by name; exit code 0 if every claim held."""
    from netns_lab.demo import check_free, demonstrate
    from netns_lab.state import StateDirectory

    _need_root()
    state = StateDirectory(lab)
    advice = "run it again, or `down`" if keep else "the lab is removed"
    # Held to the end: another command on this lab must not change what is being watched.
    with _said_when_interrupted("nothing was done"), state.locked():
        check_free(state)
        with _said_when_interrupted(advice), _removed_at_the_end(state, keep=keep):
            report, passed = demonstrate(state)
            print_report(report, output)
    _fail_if(not passed)


@program.command()
def schema() -> None:
    """Print the JSON schema of a topology file."""
    from netns_lab.topology import json_schema

    click.echo(json.dumps(json_schema(), indent=2))


program.add_command(apiserver)
program.add_command(cni)


def main() -> None:
    """Run the program."""
    run(program, "netns-lab")


@contextmanager
def _removed_at_the_end(state: "StateDirectory", *, keep: bool) -> Iterator[None]:
    """Remove the lab afterwards, also after a failure, Ctrl-C, a closed terminal or SIGTERM."""
    from netns_lab.lab import down

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


@contextmanager
def _said_when_interrupted(advice: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as exc:
        click.echo(f"netns-lab: interrupted: {advice}", err=True)
        raise click.exceptions.Exit(130) from exc


def _word(missing: tuple[str, ...]) -> str:
    return "incomplete" if missing else "up"


def _fail_if(has_failed: bool) -> None:
    if has_failed:
        raise click.exceptions.Exit(1)


def _choose(lab: str | None, found: set[str]) -> str:
    if lab is None:
        return _only(found)
    if lab not in found:
        raise ConfigError(
            lab, "", f"expected the name of a lab that is up: {', '.join(sorted(found)) or 'none is'}"
        )
    return lab


def _only(found: set[str]) -> str:
    """Return the one lab there is."""
    if len(found) != 1:
        names = ", ".join(sorted(found)) or "none is up"
        raise ConfigError("LAB", "", f"expected the name of a lab: {names}")
    return next(iter(found))


def _need_root() -> None:
    if os.geteuid() != 0:
        raise SetupError("must run as root: network namespaces need it")
