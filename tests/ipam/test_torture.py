"""Processes that are killed at random while they ask for addresses: the bench's small form."""

import argparse
from pathlib import Path

import pytest

from bench.ipam_torture import parse, run, stores
from bench.torture_count import Outcome, count
from bench.torture_worker import Job

OPTIONS = ["--processes", "8", "--pods", "40", "--kills", "16", "--leaders", "1"]


@pytest.mark.parametrize(("store", "leaders"), [("sqlite", 0), ("etcd", 1)])
def test_nothing_twice_and_nothing_lost(store: str, leaders: int, tmp_path: Path) -> None:
    options: argparse.Namespace = parse(OPTIONS)
    with stores([store], members=3) as found:
        [(name, url, etcd)] = found
        outcome = run(url, name, tmp_path, options, etcd)

    assert (outcome.duplicates, outcome.contradictions) == (0, 0)
    assert (outcome.leaked_after_gc, outcome.lost) == (0, 0)
    # Of the deaths that were drawn, some may fall after the end of the work.
    assert outcome.killed >= 4
    assert outcome.leaders_killed == leaders
    assert outcome.adds >= 8 * 40 - outcome.killed


@pytest.mark.parametrize(
    ("logs", "duplicates"),
    [
        pytest.param(["1 has 0 a\n2 deletes 0 -\n", "3 has 0 a\n"], 0, id="one after the other"),
        pytest.param(["1 has 0 a\n4 deletes 0 -\n", "3 has 0 a\n"], 1, id="at the same time"),
        pytest.param(["1 has 0 a\n", "3 has 0 a\n"], 1, id="of a pod that was forgotten"),
        pytest.param(["1 has 0 a\n2 has 0 b\n", ""], 1, id="another answer to the same"),
        pytest.param(["1 has 0 a\n2 has 0 a\n3 deletes 0 -\n", "4 has 0 a\n5 has"], 0, id="the same answer"),
    ],
)
def test_duplicates_would_be_seen(logs: list[str], duplicates: int, tmp_path: Path) -> None:
    """The judge itself: a torture that can't fail shows nothing."""
    jobs = [Job("", str(tmp_path), number, 1) for number in range(len(logs))]
    for job, text in zip(jobs, logs, strict=True):
        job.log.write_text(text)
    outcome = Outcome("none", len(jobs))

    count(outcome, jobs)

    assert outcome.duplicates == duplicates
