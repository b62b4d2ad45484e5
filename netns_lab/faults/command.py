"""`netns-lab fault`: break something in a lab that is up, for a while or until `fault clear`."""

import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from netns_lab.lab_choice import choose_lab, complete_place, lab_option, said_when_interrupted
from netns_lab.quantities import parse_duration
from nodeplane.runtime.cli import output_option
from nodeplane.runtime.output import print_report

if TYPE_CHECKING:
    from netns_lab.faults.fault import Fault, Kind
    from netns_lab.state import StateDirectory
    from netns_lab.topology import NodeSpec

F = TypeVar("F", bound=Callable[..., Any])


@click.group("fault")
def fault() -> None:
    """Break something in a lab that is up. A fault lasts until `fault clear`, or, with --for, so long.

    LINK is a node or an external client (its uplink), ROUTER:SEGMENT, or a pod. PROGRAM is NODE/kubeproxy,
    NODE/cni-agent, NODE/coredns-lite, ROUTER/bird, api-server, or a pod that runs something.
    """


def _duration(_context: click.Context, _param: click.Parameter, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError as exc:
        raise click.BadParameter(str(exc)) from exc


def _options(command: F) -> F:
    for option in (
        lab_option,
        click.option(
            "--for",
            "for_s",
            metavar="DURATION",
            callback=_duration,
            help="Wait so long, then end it; such as 500ms, 10s, 2m.",
        ),
        output_option,
    ):
        command = option(command)
    return command


@fault.command("link-down")
@click.argument("link", shell_complete=complete_place)
@_options
def link_down(link: str, **options: Any) -> None:
    """Pull a LINK's cable; of a pod, let nothing pass."""
    _inject("link-down", link, "", options)


@fault.command("loss")
@click.argument("link", shell_complete=complete_place)
@click.argument("share", metavar="PERCENT")
@_options
def loss(link: str, share: str, **options: Any) -> None:
    """Lose PERCENT of a LINK's packets, in each direction."""
    _inject("loss", link, share, options)


@fault.command("duplicate")
@click.argument("link", shell_complete=complete_place)
@click.argument("share", metavar="PERCENT")
@_options
def duplicate(link: str, share: str, **options: Any) -> None:
    """Let PERCENT of a LINK's packets come twice."""
    _inject("duplicate", link, share, options)


@fault.command("rate")
@click.argument("link", shell_complete=complete_place)
@click.argument("rate", metavar="RATE")
@_options
def rate_command(link: str, rate: str, **options: Any) -> None:
    """Let no more than RATE (such as 10mbit) through a LINK, in each direction."""
    _inject("rate", link, rate, options)


@fault.command("delay")
@click.argument("link", shell_complete=complete_place)
@click.argument("time")
@_options
def delay(link: str, time: str, **options: Any) -> None:
    """Let a LINK's packets take TIME (such as 20ms) longer, in each direction; needs netem."""
    _inject("delay", link, time, options)


@fault.command("partition")
@click.argument("side", metavar="NAME[,NAME]...")
@click.argument("others", metavar="[NAME,...|api-server]", required=False, default="")
@_options
def partition(side: str, others: str, **options: Any) -> None:
    """Cut nodes, routers or clients off from others, by default from all others, or from the API server."""
    _inject("partition", side, others, options)


@fault.command("kill")
@click.argument("program", metavar="PROGRAM")
@_options
def kill_command(program: str, **options: Any) -> None:
    """End a PROGRAM by SIGKILL; it is started again when the fault ends."""
    _inject("kill", program, "", options)


@fault.command("freeze")
@click.argument("program", metavar="PROGRAM")
@_options
def freeze(program: str, **options: Any) -> None:
    """Stop a PROGRAM (SIGSTOP): it is there and does nothing until the fault ends."""
    _inject("freeze", program, "", options)


@fault.command("wipe")
@click.argument("node", shell_complete=complete_place)
@click.argument("what", type=click.Choice(["nft", "routes", "neighbours"]))
@_options
def wipe(node: str, what: str, **options: Any) -> None:
    """Delete a NODE's nodeplane tables, its routes to pods, or its neighbours; programs may put them back."""
    _inject("wipe", node, what, options)


@fault.command("node-crash")
@click.argument("node", shell_complete=complete_place)
@_options
def node_crash(node: str, **options: Any) -> None:
    """Take a NODE away with its pods, at once; the API server has noticed when this returns."""
    _inject("node-crash", node, "", options)


@fault.command("node-add")
@click.argument("node", metavar="NAME")
@click.option("--zone", default="", help="Value of the label topology.kubernetes.io/zone.")
@click.option("--segment", default="", help="The node's segment; left out, the first one.")
@_options
def node_add(node: str, zone: str, segment: str, **options: Any) -> None:
    """Add a node; it goes when the fault ends."""
    from netns_lab.topology import NodeSpec

    _inject("node-add", node, "", options, NodeSpec(node, zone=zone, segment=segment))


@fault.command("clock")
@click.argument("node", shell_complete=complete_place)
@click.argument("shift", metavar="+TIME|-TIME")
@_options
def clock(node: str, shift: str, **options: Any) -> None:
    """Set the clock of all programs on a NODE wrong, such as +1h or -- -30s; they start anew."""
    _inject("clock", node, shift, options)


@fault.command("list")
@lab_option
@output_option
def list_command(lab: str | None, output: str) -> None:
    """Print the faults that are in force."""
    from netns_lab.faults.record import read_faults
    from netns_lab.report import fault_rows

    print_report({"faults": fault_rows(read_faults(choose_lab(lab)))}, output)


@fault.command("clear")
@click.argument("numbers", metavar="[NUMBER]...", nargs=-1, type=int)
@lab_option
@output_option
def clear_command(numbers: tuple[int, ...], lab: str | None, output: str) -> None:
    """End the faults of these NUMBERs, or all, and wait until the lab is what it is without them."""
    from netns_lab.faults.actions import clear
    from netns_lab.report import fault_rows

    state = choose_lab(lab)
    with said_when_interrupted("run `fault clear` again"):
        print_report({"ended": fault_rows(clear(state, numbers))}, output)


def _inject(
    kind: "Kind", target: str, value: str, options: dict[str, Any], node: "NodeSpec | None" = None
) -> None:
    from netns_lab.faults.actions import inject
    from netns_lab.report import fault_rows

    state = choose_lab(options["lab"])
    with said_when_interrupted("run `fault clear`"):
        begun = inject(state, kind, target, value, node)
    if options["for_s"] is not None:
        _wait_and_end(state, begun, options["for_s"])
    print_report({"faults": fault_rows([begun])}, options["output"])


def _wait_and_end(state: "StateDirectory", begun: "Fault", for_s: float) -> None:
    """Wait, and end the fault; a signal that would end us ends the wait instead."""
    from netns_lab.faults.actions import end

    over = threading.Event()
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, lambda _number, _frame: over.set())
    is_interrupted = over.wait(for_s)
    end(state, begun)
    if is_interrupted:
        click.echo("netns-lab: interrupted: the fault has ended", err=True)
        raise click.exceptions.Exit(130)
