"""ADD and DEL of one pod, from exec to exit, next to Debian's ptp + host-local.

Each side has a node's namespace of its own, and each round a fresh namespace for each side's pod; rounds run
both sides, taking turns at going first, so that other load on the machine meets both alike. Ours keeps its
addresses in SQLite with a full sync to disk for each change; host-local writes a file without one.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from bench.figure import median, report
from nodeplane.datapath import netns
from tests.netns_fixture import namespace

_PLUGINS = Path("/usr/lib/cni")
_PEER_NAME = "ptp + host-local (containernetworking-plugins)"


class Side(NamedTuple):
    """A plugin, the node that it runs in, and its network configuration."""

    program: Path
    node: Path
    config: bytes


class Times(NamedTuple):
    """Milliseconds of one side, a value for each round."""

    add: list[float]
    delete: list[float]


def call(side: Side, command: str, container: str, pod: Path) -> float:
    """Run a plugin once; return the milliseconds from exec to exit.

    Raises:
        RuntimeError: the plugin failed.
    """
    environ = {
        "PATH": os.environ["PATH"],
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": container,
        "CNI_NETNS": str(pod),
        "CNI_IFNAME": "eth0",
        "CNI_PATH": str(_PLUGINS),
    }
    stdin, feed = os.pipe()
    drain, stdout = os.pipe()
    # The configuration fits into the pipe's buffer, so it is all there before the plugin reads.
    os.write(feed, side.config)
    os.close(feed)
    with netns.inside(side.node):
        started = time.perf_counter()
        pid = spawn(side.program, environ, stdin, stdout)
    os.close(stdin)
    os.close(stdout)
    with os.fdopen(drain, "rb") as output:
        answer = output.read()
    _, status = os.waitpid(pid, 0)
    elapsed_ms = (time.perf_counter() - started) * 1000
    if status != 0:
        raise RuntimeError(f"{side.program.name} {command} failed: {answer.decode(errors='replace')}")
    return elapsed_ms


def spawn(program: Path, environ: Mapping[str, str], stdin: int, stdout: int) -> int:
    """Start a program as a container runtime written in Go or C does, without a copy of this process."""
    return os.posix_spawn(
        program,
        [str(program)],
        environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, stdin, 0), (os.POSIX_SPAWN_DUP2, stdout, 1)],
    )


def measure(sides: list[Side], rounds: int) -> list[Times]:
    """Run ADD and DEL of both sides in turn."""
    times = [Times([], []) for _ in sides]
    for number in range(rounds):
        order = range(len(sides)) if number % 2 == 0 else reversed(range(len(sides)))
        for index in order:
            with namespace(f"pod{number}") as pod:
                container = f"bench-{number}"
                times[index].add.append(call(sides[index], "ADD", container, pod))
                times[index].delete.append(call(sides[index], "DEL", container, pod))
    return times


def our_config(directory: Path) -> dict[str, Any]:
    """Build the configuration of nodeplane-cni."""
    pools = [{"name": "default", "cidr": "10.244.0.0/16", "blockSize": 26}]
    datastore = f"sqlite://{directory}/ipam.sqlite"
    ipam = {"type": "nodeplane-ipam", "datastore": datastore, "pools": pools}
    return {"cniVersion": "1.0.0", "name": "bench", "type": "nodeplane-cni", "nodeName": "n1", "ipam": ipam}


def peer_config(directory: Path) -> dict[str, Any]:
    """Build the configuration of ptp with host-local."""
    ranges = [[{"subnet": "10.245.0.0/16"}]]
    ipam = {
        "type": "host-local",
        "dataDir": f"{directory}/host-local",
        "ranges": ranges,
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    return {"cniVersion": "1.0.0", "name": "bench", "type": "ptp", "ipam": ipam}


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="10 rounds instead of 50")
    rounds = 10 if parser.parse_args().quick else 50
    ours = Path(sys.executable).with_name("nodeplane-cni")
    peer = _PLUGINS / "ptp"
    if not peer.exists():
        print(f"bench: {peer} is missing: install containernetworking-plugins", file=sys.stderr)
        return 1
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nodeplane-bench-")))
        sides = [
            Side(program, stack.enter_context(namespace(label)), json.dumps(config).encode())
            for program, label, config in (
                (ours, "ours", our_config(directory)),
                (peer, "peer", peer_config(directory)),
            )
        ]
        # The first calls build what later ones find: the datastore, the page cache.
        measure(sides, 1)
        our_times, peer_times = measure(sides, rounds)
    for figure, mine, theirs in (
        ("cni ADD, exec to exit, median", our_times.add, peer_times.add),
        ("cni DEL, exec to exit, median", our_times.delete, peer_times.delete),
    ):
        report(figure, "ms", median(mine), peer=median(theirs), peer_name=_PEER_NAME)
    return 0


if __name__ == "__main__":
    sys.exit(main())
