"""Faults laid over what a lab's file asks for: the topology, and what is not to run, with them. Pure."""

from collections.abc import Iterable
from contextlib import suppress

import msgspec

from netns_lab.address_plan import Place, build_address_plan
from netns_lab.faults.clock import with_shift
from netns_lab.faults.fault import LINK_KINDS, Fault, parse_shift
from netns_lab.faults.targets import find_cut, find_link, find_program
from netns_lab.impairments.rules import Cut
from netns_lab.names import NODE_PROGRAMS, node_program, pod_program
from netns_lab.plan import Plan
from netns_lab.programs import Program
from netns_lab.quantities import parse_percent
from netns_lab.topology import InterfaceSpec, LinkSpec, NodeSpec, PodSpec, Topology
from nodeplane.errors import ConfigError


def overlay(topology: Topology, faults: Iterable[Fault]) -> Topology:
    """Return the topology that a lab with these faults has: crashed nodes are gone with their pods."""
    faults = tuple(faults)
    gone, topology = crashed(faults), expected(topology, faults)
    if not gone:
        return topology
    return msgspec.structs.replace(
        topology,
        nodes=tuple(node for node in topology.nodes if node.name not in gone),
        pods=tuple(pod for pod in topology.pods if pod.node not in gone),
    )


def expected(topology: Topology, faults: Iterable[Fault]) -> Topology:
    """Return the topology as Kubernetes knows it: crashed nodes are there, added ones too."""
    faults = tuple(faults)
    if any(fault.kind in {"node-crash", "node-add"} for fault in faults):
        topology = pinned(topology)
    for fault in faults:
        if fault.kind in LINK_KINDS:
            topology = _with_link(topology, fault)
        elif fault.node is not None:
            topology = msgspec.structs.replace(topology, nodes=(*topology.nodes, fault.node))
    return topology


def pinned(topology: Topology) -> Topology:
    """Return the topology with every address written down, so that nobody's depends on who else is there."""
    plan = build_address_plan(topology)

    def text(addresses: Iterable[object]) -> str:
        return ",".join(map(str, addresses))

    def own(place: Place) -> str:
        return text(interface.ip for interface in place.addresses)

    return msgspec.structs.replace(
        topology,
        nodes=tuple(
            msgspec.structs.replace(node, address=own(plan.nodes[node.name])) for node in topology.nodes
        ),
        clients=tuple(
            msgspec.structs.replace(client, address=own(plan.clients[client.name]))
            for client in topology.clients
        ),
        routers=tuple(
            msgspec.structs.replace(
                router,
                interfaces=tuple(
                    msgspec.structs.replace(interface, address=own(place))
                    for interface, place in zip(router.interfaces, plan.routers[router.name], strict=True)
                ),
            )
            for router in topology.routers
        ),
    )


def pinned_node(topology: Topology, node: NodeSpec) -> NodeSpec:
    """Return a node that comes to a topology, with the address that it gets there."""
    written = pinned(topology)
    return pinned(msgspec.structs.replace(written, nodes=(*written.nodes, node))).nodes[-1]


def crashed(faults: Iterable[Fault]) -> frozenset[str]:
    """Return the nodes that have crashed."""
    return frozenset(fault.target for fault in faults if fault.kind == "node-crash")


def killed(topology: Topology, faults: Iterable[Fault]) -> frozenset[str]:
    """Return the programs that are not to run."""
    return frozenset(
        find_program(topology, fault.target)
        for fault in faults
        if fault.kind == "kill" and _is_there(topology, fault.target)
    )


def frozen(topology: Topology, faults: Iterable[Fault]) -> frozenset[str]:
    """Return the programs that are stopped."""
    return frozenset(
        find_program(topology, fault.target)
        for fault in faults
        if fault.kind == "freeze" and _is_there(topology, fault.target)
    )


def clock_shifts(topology: Topology, faults: Iterable[Fault]) -> dict[str, float]:
    """Return by how many seconds the clock of programs is wrong, by their names."""
    shifts: dict[str, float] = {}
    for fault in faults:
        if fault.kind == "clock":
            names = [node_program(fault.target, program) for program in NODE_PROGRAMS]
            names += [pod_program(pod) for pod in topology.pods if pod.node == fault.target]
            shifts |= {name: shifts.get(name, 0.0) + parse_shift(fault.value) for name in names}
    return shifts


def overlay_plan(plan: Plan, topology: Topology, faults: Iterable[Fault]) -> Plan:
    """Return the plan with these faults: what is killed is not to run, and clocks are wrong."""
    faults = tuple(faults)
    shifts = clock_shifts(topology, faults)

    def shifted(programs: Iterable[Program]) -> tuple[Program, ...]:
        return tuple(
            msgspec.structs.replace(program, command=with_shift(program.command, shifts[program.name]))
            if program.name in shifts
            else program
            for program in programs
        )

    return msgspec.structs.replace(
        plan,
        absent=killed(topology, faults),
        node_programs=shifted(plan.node_programs),
        workloads=shifted(plan.workloads),
    )


def build_cuts(topology: Topology, faults: Iterable[Fault]) -> tuple[Cut, ...]:
    """Return the cuts of the partitions that are in force, also through nodes that have crashed since."""
    faults = tuple(faults)
    known = expected(topology, faults)
    cuts = []
    for fault in faults:
        if fault.kind == "partition":
            # What was cut may be there no more: a node that another fault had added.
            with suppress(ConfigError):
                cuts.append(find_cut(known, fault))
    return tuple(sorted(cuts))


def _with_link(topology: Topology, fault: Fault) -> Topology:
    try:
        kind, name, segment = find_link(topology, fault.target)
    except ConfigError:
        return topology  # it has gone with its node
    match kind:
        case "node":
            nodes = tuple(
                msgspec.structs.replace(node, link=_worse(node.link, fault)) if node.name == name else node
                for node in topology.nodes
            )
            return msgspec.structs.replace(topology, nodes=nodes)
        case "client":
            clients = tuple(
                msgspec.structs.replace(client, link=_worse(client.link, fault))
                if client.name == name
                else client
                for client in topology.clients
            )
            return msgspec.structs.replace(topology, clients=clients)
        case "pod":
            pods: tuple[PodSpec, ...] = tuple(
                msgspec.structs.replace(pod, link=_worse(pod.link, fault)) if pod.key == name else pod
                for pod in topology.pods
            )
            return msgspec.structs.replace(topology, pods=pods)
    routers = tuple(
        msgspec.structs.replace(
            router,
            interfaces=tuple(_worse_interface(each, segment, fault) for each in router.interfaces),
        )
        if router.name == name
        else router
        for router in topology.routers
    )
    return msgspec.structs.replace(topology, routers=routers)


def _worse_interface(interface: InterfaceSpec, segment: str, fault: Fault) -> InterfaceSpec:
    if interface.segment != segment:
        return interface
    return msgspec.structs.replace(interface, link=_worse(interface.link, fault))


def _worse(link: LinkSpec, fault: Fault) -> LinkSpec:
    match fault.kind:
        case "link-down":
            return msgspec.structs.replace(link, down=True)
        case "loss":
            return msgspec.structs.replace(link, loss=parse_percent(fault.value))
        case "duplicate":
            return msgspec.structs.replace(link, duplicate=parse_percent(fault.value))
        case "rate":
            return msgspec.structs.replace(link, rate=fault.value)
        case _:
            return msgspec.structs.replace(link, delay=fault.value)


def _is_there(topology: Topology, program: str) -> bool:
    """Say whether a program's place is still there: another fault may have taken it away."""
    try:
        find_program(topology, program)
    except ConfigError:
        return False
    return True
