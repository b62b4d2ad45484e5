"""Cost of a cold start and of one endpoint change, as the cluster grows.

Ours: the whole program, fed from manifests and from a real API server, from its start to READY, which it says
once the kernel has all of its tables; and its parts in this process, from objects to this kernel, in a
namespace of our own. A change goes from the EndpointSlice event to the committed kernel state; with the whole
program, from an API server's PATCH. Peer: the same services in kube-proxy's layout (a chain for each service
port, a map of verdicts) through `nft -f -`, in another namespace; a change replaces the rules of the one
service's chain. Its cost grows quadratically.
"""

import argparse
import gc
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bench import cluster_feeds as feeds
from bench import cluster_objects as objects
from bench.api_client import ApiClient, slice_path
from bench.cluster_objects import ENDPOINTS, SLICE_ENDPOINTS
from bench.figure import median, report
from bench.kernel_memory import element_memory_mb
from bench.program import cpu_s, memory_mb, running, running_apiserver
from bench.ruleset_clock import RulesetClock
from bench.service_chains import measure_peer
from kubeproxy.family_proxier import FamilyProxier
from kubeproxy.proxier import Proxier
from kubeproxy.rules.layout import TABLE
from nodeplane.datapath import netns
from nodeplane.datapath.nft.kernel import KernelTable
from nodeplane.kube.objects import EndpointSlice
from nodeplane.kube.source import Change
from tests.netns_fixture import namespace, run_in

_CHANGES = 200
_LARGE = 5000
_MEMORY_NOISE_MB = 0.2
# Longer than kubeproxy's interval between two syncs: each change is one by itself.
_PAUSE_S = 0.03
_NODE = ("--node-name", "node-0")
_PEER_NAME = "chain per service through nft -f -"


class Costs(msgspec.Struct, frozen=True):
    """What one size costs inside a process: seconds, and MB of kernel memory."""

    load: float
    load_commit: float
    changes: list[float]
    commits: list[float]
    cpu: float
    memory_mb: float


def percentile(samples: list[float], percent: int) -> float:
    """Return the sample that so many of a hundred do not exceed."""
    return sorted(samples)[(len(samples) - 1) * percent // 100]


def measure_parts(snapshot: tuple[Change, ...], steps: list[tuple[Change, Change]], rounds: int) -> Costs:
    """Load a cluster and make changes there and back."""
    loads, commits_of_loads, sizes = [], [], []
    with KernelTable("ip", TABLE) as edge:
        for _ in range(rounds):
            edge.delete()
            gc.collect()
            before = element_memory_mb()
            started = time.perf_counter()
            family = FamilyProxier("ip", edge)
            proxier = Proxier("node-0", [family])
            proxier.take(snapshot)
            change = family.plan(full=True)
            planned = time.perf_counter()
            family.apply(change)
            finished = time.perf_counter()
            loads.append(finished - started)
            commits_of_loads.append(finished - planned)
            sizes.append(element_memory_mb() - before)
        changes, commits = [], []
        cpu = time.process_time()
        for there, back in steps:
            for step in (there, back):
                started = time.perf_counter()
                proxier.take((step,))
                change = family.plan(full=False)
                planned = time.perf_counter()
                family.apply(change)
                finished = time.perf_counter()
                changes.append(finished - started)
                commits.append(finished - planned)
        cpu = (time.process_time() - cpu) / len(changes)
        edge.delete()
    return Costs(median(loads), median(commits_of_loads), changes, commits, cpu, median(sizes))


def there_and_back(before: EndpointSlice, after: EndpointSlice) -> tuple[Change, Change]:
    """Return a change and what undoes it."""
    return Change(after.key, before, after), Change(after.key, after, before)


def steps_for(services: int) -> list[tuple[Change, Change]]:
    """Return changes in which one service after the other gets one endpoint more."""
    victims = [number * 7919 % services for number in range(_CHANGES)]
    return [
        there_and_back(
            feeds.as_slice(objects.endpoint_slice(victim)),
            feeds.as_slice(
                objects.endpoint_slice(victim, objects.endpoint_ips(victim, ENDPOINTS + 1)),
            ),
        )
        for victim in victims
    ]


def steps_for_large() -> list[tuple[Change, Change]]:
    """Return changes in which one slice after the other of the large service loses an endpoint."""
    slices = [*objects.endpoint_slices(0, _LARGE)]
    return [
        there_and_back(
            feeds.as_slice(piece),
            feeds.as_slice({**piece, "endpoints": piece["endpoints"][: SLICE_ENDPOINTS - 1]}),
        )
        for piece in (slices[number * 7 % len(slices)] for number in range(_CHANGES))
    ]


@contextmanager
def working_directory() -> Iterator[Path]:
    """Yield a new directory, gone afterwards."""
    path = Path(tempfile.mkdtemp(prefix="nodeplane-bench-"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def cold_start(ns: Path, log: Path, *source: str) -> float:
    """Return the seconds from the start of `kubeproxy run` to its READY, over an empty ruleset."""
    assert run_in(ns, "nft", "flush", "ruleset").returncode == 0
    started = time.perf_counter()
    with running(ns, "kubeproxy", "run", *_NODE, *source, log=log):
        return time.perf_counter() - started


def measure_programs(services: int, cluster: objects.Cluster, rounds: int, changes: int) -> None:
    """Report cold starts of the program, and what the running daemon needs."""
    goal = {10_000: "ours <= 1.5", 30_000: "ours <= 4"}.get(services)
    with working_directory() as directory, namespace() as ns:
        log = directory / "log"
        feeds.write_manifests(directory / "manifests", cluster)
        (directory / "api").mkdir()
        feeds.fill_store(directory / "api", cluster)
        source = ("--manifests", str(directory / "manifests"))
        starts = [cold_start(ns, log, *source) for _ in range(rounds)]
        report(f"kubeproxy_cold_start_manifests_{services}", "s", median(starts), goal=goal)
        with running_apiserver(ns, directory / "api") as kubeconfig:
            source = ("--kubeconfig", str(kubeconfig))
            starts = [cold_start(ns, log, *source) for _ in range(rounds)]
            report(f"kubeproxy_cold_start_api_{services}", "s", median(starts), goal=goal)
            with running(ns, "kubeproxy", "run", *_NODE, *source, log=log) as daemon:
                limit = "ours <= 150" if services == 10_000 else None
                report(f"kubeproxy_peak_rss_{services}", "MB", memory_mb(daemon, "VmHWM"), goal=limit)
                if services <= 10_000:
                    cpu = cpu_s(daemon)
                    sent, answered = patch_to_kernel(ns, kubeconfig, services, changes)
                    cpu = (cpu_s(daemon) - cpu) / changes
                    report_patches(services, sent, answered, cpu)


def patch_to_kernel(
    ns: Path, kubeconfig: Path, services: int, changes: int
) -> tuple[list[float], list[float]]:
    """Change slices through the API server one by one.

    Returns:
        Seconds until the kernel has each change: since its PATCH was sent, since it was answered.
    """
    client = ApiClient(kubeconfig, ns)
    since_sent, since_answered = [], []
    with RulesetClock(ns) as clock:
        for number in range(changes):
            victim = number * 7919 % services
            # Each time other addresses: the second round of a small cluster must change something as well.
            count = 1 + number // services % 2
            piece = objects.endpoint_slice(victim, objects.endpoint_ips(victim, count))
            path = slice_path(objects.namespace_name(victim), objects.slice_name(victim))
            time.sleep(_PAUSE_S)
            clock.clear()
            sent = time.monotonic()
            client.patch(path, {"endpoints": piece["endpoints"]})
            answered = time.monotonic()
            committed = clock.next(within_s=30)
            since_sent.append(committed - sent)
            # The watch may be faster than the answer.
            since_answered.append(max(committed - answered, 0.0))
    client.close()
    return since_sent, since_answered


def report_patches(services: int, sent: list[float], answered: list[float], cpu: float) -> None:
    """Report the way from an API server to the kernel."""
    for percent in (50, 99):
        figure = f"kubeproxy_patch_sent_to_kernel_{services}_p{percent}"
        report(figure, "ms", percentile(sent, percent) * 1000)
    # No p50: as a rule the watch is faster than the answer, and it is zero.
    figure = f"kubeproxy_patch_answered_to_kernel_{services}_p99"
    report(figure, "ms", percentile(answered, 99) * 1000, goal="ours <= 10")
    report(f"kubeproxy_daemon_cpu_per_change_{services}", "ms", cpu * 1000, goal="ours <= 3")


def report_parts(name: str, costs: Costs, peer: tuple[float, list[float]] | None) -> None:
    """Report the cost of a load and of changes inside a process."""
    peer_name = _PEER_NAME if peer else None
    peer_load, peer_change = (peer[0], median(peer[1]) * 1000) if peer else (None, None)
    report(f"kubeproxy_load_{name}", "s", costs.load, peer=peer_load, peer_name=peer_name)
    report(f"kubeproxy_load_commit_{name}", "s", costs.load_commit)
    p50, p99 = (percentile(costs.changes, percent) * 1000 for percent in (50, 99))
    figure = f"kubeproxy_change_{name}"
    report(f"{figure}_p50", "ms", p50, peer=peer_change, peer_name=peer_name, goal="ours <= 3")
    report(f"{figure}_p99", "ms", p99, goal="ours <= 10")
    report(f"{figure}_cpu", "ms", costs.cpu * 1000, goal="ours <= 3")
    report(f"kubeproxy_commit_{name}", "ms", median(costs.commits) * 1000, goal="ours <= 1")
    if costs.memory_mb > _MEMORY_NOISE_MB:
        report(f"kubeproxy_kernel_memory_{name}", "MB of elements in kmalloc-cg slabs", costs.memory_mb)


def measure(services: int, *, with_peer: bool, with_programs: bool, rounds: int, changes: int) -> float:
    """Report all figures for one size; return the median commit of a change in seconds."""
    cluster = objects.build_cluster(services)
    if with_programs:
        measure_programs(services, cluster, rounds, changes)
    snapshot = feeds.as_changes(cluster)
    del cluster
    with namespace() as ours, netns.inside(ours):
        costs = measure_parts(snapshot, steps_for(services), rounds)
    peer = None
    if with_peer:
        with namespace() as peers, netns.inside(peers):
            peer = measure_peer(services)
    report_parts(str(services), costs, peer)
    return median(costs.commits)


def measure_large(rounds: int) -> None:
    """Report the figures of one service with 5,000 endpoints."""
    cluster = objects.build_cluster(1, _LARGE)
    with namespace() as ours, netns.inside(ours):
        costs = measure_parts(feeds.as_changes(cluster), steps_for_large(), rounds)
    report_parts(f"one_service_{_LARGE}_endpoints", costs, None)


def main() -> None:
    """Measure 100 to 30,000 services of four endpoints, and one of 5,000 endpoints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="up to 10,000 services, without the peer there (half a minute); once",
    )
    arguments = parser.parse_args()
    rounds = 1 if arguments.quick else 3
    changes = 40 if arguments.quick else _CHANGES
    sizes = (100, 1_000, 10_000) if arguments.quick else (100, 1_000, 10_000, 30_000)
    commits = {
        size: measure(
            size,
            with_peer=size <= (1_000 if arguments.quick else 10_000),
            with_programs=size >= 1_000 or not arguments.quick,
            rounds=rounds,
            changes=changes,
        )
        for size in sizes
    }
    measure_large(rounds)
    growth = commits[sizes[-1]] / commits[1_000]
    report("kubeproxy_commit_growth", f"{sizes[-1]:,} services : 1,000", growth, goal="ours <= 1.5")


if __name__ == "__main__":
    main()
