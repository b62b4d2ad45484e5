"""What `status` and `demo` show of a lab: pure rows, the same for people and for programs."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path

from netns_lab.address_plan import build_address_plan
from netns_lab.cluster import PodAddresses
from netns_lab.faults.fault import Fault
from netns_lab.names import (
    NODE_PROGRAMS,
    ROUTER_PROGRAM,
    node_namespace,
    node_program,
    pod_namespace,
    pod_program,
    router_program,
)
from netns_lab.remote_server import API_PORT, RemoteServer
from netns_lab.topology import PodSpec, Topology
from nodeplane.datapath.rtnl import Address
from nodeplane.kube.objects import EndpointSlice, Object, Service
from nodeplane.runtime.output import Row


def server_row(topology: Topology, kubeconfig: Path, remote: RemoteServer | None, *, is_running: bool) -> Row:
    """Return where the API server is found inside of the lab, and what stands behind that."""
    behind = "netns-lab apiserver" if remote is None else f"relay to {remote.host}:{remote.port}"
    return {
        "api_server": f"{build_address_plan(topology).server}:{API_PORT}",
        "behind": behind,
        "program": _life(is_running),
        "kubeconfig": str(kubeconfig),
    }


def node_rows(topology: Topology, running: Collection[str]) -> list[Row]:
    """Return each node's place and programs; `running` holds the names of programs that run as planned."""
    plan = build_address_plan(topology)
    return [
        {
            "node": node.name,
            "address": _text(plan.node_addresses(node.name)),
            "zone": node.zone,
            "namespace": node_namespace(topology.name, node.name),
            **{name: _life(node_program(node.name, name) in running) for name in NODE_PROGRAMS},
        }
        for node in topology.nodes
    ]


def pod_rows(
    topology: Topology, addresses: PodAddresses, running: Collection[str], completed: Collection[str] = ()
) -> list[Row]:
    """Return each pod's place and workload; a pod that is not attached has no address."""
    return [
        {
            "pod": pod.key,
            "node": pod.node,
            "address": _text(addresses.get(pod.key, ())),
            "namespace": pod_namespace(topology.name, pod),
            "workload": _workload(pod, running, completed),
        }
        for pod in topology.pods
    ]


def segment_rows(topology: Topology) -> list[Row]:
    """Return each segment's network, who leads out of it, and who is on it."""
    plan = build_address_plan(topology)
    return [
        {
            "segment": segment.name,
            "network": segment.network,
            "mtu": segment.mtu,
            "gateway": _text(plan.gateways.get(segment.name, ())),
            "nodes": [name for name, place in plan.nodes.items() if place.segment == segment.name],
            "routers": [
                name
                for name, places in plan.routers.items()
                if segment.name in {place.segment for place in places}
            ],
        }
        for segment in topology.all_segments
    ]


def router_rows(topology: Topology, running: Collection[str]) -> list[Row]:
    """Return each router's links and, of those that speak BGP, AS number and program."""
    plan = build_address_plan(topology)
    return [
        {
            "router": router.name,
            "namespace": node_namespace(topology.name, router.name),
            "links": [
                f"{place.link} {','.join(map(str, place.addresses))}" for place in plan.routers[router.name]
            ],
            "asn": router.asn or "",
            ROUTER_PROGRAM: _life(router_program(router.name) in running) if router.asn else "",
        }
        for router in topology.routers
    ]


def client_rows(topology: Topology) -> list[Row]:
    """Return each external client's place."""
    plan = build_address_plan(topology)
    return [
        {
            "client": client.name,
            "address": _text(interface.ip for interface in plan.clients[client.name].addresses),
            "segment": topology.segment_of(client),
            "namespace": node_namespace(topology.name, client.name),
        }
        for client in topology.clients
    ]


def fault_rows(faults: Iterable[Fault]) -> list[Row]:
    """Return each fault, with the number that `fault clear` takes."""
    return [
        {"number": fault.number, "fault": fault.kind, "of": fault.target, "what": fault.value}
        for fault in faults
    ]


def service_rows(objects: Iterable[Object]) -> list[Row]:
    """Return each Service with its address, ports and ready endpoints, which name their port if several."""
    items = list(objects)
    services = [item for item in items if isinstance(item, Service)]
    counts = {(item.metadata.namespace, item.metadata.name): len(item.spec.ports) for item in services}
    endpoints: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for piece in (item for item in items if isinstance(item, EndpointSlice)):
        ready = [endpoint.addresses[0] for endpoint in piece.endpoints if endpoint.is_ready]
        key = (piece.metadata.namespace, piece.service_name)
        endpoints[key] |= {
            _label(port.name, f"{_host(address)}:{port.port}", counts.get(key, 1))
            for address in ready
            for port in piece.ports
        }
    return [
        {
            "service": f"{service.metadata.namespace}/{service.metadata.name}",
            "cluster_ip": service.spec.cluster_ip,
            "ports": [
                _label(port.name, f"{port.protocol}/{port.port}", len(service.spec.ports))
                for port in service.spec.ports
            ],
            "endpoints": sorted(endpoints[service.metadata.namespace, service.metadata.name]),
        }
        for service in sorted(services, key=lambda item: (item.metadata.namespace, item.metadata.name))
    ]


def _workload(pod: PodSpec, running: Collection[str], completed: Collection[str]) -> str:
    if not pod.ports and not pod.command:
        return "idle"
    return "completed" if pod_program(pod) in completed else _life(pod_program(pod) in running)


def _text(addresses: Iterable[Address]) -> str:
    return ",".join(map(str, addresses))


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _label(name: str | None, text: str, count: int) -> str:
    """Say which port a text is about where a Service has several, whose names then differ."""
    return f"{name or ''} {text}".lstrip() if count > 1 else text


def _life(is_running: bool) -> str:
    return "running" if is_running else "ended"
