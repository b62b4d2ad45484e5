"""Allocations per second, their longest waits, what they cost the store: SQLite and etcd, beside host-local.

Stores are used in process, as by a daemon, and sync to disk before they answer. host-local is measured as it
is used (a program for each call, no sync) beside ours used the same way; and its file operations in process,
with syncs, which is the same durability as ours. A client is a process; each asks for a node of its own.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Network
from pathlib import Path

from bench.figure import median, report
from bench.host_local_files import HostLocalFiles
from bench.ipam_clients import Sample, allocate, clients, in_parallel, merge, timed
from bench.ipam_filled import PODS_PER_NODE, fill
from ipam.datastore import open_datastore
from tests.etcd.processes import etcd_cluster

_HOST_LOCAL = Path("/usr/lib/cni/host-local")


def show_rates(store: str, url: str, each: int, *, goals: bool) -> None:
    """Print rates and waits of a store with 1 and 8 clients."""
    for count in (1, 8):
        sample = clients(url, count, each if count == 1 else each // 4)
        name = f"{store}, {count} client{'s' if count > 1 else ''}"
        is_goal = goals and count == 1
        report(f"{name}: allocations", "1/s", sample.rate, goal="ours >= 1000" if is_goal else None)
        report(f"{name}: p50", "ms", sample.percentile_ms(50))
        report(f"{name}: p99", "ms", sample.percentile_ms(99), goal="ours <= 10" if is_goal else None)
        report(
            f"{name}: CPU of the client for an allocation", "ms", sample.cpu_s / len(sample.calls_s) * 1000
        )
        cost = sample.transactions / len(sample.calls_s)
        report(f"{name}: transactions for an allocation", "1", cost, goal="ours <= 1.2")
        report(f"{name}: further reads for an allocation", "1", sample.reads / len(sample.calls_s))


def run_plugin(program: list[str], config: bytes, containers: Sequence[str]) -> Sample:
    """ADD containers, one after the other, by a program for each."""

    def call(container: str) -> Callable[[], object]:
        environ = {
            **os.environ,
            "CNI_COMMAND": "ADD",
            "CNI_CONTAINERID": container,
            "CNI_NETNS": "/run/netns/none",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": "/nowhere",
        }
        return lambda: subprocess.run(program, input=config, env=environ, capture_output=True, check=True)

    return timed([call(container) for container in containers])


def show_plugins(directory: Path, each: int) -> None:
    """Print the rates of the programs, ours beside host-local: as it is, without a sync."""
    ranges = {"ranges": [[{"subnet": "10.0.0.0/16"}]]}
    theirs = {"type": "host-local", "dataDir": f"{directory}/host-local", **ranges}
    ours = {"type": "nodeplane-ipam", "datastore": f"sqlite://{directory}/exec.sqlite", **ranges}
    programs = {
        "ours": ([sys.executable, "-c", "import sys; from ipam.plugin import main; sys.exit(main())"], ours),
        "theirs": ([str(_HOST_LOCAL)], theirs),
    }
    for count in (1, 8):
        samples = {}
        for side, (program, ipam) in programs.items():
            config = json.dumps(
                {"cniVersion": "1.0.0", "name": "bench", "nodeName": "n1", "ipam": ipam}
            ).encode()
            batches = [[f"c{count}-{client}-{number}" for number in range(each)] for client in range(count)]
            samples[side] = in_parallel(run_plugin, [(program, config, batch) for batch in batches])
        name = f"a program for each call, {count} client{'s' if count > 1 else ''}"
        peer = "host-local, which does not sync"
        report(
            f"{name}: allocations", "1/s", samples["ours"].rate, peer=samples["theirs"].rate, peer_name=peer
        )
        for part in (50, 99):
            mine, other = (samples[side].percentile_ms(part) for side in ("ours", "theirs"))
            report(f"{name}: p{part}", "ms", mine, peer=other, peer_name=peer)


def show_files(directory: Path, url: str, rounds: int) -> None:
    """Print ours beside host-local's file operations, in process: with syncs, and as they are.

    Each round is a pod's worth of 50 addresses for each side, in turns, so that other load on the machine
    meets all alike; ratios are the median of the rounds'. host-local looks through all its reservations for
    each, so that its own grow slower with what is stored; here there are never more than a full node's.
    """
    each = 50
    sides: dict[str, list[Sample]] = {"ours": [], "synced": [], "plain": []}
    for number in range(rounds):
        ours = allocate(url, [(f"files-{number}", pod) for pod in range(each + 5)], 5)
        sides["ours"].append(ours)
        for side in ("synced", "plain"):
            files = HostLocalFiles(
                directory / f"{side}-{number}", IPv4Network("10.0.0.0/16"), is_durable=side == "synced"
            )
            sides[side].append(timed([_reserve(files, pod) for pod in range(each)]))
    for side, text, goal in (
        ("synced", "with syncs", "ratio >= 1"),
        ("plain", "as they are, without syncs", None),
    ):
        peer = f"host-local's file operations, {text}"
        pairs = list(zip(sides["ours"], sides[side], strict=True))
        report(
            "SQLite beside host-local, in process: allocations",
            "1/s",
            median([mine.rate for mine, _ in pairs]),
            peer=median([other.rate for _, other in pairs]),
            peer_name=peer,
            ratio=median([mine.rate / other.rate for mine, other in pairs]),
            goal=goal,
        )
        mine, other = merge(sides["ours"]), merge(sides[side])
        for part in (50, 99):
            name = f"SQLite beside host-local, in process: p{part}"
            report(name, "ms", mine.percentile_ms(part), peer=other.percentile_ms(part), peer_name=peer)


def _reserve(files: HostLocalFiles, number: int) -> Callable[[], object]:
    return lambda: files.add(f"container-{number}")


def show_flat_cost(store: str, urls: tuple[str, str], nodes: int, each: int) -> None:
    """Print what an allocation costs in a full datastore, through what it costs in a nearly empty one."""
    small, large = urls
    fill(small, 1)
    fill(large, nodes)
    ratios, mine, other = [], [], []
    # In turns, so that other load on the machine meets both alike; the median of the rounds' ratios.
    for number in range(9):
        samples = [
            allocate(url, [(f"r{number}", pod) for pod in range(each + 5)], 5) for url in (large, small)
        ]
        full, empty = (median(sample.calls_s) * 1000 for sample in samples)
        ratios.append(full / empty)
        mine.append(full)
        other.append(empty)
    addresses = nodes * PODS_PER_NODE
    report(
        f"{store}: an allocation at {addresses} addresses, median",
        "ms",
        median(mine),
        peer=median(other),
        peer_name="ours at 100 addresses",
        ratio=median(ratios),
        goal="ratio <= 1.5",
    )


def show_many_nodes(url: str, nodes: int, pods: int) -> None:
    """Fill one pool from many nodes at once: eight processes, each many nodes in a random order."""
    dice = random.Random(1)
    batches: list[list[tuple[str, int]]] = [[] for _ in range(8)]
    for number in range(nodes):
        batches[number % 8] += [(f"n{number}", pod) for pod in range(pods)]
    for batch in batches:
        dice.shuffle(batch)
    open_datastore(url).close()
    sample = in_parallel(allocate, [(url, batch) for batch in batches])
    name = f"etcd, {nodes} nodes x {pods} pods into one /12"
    report(f"{name}: total", "s", sample.ended_s - sample.began_s)
    report(f"{name}: allocations", "1/s", sample.rate)
    report(f"{name}: conflicts for an allocation", "1", sample.conflicts / len(sample.calls_s))
    cost = sample.transactions / len(sample.calls_s)
    report(f"{name}: transactions for an allocation", "1", cost, goal="ours <= 1.2")
    report(f"{name}: p99", "ms", sample.percentile_ms(99))
    report(f"{name}: longest", "ms", max(sample.calls_s) * 1000)
    with open_datastore(url) as datastore:
        used = sum(block.used for block in datastore.blocks())
    assert used == nodes * pods, used


@contextmanager
def etcd_url(members: int) -> Iterator[Callable[[str], str]]:
    """Run an etcd that syncs; yield what gives a URL of an empty prefix."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nodeplane-bench-")))
        # The tests' clusters do not sync; what is compared here does.
        cluster = stack.enter_context(etcd_cluster(directory, members, {"unsafe-no-fsync": "false"}))
        yield lambda prefix: cluster.url(f"/{prefix}")


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, nodes and addresses")
    parser.add_argument("--only", choices=["sqlite", "etcd", "plugins", "flat", "nodes"], action="append")
    options = parser.parse_args()
    parts = options.only or ["sqlite", "etcd", "plugins", "flat", "nodes"]
    each = 200 if options.quick else 4000
    nodes = 50 if options.quick else 1000
    if "plugins" in parts and not _HOST_LOCAL.exists():
        print(f"bench: {_HOST_LOCAL} is missing: install containernetworking-plugins", file=sys.stderr)
        return 1
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nodeplane-bench-")))
        if "sqlite" in parts:
            url = f"sqlite://{directory}/rates.sqlite"
            show_rates("SQLite", url, each, goals=True)
            show_files(directory / "files", url, 5 if options.quick else 20)
        if "etcd" in parts:
            for members in (1,) if options.quick else (1, 3):
                with etcd_url(members) as url_of:
                    name = f"etcd, {members} member{'s' if members > 1 else ''}"
                    show_rates(name, url_of("rates"), each // 4, goals=False)
        if "plugins" in parts:
            show_plugins(directory, 2 if options.quick else 40)
        if "flat" in parts:
            small, large = (f"sqlite://{directory}/{name}.sqlite" for name in ("small", "large"))
            show_flat_cost("SQLite", (small, large), nodes, 50)
        if "flat" in parts or "nodes" in parts:
            with etcd_url(1) as url_of:
                if "flat" in parts:
                    show_flat_cost("etcd", (url_of("small"), url_of("large")), nodes, 50)
                if "nodes" in parts:
                    show_many_nodes(url_of("nodes"), nodes, 20 if options.quick else PODS_PER_NODE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
