"""Clients of IPAM stores in processes of their own, and what they saw."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from ipaddress import ip_network
from multiprocessing import get_context

import msgspec

from ipam.allocator import Allocator
from ipam.datastore import open_datastore
from ipam.model import Handle, PodRef, Pool, Request

POOL = Pool("default", ip_network("10.0.0.0/12"), 26)


class Sample(msgspec.Struct):
    """What clients saw: seconds of each call, the span of all, their CPU, and what their stores counted."""

    calls_s: list[float] = []
    cpu_s: float = 0.0
    began_s: float = float("inf")
    ended_s: float = 0.0
    transactions: int = 0
    conflicts: int = 0
    reads: int = 0

    @property
    def rate(self) -> float:
        """Calls for each second."""
        return len(self.calls_s) / (self.ended_s - self.began_s)

    def percentile_ms(self, part: int) -> float:
        """Return the time that so many of a hundred calls stay below, in milliseconds."""
        ordered = sorted(self.calls_s)
        return ordered[min(len(ordered) - 1, len(ordered) * part // 100)] * 1000


def merge(samples: Sequence[Sample]) -> Sample:
    """Return what all clients saw together."""
    return Sample(
        calls_s=[each for sample in samples for each in sample.calls_s],
        cpu_s=sum(sample.cpu_s for sample in samples),
        began_s=min(sample.began_s for sample in samples),
        ended_s=max(sample.ended_s for sample in samples),
        transactions=sum(sample.transactions for sample in samples),
        conflicts=sum(sample.conflicts for sample in samples),
        reads=sum(sample.reads for sample in samples),
    )


def timed(calls: Sequence[Callable[[], object]]) -> Sample:
    """Call one after the other."""
    sample = Sample(calls_s=[], began_s=time.monotonic())
    cpu_s = time.process_time()
    for call in calls:
        started_s = time.perf_counter()
        call()
        sample.calls_s.append(time.perf_counter() - started_s)
    sample.ended_s, sample.cpu_s = time.monotonic(), time.process_time() - cpu_s
    return sample


def request(node: str, number: int) -> Request:
    """Build the request of a pod on a node."""
    pod = PodRef("default", f"{node}-{number}", f"uid-{node}-{number}")
    return Request(
        Handle(f"{node}-{number}", "eth0", node), pod, node, f"/run/netns/{number}", int(time.time())
    )


def allocate(url: str, wishes: Sequence[tuple[str, int]], warm: int = 0) -> Sample:
    """Ask for addresses (node, pod), as one client; the first few are not counted."""
    with open_datastore(url) as datastore:
        allocator = Allocator(datastore, (POOL,))
        for node, number in wishes[:warm]:
            allocator.assign(request(node, number))
        before = msgspec.structs.asdict(datastore.counters)
        sample = timed([_assign(allocator, node, number) for node, number in wishes[warm:]])
        for name, value in msgspec.structs.asdict(datastore.counters).items():
            if hasattr(sample, name):
                setattr(sample, name, value - before[name])
    return sample


def _assign(allocator: Allocator, node: str, number: int) -> Callable[[], object]:
    return lambda: allocator.assign(request(node, number))


def in_parallel(function: Callable[..., Sample], arguments: Sequence[tuple[object, ...]]) -> Sample:
    """Run a client for each tuple of arguments."""
    with ProcessPoolExecutor(len(arguments), get_context("fork")) as executor:
        futures = [executor.submit(function, *each) for each in arguments]
        return merge([future.result() for future in futures])


def clients(url: str, count: int, each: int) -> Sample:
    """Let clients ask for addresses at the same time."""
    warm = 5
    # Names that nobody had before: each client comes as a node that has no block yet.
    names = [f"client-{count}-{number}" for number in range(count)]
    wishes = [[(name, number) for number in range(each + warm)] for name in names]
    return in_parallel(allocate, [(url, wish, warm) for wish in wishes])
