"""ADD, CHECK and DEL of one pod, from exec to exit, next to Debian's ptp and bridge with host-local.

Ours in three ways: the native launcher and the Python shim, each in front of a running cni-agent, and the
plugin in a process of its own. Every side has a node's namespace (the two shims share theirs, and the agent),
and each round a fresh namespace for each side's pod; rounds run all sides, another one first each time, so
that other load on the machine meets all alike. Ours keeps its addresses in SQLite with a full sync to disk
for each change; host-local writes a file without one.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bench.figure import median, report
from cni.calls.shims import build, find_compiler
from nodeplane.datapath import netns
from tests.cni.agent_process import agent
from tests.netns_fixture import add_default_route, namespace, veth_pair

_PLUGINS = Path("/usr/lib/cni")
_BESIDE = Path(sys.executable).parent
_CALLERS = 8
# An agent that does not know where its node's address is looks at all that comes and goes.
_NODE = """\
apiVersion: v1
kind: Node
metadata: {name: n1}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
"""
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
LAUNCHER, SHIM, ALONE = "launcher + agent", "Python shim + agent", "in process"
PTP, BRIDGE = "ptp + host-local", "bridge + host-local"
_PEER_NAMES = {name: f"{name} (containernetworking-plugins)" for name in (PTP, BRIDGE)}
# What the issue asks for, by way, against ptp + host-local.
_ADD_GOALS = {LAUNCHER: "ratio <= 0.35", SHIM: "ratio <= 1.0"}
_DEL_GOALS = {LAUNCHER: "ratio <= 0.5", SHIM: "ratio <= 0.5"}
_RATE_GOALS = {LAUNCHER: "ratio >= 3.5", SHIM: "ratio >= 1.1"}
_CPU_GOALS = {LAUNCHER: "ratio <= 1.0", SHIM: "ratio <= 1.0"}


class Side(NamedTuple):
    """A plugin, the node that it runs in, its network configuration, and the agent that works for it."""

    program: Path
    node: Path
    config: dict[str, Any]
    agent_pid: int | None = None


class Call(NamedTuple):
    """What one call took, and its answer."""

    elapsed_ms: float
    cpu_ms: float
    answer: Any


class Times(NamedTuple):
    """Milliseconds of one side, a value for each round; `cpu` of its ADD and DEL, all processes together."""

    add: list[float]
    check: list[float]
    delete: list[float]
    cpu: list[float]


def call(side: Side, command: str, container: str, pod: Path, previous: Any = None) -> Call:
    """Run a plugin once, from exec to exit.

    Raises:
        RuntimeError: the plugin failed.
    """
    environ = {
        **os.environ,
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": container,
        "CNI_NETNS": str(pod),
        "CNI_IFNAME": "eth0",
        "CNI_PATH": str(_PLUGINS),
    }
    config = side.config if previous is None else {**side.config, "prevResult": previous}
    stdin, feed = os.pipe2(os.O_CLOEXEC)
    drain, stdout = os.pipe2(os.O_CLOEXEC)
    # The configuration fits into the pipe's buffer, so it is all there before the plugin reads.
    os.write(feed, json.dumps(config).encode())
    os.close(feed)
    with netns.inside(side.node):
        started = time.perf_counter()
        pid = spawn(side.program, environ, stdin, stdout)
    os.close(stdin)
    os.close(stdout)
    with os.fdopen(drain, "rb") as output:
        answer = output.read()
    _, status, usage = os.wait4(pid, 0)
    elapsed_ms = (time.perf_counter() - started) * 1000
    if status != 0:
        raise RuntimeError(f"{side.program.name} {command} failed: {answer.decode(errors='replace')}")
    cpu_ms = (usage.ru_utime + usage.ru_stime) * 1000
    return Call(elapsed_ms, cpu_ms, json.loads(answer) if answer else None)


def spawn(program: Path, environ: Mapping[str, str], stdin: int, stdout: int) -> int:
    """Start a program as a container runtime written in Go or C does, without a copy of this process."""
    return os.posix_spawn(
        program,
        [str(program)],
        environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, stdin, 0), (os.POSIX_SPAWN_DUP2, stdout, 1)],
    )


def measure(sides: Mapping[str, Side], rounds: int) -> dict[str, Times]:
    """Run ADD, CHECK and DEL of all sides in turn."""
    times = {name: Times([], [], [], []) for name in sides}
    names = list(sides)
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            side, mine, container = sides[name], times[name], f"bench-{number}-{name.partition(' ')[0]}"
            with namespace("pod") as pod:
                added = call(side, "ADD", container, pod)
                mine.add.append(added.elapsed_ms)
                mine.check.append(call(side, "CHECK", container, pod, added.answer).elapsed_ms)
                mine.delete.append(call(side, "DEL", container, pod, added.answer).elapsed_ms)
    return times


def measure_cpu(side: Side, rounds: int) -> float:
    """Return the milliseconds of processor time of an ADD and its DEL, in our child and in the agent."""
    before_s = _cpu_of(side.agent_pid)
    spent_ms = 0.0
    for number in range(rounds):
        with namespace("pod") as pod:
            spent_ms += sum(call(side, command, f"cpu-{number}", pod).cpu_ms for command in ("ADD", "DEL"))
    return (spent_ms + (_cpu_of(side.agent_pid) - before_s) * 1000) / rounds


def measure_rate(side: Side, pods: list[Path]) -> float:
    """Return the ADDs in a second with eight callers, all addresses different; everything is deleted again.

    Raises:
        RuntimeError: an address was given twice.
    """

    def run(command: str) -> list[Call]:
        names = [f"many-{number}" for number in range(len(pods))]
        with ThreadPoolExecutor(_CALLERS) as callers:
            return list(callers.map(lambda name, pod: call(side, command, name, pod), names, pods))

    started = time.perf_counter()
    added = run("ADD")
    elapsed_s = time.perf_counter() - started
    run("DEL")
    if len({each.answer["ips"][0]["address"] for each in added}) != len(pods):
        raise RuntimeError("an address was given twice")
    return len(pods) / elapsed_s


def measure_growth(side: Side, count: int, sample: int = 10) -> tuple[float, float]:
    """Return the median ADD of a node's first pods and of its last ones."""
    with _pods(count) as pods:
        times = [call(side, "ADD", f"grow-{number}", pod).elapsed_ms for number, pod in enumerate(pods)]
        for number, pod in enumerate(pods):
            call(side, "DEL", f"grow-{number}", pod)
    return median(times[:sample]), median(times[-sample:])


def measure_start(command: list[str], rounds: int) -> float:
    """Return the median milliseconds of a program that does nothing."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        os.waitpid(os.posix_spawn(command[0], command, os.environ), 0)
        times.append((time.perf_counter() - started) * 1000)
    return median(times)


def our_config(datastore: Path) -> dict[str, Any]:
    """Build the configuration of nodeplane-cni."""
    pools = [{"name": "default", "cidr": "10.244.0.0/16", "blockSize": 26}]
    ipam = {"type": "nodeplane-ipam", "datastore": f"sqlite://{datastore}", "pools": pools}
    return {"cniVersion": "1.0.0", "name": "bench", "type": "nodeplane-cni", "nodeName": "n1", "ipam": ipam}


def peer_config(kind: str, directory: Path) -> dict[str, Any]:
    """Build the configuration of a reference plugin with host-local."""
    ipam = {
        "type": "host-local",
        "dataDir": f"{directory}/{kind}",
        "ranges": [[{"subnet": "10.245.0.0/16"}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    more = {"bridge": "cni0", "isGateway": True} if kind == "bridge" else {}
    return {"cniVersion": "1.0.0", "name": f"bench-{kind}", "type": kind, "ipam": ipam, **more}


def build_sides(stack: ExitStack, directory: Path) -> dict[str, Side]:
    """Build all nodes, and start the agent."""
    plugin = _BESIDE / "nodeplane-cni"
    shims = build(directory, plugin, find_compiler())
    datastore, config = directory / "ipam.sqlite", directory / "agent.yaml"
    config.write_text(f"datastore: sqlite://{datastore}\n")
    manifests = directory / "manifests"
    manifests.mkdir()
    (manifests / "node.yaml").write_text(_NODE)
    node = stack.enter_context(_node("ours"))
    process = stack.enter_context(agent(node, "n1", config, manifests))
    served = [Side(path, node, our_config(datastore), process.pid) for path in shims]
    names = (LAUNCHER, SHIM) if len(served) == 2 else (SHIM,)
    alone = Side(plugin, stack.enter_context(_node("alone")), our_config(directory / "alone.sqlite"))
    peers = {
        name: Side(_PLUGINS / kind, stack.enter_context(_node(kind)), peer_config(kind, directory))
        for name, kind in ((PTP, "ptp"), (BRIDGE, "bridge"))
    }
    return {**dict(zip(names, served, strict=True)), ALONE: alone, **peers}


def report_calls(times: Mapping[str, Times]) -> None:
    """Print what a call takes, each way against both peers."""
    ways = [name for name in (LAUNCHER, SHIM, ALONE) if name in times]
    for way in ways:
        for command, goals in (("ADD", _ADD_GOALS), ("CHECK", {}), ("DEL", _DEL_GOALS)):
            field = {"ADD": 0, "CHECK": 1, "DEL": 2}[command]
            mine = times[way][field]
            for peer in (PTP, BRIDGE):
                theirs = times[peer][field]
                goal = goals.get(way) if peer == PTP else None
                for label, figure in (("median", median), ("p95", p95)):
                    report(
                        f"cni {command}, {way}, {label}",
                        "ms",
                        figure(mine),
                        peer=figure(theirs),
                        peer_name=_PEER_NAMES[peer],
                        goal=goal if label == "median" else None,
                    )


def p95(samples: list[float]) -> float:
    """Return what 95 of 100 samples stay below."""
    return statistics.quantiles(samples, n=20, method="inclusive")[-1]


def report_rates(sides: Mapping[str, Side], count: int) -> None:
    """Print how many ADDs eight callers get done in a second: in two halves that are run in turn."""
    names = [name for name in (LAUNCHER, SHIM, PTP, BRIDGE) if name in sides]
    rates: dict[str, list[float]] = {name: [] for name in names}
    for order in (names, names[::-1]):
        for name in order:
            with _pods(count // 2) as pods:
                rates[name].append(measure_rate(sides[name], pods))
    for way in (LAUNCHER, SHIM):
        for peer in (PTP, BRIDGE) if way in rates else ():
            report(
                f"cni ADDs with {_CALLERS} callers, {way}",
                "1/s",
                median(rates[way]),
                peer=median(rates[peer]),
                peer_name=_PEER_NAMES[peer],
                goal=_RATE_GOALS[way] if peer == PTP else None,
            )


def report_cpu(sides: Mapping[str, Side], rounds: int) -> None:
    """Print the processor time of ADD and DEL."""
    spent = {name: measure_cpu(side, rounds) for name, side in sides.items()}
    for way in (LAUNCHER, SHIM, ALONE):
        if way in spent:
            report(
                f"cni processor time of ADD and DEL, {way}",
                "ms",
                spent[way],
                peer=spent[PTP],
                peer_name=_PEER_NAMES[PTP],
                goal=_CPU_GOALS.get(way),
            )


def report_floors(directory: Path, rounds: int) -> None:
    """Print what the start of a process costs before it does anything."""
    interpreter = ["/usr/bin/python3", "-I", "-S", "-c", "pass"]
    report("cni floor: python3 -I -S -c pass", "ms", measure_start(interpreter, rounds))
    compiler = find_compiler()
    if compiler is not None:
        source, program = directory / "nothing.c", directory / "nothing"
        source.write_text("int main(void) { return 0; }\n")
        subprocess.run([compiler, "-O2", "-static", "-o", program, source], check=True)
        report("cni floor: a native program that does nothing", "ms", measure_start([str(program)], rounds))


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--quick", action="store_true", help="10 rounds instead of 50, 40 ADDs instead of 200"
    )
    is_quick = parser.parse_args().quick
    rounds, many, most = (10, 40, 60) if is_quick else (50, 200, 250)
    if not (_PLUGINS / "ptp").exists():
        print(f"bench: {_PLUGINS}/ptp is missing: install containernetworking-plugins", file=sys.stderr)
        return 1
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="npb-")))
        # Beside the socket is what ends with the boot: in memory, as on a node.
        runtime = stack.enter_context(tempfile.TemporaryDirectory(prefix="npb-", dir="/dev/shm"))
        os.environ["NODEPLANE_CNI_SOCKET"] = f"{runtime}/cni.sock"
        sides = build_sides(stack, directory)
        # The first calls build what later ones find: the datastore, the page cache.
        measure(sides, 1)
        report_calls(measure(sides, rounds))
        report_rates(sides, many)
        report_cpu(sides, rounds)
        best = next(name for name in (LAUNCHER, SHIM) if name in sides)
        first, last = measure_growth(sides[best], most)
        report(
            f"cni ADD of a node's pod number {most}, {best}",
            "ms",
            last,
            peer=first,
            peer_name="the same node's first pods",
            goal="ratio <= 1.2",
        )
        report_floors(directory, rounds)
    return 0


@contextmanager
def _node(label: str) -> Iterator[Path]:
    """Yield a node as others are: with an uplink and a default route, by which ours finds the MTU."""
    with (
        namespace(label) as node,
        namespace("outside") as outside,
        veth_pair(node, "uplink", outside, "uplink", address_a="192.0.2.1/24", address_b="192.0.2.2/24"),
    ):
        add_default_route(node, "192.0.2.2")
        yield node


@contextmanager
def _pods(count: int) -> Iterator[list[Path]]:
    with ExitStack() as stack:
        yield [stack.enter_context(namespace(f"pod{number}")) for number in range(count)]


def _cpu_of(pid: int | None) -> float:
    """Return the processor seconds of a process and those that it runs, with all threads (proc(5), stat)."""
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S + sum(_cpu_of(int(child)) for child in children)


if __name__ == "__main__":
    sys.exit(main())
