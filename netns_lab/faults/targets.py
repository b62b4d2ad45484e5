"""What a fault is done to, found in a topology by the words that people use. Pure."""

from collections.abc import Iterator

import msgspec

from netns_lab.faults.fault import FABRIC, LINK_KINDS, PROGRAM_KINDS, WIPES, Fault, parse_shift
from netns_lab.impairments.rules import Cut
from netns_lab.names import API_SERVER, NODE_PROGRAMS, node_program, pod_program, port_link, router_program
from netns_lab.quantities import parse_duration, parse_percent, parse_rate
from netns_lab.topology import NodeSpec, Topology
from netns_lab.validation import problems
from nodeplane.errors import ConfigError
from nodeplane.yamldoc import field_text


def check_fault(topology: Topology, fault: Fault) -> None:
    """Refuse what can't be done to a lab of this topology.

    Raises:
        ConfigError: says what is expected.
    """
    checks = {
        "loss": parse_percent,
        "duplicate": parse_percent,
        "rate": parse_rate,
        "delay": parse_duration,
        "clock": parse_shift,
    }
    if fault.kind in checks:
        try:
            checks[fault.kind](fault.value)
        except ValueError as exc:
            raise ConfigError(fault.value, "", str(exc)) from exc
    match fault.kind:
        case kind if kind in LINK_KINDS:
            find_link(topology, fault.target)
        case "partition":
            find_cut(topology, fault)
        case kind if kind in PROGRAM_KINDS:
            find_program(topology, fault.target)
        case "wipe":
            _node(topology, fault.target)
            if fault.value not in WIPES:
                raise ConfigError(fault.value, "", f"expected one of {', '.join(WIPES)}")
        case "node-crash":
            if len(topology.nodes) == 1 and _node(topology, fault.target):
                raise ConfigError(fault.target, "", "expected a node that is not the last one")
            _node(topology, fault.target)
        case "clock":
            _node(topology, fault.target)
        case "node-add" if fault.node is not None:
            check_new_node(topology, fault.node)


def check_new_node(topology: Topology, node: NodeSpec) -> None:
    """Refuse a node that a lab can't have beside those that it has.

    Raises:
        ConfigError: says what is expected.
    """
    names = {place.name for place in (*topology.hosts, *topology.routers)}
    if node.name in names:
        raise ConfigError(node.name, "", f"expected a name beside {', '.join(sorted(names))}")
    grown = msgspec.structs.replace(topology, nodes=(*topology.nodes, node))
    for where, expected in problems(grown):
        raise ConfigError(node.name, field_text(where), expected)


def find_program(topology: Topology, name: str) -> str:
    """Return the whole name of a program: of `n1/kubeproxy`, `leaf1/bird`, `api-server`, a pod's workload.

    Raises:
        ConfigError: there is none of that name; lists those that there are.
    """
    known = {FABRIC: API_SERVER}
    known |= {
        f"{node.name}/{program}": node_program(node.name, program)
        for node in topology.nodes
        for program in NODE_PROGRAMS
    }
    known |= {f"{router.name}/bird": router_program(router.name) for router in topology.routers if router.asn}
    busy = [pod for pod in topology.pods if pod.ports or pod.command]
    known |= {pod.key: pod_program(pod) for pod in busy}
    short = {pod.name: [other for other in busy if other.name == pod.name] for pod in busy}
    known |= {name: pod_program(pods[0]) for name, pods in short.items() if len(pods) == 1}
    if name in known:
        return known[name]
    if name in known.values():
        return name
    choices = [FABRIC, *(f"NODE/{program}" for program in NODE_PROGRAMS), "ROUTER/bird", "a pod that runs"]
    raise ConfigError(name, "", f"expected a program: {', '.join(choices)}")


def find_link(topology: Topology, name: str) -> tuple[str, str, str]:
    """Return what kind of place has a link, its name there, and the segment of a router's."""
    place, _, segment = name.partition(":")
    for router in topology.routers:
        names = [interface.segment for interface in router.interfaces]
        if router.name == place:
            if segment not in names:
                choices = ", ".join(f"{place}:{each}" for each in names)
                raise ConfigError(name, "", f"expected a link of the router: {choices}")
            return "router", place, segment
    pods = [pod for pod in topology.pods if name in {pod.key, pod.name}]
    hosts = [host for host in topology.hosts if host.name == name]
    if len(pods) + len(hosts) != 1:
        choices = ", ".join(
            [
                *(host.name for host in topology.hosts),
                *(f"{router.name}:SEGMENT" for router in topology.routers),
                *(pod.key for pod in topology.pods),
            ]
        )
        raise ConfigError(name, "", f"expected one link: {choices}")
    if pods:
        return "pod", pods[0].key, ""
    return ("client" if any(client.name == name for client in topology.clients) else "node"), name, ""


def find_cut(topology: Topology, fault: Fault) -> Cut:
    """Return the cut of a partition: the ports of one side and of the other; of all the others, if none."""
    every = {name: set(ports) for name, ports in _ports(topology)}
    side = _members(every, fault.target)
    if fault.value == FABRIC:
        return Cut(tuple(sorted(port for name in side for _, port in every[name])), ())
    others = _members(every, fault.value) if fault.value else [name for name in every if name not in side]
    if shared := sorted({*side} & {*others}):
        raise ConfigError(fault.value, "", f"expected each on one side, {shared[0]} is on both")
    segments = {segment for name in side for segment, _ in every[name]}
    if not segments & {segment for name in others for segment, _ in every[name]}:
        raise ConfigError(fault.target, "", "expected two sides that share a segment: cut a router off")
    return Cut(
        tuple(sorted(port for name in side for _, port in every[name])),
        tuple(sorted(port for name in others for _, port in every[name])),
    )


def _members(every: dict[str, set[tuple[str, str]]], text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in every:
            raise ConfigError(name, "", f"expected a node, router or client: {', '.join(every)}")
    return names


def _ports(topology: Topology) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield each node's, client's and router's segments with its ports there."""
    for host in topology.hosts:
        yield host.name, [(topology.segment_of(host), port_link(host.name))]
    for router in topology.routers:
        places = [(each.segment, port_link(router.name, each.segment)) for each in router.interfaces]
        yield router.name, places


def _node(topology: Topology, name: str) -> NodeSpec:
    for node in topology.nodes:
        if node.name == name:
            return node
    raise ConfigError(name, "", f"expected a node: {', '.join(node.name for node in topology.nodes)}")
