"""What came of `bench.ipam_torture`: what was answered, held against what is stored."""

import os
import time
from collections import defaultdict
from pathlib import Path

import msgspec

from bench.torture_worker import Job, read_log
from ipam.check import find_contradictions, read_snapshot
from ipam.collection import collect
from ipam.datastore import open_datastore
from ipam.leaks import Here, find_leaks, netns_exists
from ipam.ledger import LedgerReader


class Outcome(msgspec.Struct):
    """What came of it."""

    store: str
    processes: int
    seconds: float = 0.0
    adds: int = 0
    deletes: int = 0
    killed: int = 0
    leaders_killed: int = 0
    failed_calls: int = 0
    duplicates: int = 0
    contradictions: int = 0
    leaked_before_gc: int = 0
    leaked_after_gc: int = 0
    lost: int = 0


def count(outcome: Outcome, jobs: list[Job]) -> None:
    """Count what was answered, and how often an address was two pods' at a time."""
    held: defaultdict[str, list[tuple[float, float, str]]] = defaultdict(list)
    for job in jobs:
        has: dict[int, tuple[float, str]] = {}
        for moment, event, pod, address in read_log(job.log):
            if event == "has":
                outcome.adds += 1
                # Asked for again after a death: the first answer may never have been seen.
                begun = has.get(pod, (moment, address))
                if begun[1] != address:
                    outcome.duplicates += 1
                has[pod] = (min(begun[0], moment), address)
            elif event == "deletes" and pod in has:
                begun_s, of = has.pop(pod)
                held[of].append((begun_s, moment, f"{job.number}-{pod}"))
            elif event == "deleted":
                outcome.deletes += 1
            elif event == "fails":
                outcome.failed_calls += 1
        for pod, (begun_s, of) in has.items():
            # Forgotten: it is the pod's until the garbage is collected.
            held[of].append((begun_s, float("inf"), f"{job.number}-{pod}"))
    for spans in held.values():
        latest = 0.0
        for begun_s, ended_s, _ in sorted(spans):
            outcome.duplicates += begun_s < latest
            latest = max(latest, ended_s)


def collect_garbage(outcome: Outcome, jobs: list[Job]) -> None:
    """Free what was left behind, on each node; count what is left that should not be, and what is wrong."""
    with open_datastore(jobs[0].url) as datastore:
        for node in sorted({job.node for job in jobs}):
            leaks = find_leaks(datastore.read(LedgerReader.allocations), Here(node), netns_exists)
            outcome.leaked_before_gc += len(leaks)
            collect(datastore, leaks, lambda leak: not netns_exists(leak.allocation.netns), int(time.time()))
        snapshot = datastore.read(read_snapshot)
    outcome.contradictions = len(find_contradictions(snapshot))
    there = set(os.listdir(Path(jobs[0].directory, "netns")))
    held = {item.handle.container_id.removeprefix("w") for item in snapshot.allocations}
    outcome.leaked_after_gc = len(held - there)
    outcome.lost = len(there - held)
