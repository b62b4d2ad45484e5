"""What the page shows of a lab, as one document: the drawing, health, and what may be traced. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from netns_lab.graph.picture import build_picture
from netns_lab.graph.svg import render_svg
from netns_lab.live import Live
from netns_lab.names import NODE_PROGRAMS
from netns_lab.topology import PodSpec, Topology
from netns_lab.ui.rates import Link, Rate
from nodeplane.kube.objects import Service

_RUNNING = "running"
_WELL = {_RUNNING, "idle", "completed"}


def build_view(topology: Topology, live: Live, status: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document; `status` is that of `netns-lab status`."""
    picture = build_picture(topology, live.addresses, live.objects)
    return {
        "lab": topology.name,
        "state": status["state"],
        "missing": list(status["missing"]),
        "svg": render_svg(picture),
        "hosts": {row["node"]: {name: row[name] for name in NODE_PROGRAMS} for row in status["nodes"]},
        "faults": [" ".join(map(str, fault.values())) for fault in status["faults"]],
        "sick": sorted({*_sick(status), *_gone(topology, status)}),
        "pods": {pod.key: _pod_target(pod, live) for pod in topology.pods},
        "services": {
            chip.key: {"target": target, "endpoints": chip.endpoints, "behind": list(chip.behind)}
            for chip, target in zip(
                picture.services, _service_targets(topology, live, picture.services), strict=True
            )
        },
    }


def build_rates(found: Mapping[Link, Rate]) -> dict[str, str]:
    """Return what stands beside each link that something passes."""
    return {
        f"{place} {link}": f"↓{_short(rate.received)} ↑{_short(rate.sent)} /s"
        for (place, link), rate in found.items()
        if rate.received or rate.sent
    }


def _sick(status: Mapping[str, Any]) -> Iterable[str]:
    """Name the nodes and pods of which something does not run, or is not there."""
    for row in status["nodes"]:
        if any(row[name] != _RUNNING for name in NODE_PROGRAMS):
            yield row["node"]
    for row in status["pods"]:
        if row["workload"] not in _WELL or not row["address"]:
            yield row["pod"]


def _gone(topology: Topology, status: Mapping[str, Any]) -> Iterable[str]:
    """Name the nodes and pods that a fault has taken away: no row tells of them."""
    there = {*(row["node"] for row in status["nodes"]), *(row["pod"] for row in status["pods"])}
    asked = (*(node.name for node in topology.nodes), *(pod.key for pod in topology.pods))
    return (name for name in asked if name not in there)


def _pod_target(pod: PodSpec, live: Live) -> str:
    """Say how the pod is reached: by HTTP where its echo server answers it, else by its first port."""
    addresses = live.addresses.get(pod.key, ())
    if not addresses or not pod.ports:
        return ""
    host = f"[{addresses[0]}]" if addresses[0].version == 6 else str(addresses[0])
    port = pod.ports[0]
    if port.protocol == "TCP" and not pod.command:
        return f"http://{host}:{port.port}/"
    return f"{port.protocol.lower()}:{host}:{port.port}"


def _service_targets(topology: Topology, live: Live, chips: Iterable[Any]) -> list[str]:
    echoes = {pod.key for pod in topology.pods if not pod.command}
    services = {
        f"{item.metadata.namespace}/{item.metadata.name}": item
        for item in live.objects
        if isinstance(item, Service)
    }
    return [
        _service_target(services[chip.key], set(chip.behind) <= echoes and bool(chip.behind))
        for chip in chips
    ]


def _service_target(service: Service, has_echoes: bool) -> str:
    """Say how a Service is reached, by its name."""
    if not service.spec.ports:
        return ""
    name, port = f"{service.metadata.name}.{service.metadata.namespace}", service.spec.ports[0]
    if port.protocol == "TCP" and has_echoes:
        return f"http://{name}:{port.port}/"
    return f"{port.protocol.lower()}:{name}:{port.port}"


def _short(number: float) -> str:
    if number >= 1000:
        return f"{number / 1000:.1f}k"
    return f"{number:.0f}" if number >= 10 or number == 0 else f"{number:.1f}"
