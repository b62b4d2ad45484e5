"""How long a lab takes from nothing to every probe green, and to go; how much memory it takes.

Beside each size stands what `ip -batch` alone takes for the same namespaces and links: nothing that makes
them can be faster. `--quick` measures the smallest lab only; a hundred nodes take minutes and all of the
machine.
"""

import argparse
import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from bench.figure import median, report
from bench.room import NEIGHBOURS, room
from netns_lab.commands import program_folder
from netns_lab.loader import read_lab
from netns_lab.names import node_namespace, pod_namespace
from netns_lab.neighbour_table import LabSize, find_shortage, read_limit
from netns_lab.processes import lab_processes
from netns_lab.topology import Topology
from netns_lab.wiring import Bridge, Cable, Namespace, build_wiring

_NETNS_LAB = str(program_folder() / "netns-lab")
_LIMIT_S = 1200
_GIB = 1 << 30
_PSS = re.compile(r"^Pss: +([0-9]+) kB$", re.MULTILINE)


class Size(msgspec.Struct, frozen=True):
    """A lab's size, what it may take, and how often it is measured."""

    nodes: int
    pods: int
    services: int
    goal_s: float
    rounds: int
    goal_gib: float | None = None


SIZES = (
    Size(3, 10, 5, 3.0, 5),
    Size(20, 200, 20, 20.0, 2),
    Size(100, 1000, 100, 150.0, 1, 8.0),
)


def build_topology(size: Size, name: str) -> dict[str, object]:
    """Return a topology: pods spread over nodes and services, each an echo server."""
    pods = [
        {
            "name": f"p{number}",
            "node": f"n{number % size.nodes}",
            "labels": {"app": f"s{number % size.services}"},
            "ports": [{"name": "http", "port": 8080}],
        }
        for number in range(size.pods)
    ]
    services = [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": f"s{number}"},
            "spec": {"selector": {"app": f"s{number}"}, "ports": [{"port": 80, "targetPort": "http"}]},
        }
        for number in range(size.services)
    ]
    nodes = [{"name": f"n{number}"} for number in range(size.nodes)]
    return {"name": name, "nodes": nodes, "pods": pods, "manifests": services}


def measure(size: Size, rounds: int) -> None:
    """Print the figures of one size."""
    name = f"bench{os.getpid()}"
    ups, downs, limits, memory = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "lab.yaml"
        file.write_text(json.dumps(build_topology(size, name)))
        # As `netns-lab up` advises for a lab of this size.
        shortage = find_shortage(4, LabSize(size.nodes, size.pods).needed, read_limit(4))
        with room(NEIGHBOURS, shortage.advised if shortage else 0):
            for _ in range(rounds):
                limits.append(_links_alone(file))
                try:
                    ups.append(_timed(_NETNS_LAB, "up", str(file)))
                    memory.append(_memory_bytes(name))
                finally:
                    downs.append(_timed(_NETNS_LAB, "down", name))
    words = f"{size.nodes} nodes, {size.pods} pods, {size.services} services"
    report(
        f"lab up, {words}",
        "s",
        median(ups),
        peer=median(limits),
        peer_name="ip -batch, namespaces and links alone",
        goal=f"ours <= {size.goal_s}",
    )
    report(
        f"lab down, {words}",
        "s",
        median(downs),
        peer=median(ups),
        peer_name="up",
        ratio=median([down / up for down, up in zip(downs, ups, strict=True)]),
        goal="ratio <= 0.3334",
    )
    report(
        f"lab memory, {words}",
        "GiB",
        median(memory) / _GIB,
        goal=None if size.goal_gib is None else f"ours <= {size.goal_gib}",
    )


def _timed(*command: str) -> float:
    started = time.monotonic()
    subprocess.run(command, stdout=subprocess.DEVNULL, timeout=_LIMIT_S, check=True)
    return time.monotonic() - started


def _memory_bytes(lab: str) -> int:
    """Return what a lab's processes have in memory; what several of them share counts once."""
    folders = (Path(f"/proc/{process.pid}/smaps_rollup") for process in lab_processes(lab, ()))
    return sum(1024 * int(match[1]) for folder in folders if (match := _PSS.search(folder.read_text())))


def _links_alone(file: Path) -> float:
    """Make a lab's namespaces and links with one `ip -batch`, say how long that took, and remove them."""
    topology = read_lab(file).topology
    ours = {
        fact.namespace: f"npb-{os.getpid()}-{number}"
        for number, fact in enumerate(build_wiring(topology))
        if isinstance(fact, Namespace)
    }
    try:
        started = time.monotonic()
        _ip_batch([f"netns add {name}" for name in ours.values()] + [*_link_lines(topology, ours)])
        return time.monotonic() - started
    finally:
        _ip_batch([f"netns delete {name}" for name in ours.values()])


def _link_lines(topology: Topology, ours: Mapping[str, str]) -> Iterator[str]:
    for fact in build_wiring(topology):
        if isinstance(fact, Bridge):
            yield f"link add {fact.link} netns {ours[fact.namespace]} type bridge"
        elif isinstance(fact, Cable):
            yield _veth(ours[fact.namespace], fact.link, ours[fact.peer_namespace], fact.peer_link)
    for number, pod in enumerate(topology.pods):
        node = ours[node_namespace(topology.name, pod.node)]
        yield _veth(ours[pod_namespace(topology.name, pod)], "eth0", node, f"pod{number}")


def _veth(namespace: str, link: str, peer_namespace: str, peer: str) -> str:
    return f"link add {link} netns {namespace} type veth peer name {peer} netns {peer_namespace}"


def _ip_batch(lines: list[str]) -> None:
    subprocess.run(
        ("ip", "-force", "-batch", "-"), input="\n".join(lines).encode(), timeout=_LIMIT_S, check=True
    )


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the smallest lab only: under a minute")
    parser.add_argument("--nodes", type=int, choices=[size.nodes for size in SIZES], help="one size only")
    arguments = parser.parse_args()
    if arguments.quick:
        measure(SIZES[0], 2)
        return
    for size in SIZES:
        if arguments.nodes in {None, size.nodes}:
            measure(size, size.rounds)


if __name__ == "__main__":
    main()
