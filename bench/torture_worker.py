"""A worker of `bench.ipam_torture`: it asks for addresses and gives them back, and notes what it has done."""

import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import TypeVar

import msgspec

from ipam.allocator import Allocator
from ipam.datastore import open_datastore
from ipam.errors import DatastoreError
from ipam.model import Handle, PodRef, Pool, Request

T = TypeVar("T")

POOL = Pool("default", ip_network("10.64.0.0/16"), 26)
_NODES = 8
_LIVE_PODS = 10


class Job(msgspec.Struct, frozen=True):
    """What a worker has to do; `directory` is where its log and its pods' namespaces are."""

    url: str
    directory: str
    number: int
    pods: int

    @property
    def node(self) -> str:
        """The node that it works for."""
        return f"n{self.number % _NODES}"

    @property
    def log(self) -> Path:
        """What it has done: lines of `time event pod address`."""
        return Path(self.directory, f"worker-{self.number}.log")

    def netns(self, pod: int) -> Path:
        """The file that stands for a pod's namespace."""
        return Path(self.directory, "netns", f"{self.number}-{pod}")


def work(job: Job) -> None:
    """Do a job from where its log ends; called in a process that may die at any moment."""
    live, first = _resume(job)
    with job.log.open("a") as log, open_datastore(job.url) as datastore:
        allocator = Allocator(datastore, (POOL,))

        def note(event: str, pod: int, address: str = "-") -> None:
            # One write each: what the kernel has taken is not lost with the process.
            log.write(f"{time.monotonic()} {event} {pod} {address}\n")
            log.flush()

        def add(pod: int) -> None:
            netns = job.netns(pod)
            netns.touch()
            note("adds", pod)
            request = Request(
                _handle(job, pod),
                PodRef("default", f"w{job.number}-{pod}"),
                job.node,
                str(netns),
                int(time.time()),
            )
            given = _again(lambda: allocator.assign(request), lambda: note("fails", pod))
            note("has", pod, str(given.ips[0].address.ip))

        def delete(pod: int) -> None:
            note("deletes", pod)
            _again(lambda: allocator.release(_handle(job, pod)), lambda: note("fails", pod))
            note("deleted", pod)
            job.netns(pod).unlink(missing_ok=True)

        for pod in list(live):
            add(pod)
        for pod in range(first, job.pods):
            add(pod)
            live.append(pod)
            if len(live) > _LIVE_PODS:
                delete(live.popleft())
        while live:
            delete(live.popleft())
        note("ends", -1)


def _again(call: Callable[[], T], failed: Callable[[], None]) -> T:
    """Call until it succeeds: a runtime does so with a plugin that fails."""
    while True:
        try:
            return call()
        except DatastoreError:
            failed()


def _handle(job: Job, pod: int) -> Handle:
    return Handle(f"w{job.number}-{pod}", "eth0", job.node)


def _resume(job: Job) -> tuple[deque[int], int]:
    """Return the pods that live on, and the first that was never begun; the runtime forgets some."""
    dice = random.Random(job.number * 1000 + int(time.monotonic() * 1000) % 1000)
    begun: dict[int, str] = {}
    for _, event, pod, _ in read_log(job.log):
        if event != "fails":
            begun[pod] = event
    live: deque[int] = deque()
    for pod, event in begun.items():
        if event in {"adds", "has"} and dice.random() < 0.8:
            live.append(pod)
        elif event != "ends":
            # Its sandbox went with the crash; nobody will ever ask for its end.
            job.netns(pod).unlink(missing_ok=True)
    return live, max((pod for pod in begun if pod >= 0), default=-1) + 1


def read_log(path: Path) -> Iterator[tuple[float, str, int, str]]:
    """Yield what a worker noted; a line that its death cut off was never noted."""
    if not path.exists():
        return
    for line in path.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            moment, event, pod, address = line.split()
            yield float(moment), event, int(pod), address
