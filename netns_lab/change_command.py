"""`netns-lab add` and `remove`: pods and nodes of a lab that is up."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from netns_lab.lab_choice import complete_place, fail_if, lab_option, open_lab, said_when_interrupted
from nodeplane.runtime.cli import output_option
from nodeplane.runtime.output import print_report

if TYPE_CHECKING:
    from netns_lab.faults.fault import Fault
    from netns_lab.topology import PortSpec, Topology

    # From what the lab was asked for, and its faults, to what it is to be.
    Change: TypeAlias = Callable[[Topology, tuple[Fault, ...]], Topology]

_LABEL_METAVAR = "KEY=VALUE"


@click.group("add")
def add() -> None:
    """Add a pod or a node to a lab that is up; the next `up FILE` removes what its file does not ask for."""


@click.group("remove")
def remove() -> None:
    """Remove a pod or a node from a lab that is up; the next `up FILE` brings back what the file asks for."""


@add.command("pod")
@click.argument("name")
@click.option("--node", required=True, shell_complete=complete_place, help="Where it runs.")
@click.option("--namespace", "-n", default="default", show_default=True, help="Kubernetes namespace.")
@click.option("--label", "labels", multiple=True, metavar=_LABEL_METAVAR, help="A label. Repeatable.")
@click.option(
    "--port", "ports", multiple=True, metavar="[NAME:]PORT[/udp|/sctp]", help="A port it serves. Repeatable."
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@lab_option
@output_option
def add_pod(name: str, command: tuple[str, ...], lab: str | None, output: str, **options: Any) -> None:
    """Add a pod that runs COMMAND, the echo server on its ports, or nothing."""
    from netns_lab.runtime_change import with_pod
    from netns_lab.topology import PodSpec

    pod = PodSpec(
        name,
        options["node"],
        options["namespace"],
        _labels(options["labels"]),
        tuple(map(_port, options["ports"])),
        command,
    )
    _change(lab, output, lambda topology, _: with_pod(topology, pod))


@add.command("node")
@click.argument("name")
@click.option("--address", help="Address on the segment; left out, the lowest free one.")
@click.option("--segment", default="", help="The node's segment; left out, the first one.")
@click.option("--zone", default="", help="Value of the label topology.kubernetes.io/zone.")
@click.option("--label", "labels", multiple=True, metavar=_LABEL_METAVAR, help="A label. Repeatable.")
@lab_option
@output_option
def add_node(name: str, lab: str | None, output: str, **options: Any) -> None:
    """Add a node."""
    from netns_lab.runtime_change import with_node
    from netns_lab.topology import NodeSpec

    node = NodeSpec(name, options["address"], options["zone"], _labels(options["labels"]), options["segment"])

    def change(topology: "Topology", faults: "tuple[Fault, ...]") -> "Topology":
        guests = tuple(fault.node for fault in faults if fault.node is not None)
        return with_node(topology, node, guests)

    _change(lab, output, change)


@remove.command("pod")
@click.argument("name", shell_complete=complete_place)
@lab_option
@output_option
def remove_pod(name: str, lab: str | None, output: str) -> None:
    """Remove a pod, `name` or `namespace/name`."""
    from netns_lab.runtime_change import without_pod

    _change(lab, output, lambda topology, _: without_pod(topology, name))


@remove.command("node")
@click.argument("name", shell_complete=complete_place)
@lab_option
@output_option
def remove_node(name: str, lab: str | None, output: str) -> None:
    """Remove a node with its pods; nobody else's address changes."""
    from netns_lab.faults.overlay import crashed
    from netns_lab.runtime_change import without_node

    _change(lab, output, lambda topology, faults: without_node(topology, name, crashed(faults)))


def _change(lab: str | None, output: str, change: "Change") -> None:
    from netns_lab.faults.actions import load_topology
    from netns_lab.faults.record import read_faults
    from netns_lab.lab import up
    from netns_lab.loader import restore_lab

    state, _ = open_lab(lab)
    with said_when_interrupted("run it again"), state.locked():
        faults = read_faults(state)
        topology = change(load_topology(state), faults)
        done = up(restore_lab(topology, state.load_manifests()), state, None, faults)
    report: dict[str, object] = {"lab": state.lab, "state": "incomplete" if done.missing else "up"}
    report["changes"] = [{"action": each.action, "what": each.what} for each in done.changes]
    if done.missing:
        report["missing"] = list(done.missing)
    print_report(report, output)
    fail_if(bool(done.missing))


def _labels(texts: tuple[str, ...]) -> dict[str, str]:
    labels = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator:
            raise click.BadParameter(f"expected {_LABEL_METAVAR}, got {text!r}", param_hint="'--label'")
        labels[key] = value
    return labels


def _port(text: str) -> "PortSpec":
    import msgspec

    from netns_lab.topology import PortSpec

    name, _, rest = text.rpartition(":")
    number, _, protocol = rest.partition("/")
    value = {"name": name, "port": number, "protocol": (protocol or "tcp").upper()}
    try:
        return msgspec.convert(value, PortSpec, strict=False)
    except msgspec.ValidationError as exc:
        words = "expected such as 80, http:8080 or 53/udp"
        raise click.BadParameter(f"{words}, got {text!r}", param_hint="'--port'") from exc
