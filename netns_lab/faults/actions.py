"""Faults in force: begun, kept, ended. What is killed on the way is known to the next command.

A fault is recorded before anything of it is done and forgotten when nothing of it is left, so `fault clear`
ends whatever any command has begun.
"""

import signal
import subprocess
from collections.abc import Collection

import msgspec

from netns_lab.changes import Change, Changes
from netns_lab.faults.fault import LINK_KINDS, Fault, Kind
from netns_lab.faults.overlay import expected, frozen, overlay, overlay_plan, pinned_node
from netns_lab.faults.record import drop_fault, next_number, read_faults, save_fault
from netns_lab.faults.targets import check_fault, find_program
from netns_lab.lab import thaw, up
from netns_lab.lab_server import load_remote
from netns_lab.loader import restore_lab
from netns_lab.names import API_SERVER, node_namespace, pod_namespace
from netns_lab.plan import build_plan
from netns_lab.presence import homes
from netns_lab.processes import Process, kill, lab_processes, namespace_id, send
from netns_lab.state import StateDirectory
from netns_lab.topology import NodeSpec, Topology
from netns_lab.trouble import Trouble
from netns_lab.wiring_kernel import converge
from nodeplane.datapath import netns
from nodeplane.errors import ConfigError, NodeplaneError

# What is done to links alone, and so needs nobody's service.
_LIGHT = LINK_KINDS | {"partition", "freeze"}

# rt_protos(5): the agent's own routes, BIRD's.
_ROUTE_PROTOCOLS = ("110", "12")


def inject(
    state: StateDirectory, kind: Kind, target: str, value: str = "", node: NodeSpec | None = None
) -> Fault:
    """Begin a fault; one that fails is undone.

    Raises:
        ConfigError: the lab has no such target, or the value is none.
        NodeplaneError: it can't be done.
    """
    with state.locked():
        topology = load_topology(state)
        before = read_faults(state)
        fault = Fault(next_number(before), kind, target, value, node)
        check_fault(overlay(topology, before), fault)
        if node is not None:
            # Written down, so that its address is the same whoever comes and goes.
            fault = msgspec.structs.replace(fault, node=pinned_node(expected(topology, before), node))
        save_fault(state, fault)
        try:
            _begin(state, topology, (*before, fault), fault)
        except NodeplaneError:
            _settle(state, topology, before, [fault])
            raise
    return fault


def clear(state: StateDirectory, numbers: Collection[int] = ()) -> list[Fault]:
    """End faults, without numbers all, and return them when the lab is what it is without them.

    Raises:
        ConfigError: there is no fault of that number.
        NodeplaneError: it can't be done.
    """
    with state.locked():
        topology = load_topology(state)
        there = read_faults(state)
        known = {fault.number for fault in there}
        if strange := sorted({*numbers} - known):
            choices = ", ".join(map(str, sorted(known))) or "there is none"
            raise ConfigError(str(strange[0]), "", f"expected the number of a fault: {choices}")
        over = [fault for fault in there if not numbers or fault.number in numbers]
        if over:
            _settle(state, topology, tuple(fault for fault in there if fault not in over), over)
    return over


def end(state: StateDirectory, fault: Fault) -> None:
    """End this fault; one that has ended, and whose number another one has since, is left alone.

    Raises:
        NodeplaneError: it can't be done.
    """
    with state.locked():
        if fault in read_faults(state):
            clear(state, [fault.number])


def load_topology(state: StateDirectory) -> Topology:
    """Return what a lab was asked for.

    Raises:
        NodeplaneError: no `up` has come so far.
    """
    topology = state.load_topology()
    if topology is None:
        raise NodeplaneError(f"lab {state.lab} is half-built: run up again, or down")
    return topology


def _begin(state: StateDirectory, topology: Topology, faults: tuple[Fault, ...], fault: Fault) -> None:
    match fault.kind:
        case "kill":
            kill(_processes_of(state, find_program(topology, fault.target)))
        case "freeze":
            send(_processes_of(state, find_program(topology, fault.target)), signal.SIGSTOP)
        case "wipe":
            _wipe(node_namespace(state.lab, fault.target), fault.value)
        case "node-crash":
            _crash(state, expected(topology, faults), fault.target)
            _bring(state, topology, faults)
        case kind if kind in _LIGHT:
            _impair(state, topology, faults)
        case _:
            _bring(state, topology, faults)


def _settle(
    state: StateDirectory, topology: Topology, faults: tuple[Fault, ...], over: Collection[Fault]
) -> None:
    """Bring the lab to what it is with these faults, and without those that are over."""
    # An API server that was stopped has heard of nothing that came meanwhile.
    if all(fault.kind in _LIGHT for fault in over) and API_SERVER not in frozen(topology, over):
        thaw(state, topology, over)
        _impair(state, topology, faults)
        for fault in over:
            drop_fault(state, fault)
    else:
        _bring(state, topology, faults)


def _bring(state: StateDirectory, topology: Topology, faults: tuple[Fault, ...]) -> tuple[Change, ...]:
    return up(restore_lab(topology, state.load_manifests()), state, None, faults).changes


def _impair(state: StateDirectory, topology: Topology, faults: tuple[Fault, ...]) -> None:
    with_faults = overlay(topology, faults)
    plan = overlay_plan(build_plan(with_faults, state, load_remote(state)), with_faults, faults)
    changes = Changes()
    trouble = Trouble(state, topology, faults, plan)
    trouble.check()
    converge(state.lab, plan.wiring, changes.add)
    trouble.make(changes.add)


def _processes_of(state: StateDirectory, program: str) -> list[Process]:
    mark = f"{state.lab}/{program}"
    found = [process for process in lab_processes(state.lab, homes(state.lab)) if process.mark == mark]
    if not found:
        raise NodeplaneError(f"{program} does not run")
    return found


def _crash(state: StateDirectory, topology: Topology, node: str) -> None:
    """Take a node away with all that is on it, as a power cut does: nobody is told."""
    names = [pod_namespace(state.lab, pod) for pod in topology.pods if pod.node == node]
    names.append(node_namespace(state.lab, node))
    there = {name: home for name in names if (home := namespace_id(netns.NETNS_DIR / name)) is not None}
    places = homes(state.lab) & {*there.values()}
    kill(process for process in lab_processes(state.lab, places) if process.namespace in places)
    for name in names:
        netns.remove(name)


def _wipe(namespace: str, what: str) -> None:
    with netns.inside(netns.NETNS_DIR / namespace):
        match what:
            case "nft":
                tables = _run("nft", "list", "tables").split("\n")
                ours = [line for line in tables if line.split(" ")[-1].startswith("nodeplane")]
                _run("nft", "-f", "-", text="".join(f"delete {line}\n" for line in ours))
            case "routes":
                for family in ("-4", "-6"):
                    for protocol in _ROUTE_PROTOCOLS:
                        _run("ip", family, "route", "flush", "proto", protocol)
            case _:
                _run("ip", "neigh", "flush", "all")


def _run(*command: str, text: str = "") -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NodeplaneError(f"{' '.join(command)}: {done.stderr.strip().partition(chr(10))[0]}")
    return done.stdout
