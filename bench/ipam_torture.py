"""Many processes that ask for addresses and are killed at random: is one ever handed out twice, is one lost?

Each worker is a container runtime of one of eight nodes: it makes a namespace (a file stands for it), asks
for an address, keeps a few pods, and ends the oldest. Workers are killed by SIGKILL at any moment and come
back; some of what they were at is then asked for again, as a runtime does, and the rest is forgotten, as
after a crash. On etcd the leader is killed as well. At the end the garbage is collected, and all that was
ever answered is held against all that is stored.

A pod has its address from the answer to its ADD until its DEL begins, by one clock for all processes: two
such times that overlap for one address are a duplicate.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from bench.figure import report
from bench.torture_count import Outcome, collect_garbage, count
from bench.torture_worker import Job, work
from ipam.datastore import open_datastore
from tests.etcd.processes import EtcdCluster, etcd_cluster

_DIED = -9


def run(
    url: str, store: str, directory: Path, options: argparse.Namespace, etcd: EtcdCluster | None
) -> Outcome:
    """Run the workers to their end, killing them on the way; then collect the garbage and count."""
    (directory / "netns").mkdir()
    # Made before the workers come, as an administrator does.
    open_datastore(url).close()
    jobs = [Job(url, str(directory), number, options.pods) for number in range(options.processes)]
    outcome = Outcome(store, len(jobs))
    started_s = time.monotonic()
    running = {job: _start(job) for job in jobs}
    leaders = _LeaderKiller(etcd, options.leaders, len(jobs) * options.pods)
    killer = _Killer(options)
    try:
        while running:
            # Short against a transaction's time, so that the blow falls anywhere in it.
            time.sleep(killer.dice.uniform(0, 0.004))
            for job, process in list(running.items()):
                if process.poll() is not None:
                    del running[job]
                    assert process.returncode in {0, _DIED}, f"worker {job.number}: {process.returncode}"
                    if process.returncode == _DIED:
                        running[job] = _start(job)
                elif killer.is_time(job):
                    process.kill()
            leaders.look(jobs)
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    leaders.finish()
    outcome.killed = killer.killed
    outcome.leaders_killed = leaders.killed
    outcome.seconds = time.monotonic() - started_s
    count(outcome, jobs)
    collect_garbage(outcome, jobs)
    return outcome


class _Killer:
    """Says when a worker is to die: after so and so much work, not while its interpreter starts."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.dice = random.Random(options.seed)
        self.killed = 0
        self._kills = options.kills
        # Four lines of some 25 bytes for each pod; each worker dies about equally often.
        self._each_bytes = 100 * options.pods * options.processes / max(1, options.kills)
        self._next_bytes: dict[Job, float] = {}

    def is_time(self, job: Job) -> bool:
        """Say whether a worker has come to its next death."""
        if self.killed >= self._kills or not job.log.exists():
            return False
        size = job.log.stat().st_size
        due = self._next_bytes.setdefault(job, self._draw(size))
        if size < due:
            return False
        self._next_bytes[job] = self._draw(size)
        self.killed += 1
        return True

    def _draw(self, size: int) -> float:
        return size + self.dice.uniform(1, 2 * self._each_bytes)


class _LeaderKiller:
    """Kills etcd's leader at fixed parts of the work, and starts it again a little later."""

    def __init__(self, etcd: EtcdCluster | None, times: int, adds: int) -> None:
        self._etcd = etcd
        self._marks = [adds * (number + 1) // (times + 1) for number in range(times if etcd else 0)]
        self._down: int | None = None
        self._down_since_s = 0.0
        self.killed = 0

    def look(self, jobs: list[Job]) -> None:
        """See how far the work is."""
        if self._etcd is None:
            return
        if self._down is not None and time.monotonic() - self._down_since_s > 2:
            self._etcd.start(self._down)
            self._down = None
        elif self._down is None and self._marks:
            done = sum(job.log.read_bytes().count(b" has ") for job in jobs if job.log.exists())
            if done >= self._marks[0]:
                self._marks.pop(0)
                self._down = self._etcd.kill_leader()
                self._down_since_s = time.monotonic()
                self.killed += 1

    def finish(self) -> None:
        """Let all members run."""
        if self._etcd is not None and self._down is not None:
            self._etcd.start(self._down)
            self._down = None


def _start(job: Job) -> "subprocess.Popen[bytes]":
    words = [sys.executable, "-m", "bench.ipam_torture", "--worker", msgspec.json.encode(job).decode()]
    return subprocess.Popen(words, cwd=Path(__file__).parents[1])


@contextmanager
def stores(names: list[str], members: int) -> Iterator[list[tuple[str, str, EtcdCluster | None]]]:
    """Yield each store's name, a URL of it, and its cluster."""
    with ExitStack() as stack:
        found: list[tuple[str, str, EtcdCluster | None]] = []
        for name in names:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nodeplane-torture-")))
            if name == "sqlite":
                found.append(("SQLite", f"sqlite://{directory}/ipam.sqlite", None))
            else:
                etcd = stack.enter_context(etcd_cluster(directory, members))
                found.append((f"etcd of {members}", etcd.url("/torture"), etcd))
        yield found


def show(outcome: Outcome) -> bool:
    """Print the table of one store; return whether it is as it must be."""
    name = f"ipam torture, {outcome.store}, {outcome.processes} processes"
    for text, value in (
        ("ADDs answered", outcome.adds),
        ("DELs answered", outcome.deletes),
        ("processes killed", outcome.killed),
        ("leaders killed", outcome.leaders_killed),
        ("calls that failed and were repeated", outcome.failed_calls),
        ("addresses left behind before GC", outcome.leaked_before_gc),
    ):
        report(f"{name}: {text}", "count", value)
    report(f"{name}: time", "s", outcome.seconds)
    good = [
        report(f"{name}: {text}", "count", value, goal="ours <= 0")
        for text, value in (
            ("addresses handed out twice", outcome.duplicates),
            ("addresses left behind after GC", outcome.leaked_after_gc),
            ("pods whose address was lost", outcome.lost),
            ("contradictions in the datastore", outcome.contradictions),
        )
    ]
    return all(good)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--store", action="append", choices=["sqlite", "etcd"], help="both by default")
    parser.add_argument("--processes", type=int, default=16)
    parser.add_argument("--pods", type=int, default=500, help="ADDs and DELs of each process")
    parser.add_argument("--kills", type=int, default=160, help="at most so many processes are killed")
    parser.add_argument("--members", type=int, default=3, help="of the etcd cluster")
    parser.add_argument("--leaders", type=int, default=2, help="how often etcd's leader is killed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="8 processes with 20 pods each")
    options = parser.parse_args(arguments)
    if options.quick:
        options.processes, options.pods, options.kills = 8, 20, 12
    return options


def main() -> int:
    """Run the workers, print what came of it; return the exit code."""
    options = parse()
    if options.worker:
        work(msgspec.json.decode(options.worker, type=Job))
        return 0
    is_good = True
    for name in options.store or ["sqlite", "etcd"]:
        with stores([name], options.members) as found, tempfile.TemporaryDirectory() as directory:
            [(store, url, etcd)] = found
            is_good &= show(run(url, store, Path(directory), options, etcd))
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
