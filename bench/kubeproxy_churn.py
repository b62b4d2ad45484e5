"""Endpoints that change all the time under clients that connect all the time.

A real kubeproxy, fed by a real API server with 10,000 services, in a network namespace between clients and
endpoints. For 30 seconds 100 endpoint changes a second are announced by PATCH; afterwards each connection is
compared with what had been announced when it began. A removal counts from when the API server has answered.
Then the same again while kubeproxy is killed (SIGKILL) and started again, twenty times, each a moment after
it was in step, in the middle of its work: while it is away nobody heeds removals, but no connection may fail.
"""

import argparse
import random
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import msgspec

from bench.churn import Attempt, ChurnCluster, Step, churn_cluster, lateness, strangers
from bench.figure import report

_CHANGES_PER_S = 100
_LATE_S = 0.1
_CONNECT_LIMIT_S = 0.9
"""Below the time after which a lost SYN is sent again (1 s, RFC 6298): a lost packet is a failure."""
_REST_S = 0.001


class Plan(msgspec.Struct, frozen=True):
    """How large and how long."""

    services: int
    changing: int
    seconds: float
    kills: int


class Phase(msgspec.Struct, frozen=True):
    """What happened in one phase."""

    steps: list[Step]
    seconds: float
    changing: list[Attempt]
    unchanged: list[Attempt]


def run_phase(cluster: ChurnCluster, plan: Plan, name: str, kills: int) -> Phase:
    """Change endpoints and connect, for the time of the plan, or until kubeproxy was killed so many times."""
    over = threading.Event()
    if not kills:
        over.set()
    killer = threading.Thread(target=_kill, args=(cluster, kills, over), daemon=True)
    first = len(cluster.steps)
    unchanged = range(plan.changing, min(plan.services, plan.changing + 100))
    with ExitStack() as stack:
        options = {"rest_s": _REST_S, "limit_s": _CONNECT_LIMIT_S}
        to_changing = stack.enter_context(
            cluster.clients(f"{name}-changing", range(plan.changing), **options)
        )
        to_unchanged = stack.enter_context(cluster.clients(f"{name}-unchanged", unchanged, **options))
        began = time.monotonic()
        if kills:
            killer.start()
        number = 0
        while (now := time.monotonic()) < began + plan.seconds or not over.is_set():
            due = began + number / _CHANGES_PER_S
            if due > now:
                time.sleep(due - now)
            cluster.change(number % plan.changing)
            number += 1
        seconds = time.monotonic() - began
    if kills:
        killer.join()
    return Phase(cluster.steps[first:], seconds, to_changing, to_unchanged)


def _kill(cluster: ChurnCluster, kills: int, over: threading.Event) -> None:
    chance = random.Random(4)
    try:
        for _ in range(kills):
            time.sleep(chance.uniform(0, 0.3))
            cluster.kill()
            cluster.restart()
    finally:
        over.set()


def report_phase(name: str, phase: Phase, *, is_killed: bool) -> None:
    """Report one phase; in one with kills lateness has no goal."""
    made = [*phase.changing, *phase.unchanged]
    report(f"kubeproxy_{name}_changes", "changes/s", len(phase.steps) / phase.seconds)
    report(f"kubeproxy_{name}_connections", "connections", len(made))
    for kind, attempts in (("unchanged", phase.unchanged), ("changing", phase.changing)):
        failed = sum(1 for attempt in attempts if attempt.error)
        report(f"kubeproxy_{name}_failed_{kind}", "connections", failed, goal="ours <= 0")
    report(f"kubeproxy_{name}_strangers", "connections", len(strangers(made)), goal="ours <= 0")
    late = lateness(phase.changing, phase.steps)
    over = sum(1 for seconds in late if seconds > _LATE_S)
    report(f"kubeproxy_{name}_late", "connections", over, goal=None if is_killed else "ours <= 0")
    report(f"kubeproxy_{name}_worst_lateness", "ms", max(late, default=0.0) * 1000)


def main() -> None:
    """Measure 10,000 services."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="1,000 services, 5 seconds, 3 kills")
    arguments = parser.parse_args()
    plan = Plan(1_000, 100, 5, 3) if arguments.quick else Plan(10_000, 200, 30, 20)
    with (
        tempfile.TemporaryDirectory() as directory,
        churn_cluster(Path(directory), plan.services) as cluster,
    ):
        report_phase("churn", run_phase(cluster, plan, "churn", 0), is_killed=False)
        killed = run_phase(cluster, plan, "kills", plan.kills)
        report("kubeproxy_churn_kills", "kills", plan.kills)
        report_phase("churn_with_kills", killed, is_killed=True)


if __name__ == "__main__":
    main()
