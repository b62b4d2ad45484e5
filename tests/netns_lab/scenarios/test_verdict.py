"""Is what was seen what a step expects?"""

import pytest

from netns_lab.scenarios.request import Outcome
from netns_lab.scenarios.scenario import ExpectStep, ProbeStep, RunStep
from netns_lab.scenarios.verdict import judge_probe, judge_run, judge_traffic


def answered(by: str, at_s: float = 1.0, source: str = "10.0.0.9", *, is_held: bool = False) -> Outcome:
    return Outcome(at_s, 0.01, f"default/{by}", source, is_held=is_held)


LOST = Outcome(1.0, 5.0, error="timed out")
PROBE = ProbeStep("http://web/", "client", count=2)


@pytest.mark.parametrize(
    ("step", "outcomes", "verdict"),
    [
        pytest.param(PROBE, [answered("a"), answered("b")], "", id="answered"),
        pytest.param(PROBE, [answered("a")], "1 of 2 requests were sent", id="too few"),
        pytest.param(PROBE, [answered("a"), LOST], "1 of 2 failed: timed out", id="one lost"),
        pytest.param(
            ProbeStep("http://web/", "client", 1, ("a", "b-*")), [answered("b-7")], "", id="by one of these"
        ),
        pytest.param(
            ProbeStep("http://web/", "client", 1, ("default/a",)), [answered("a")], "", id="by its whole name"
        ),
        pytest.param(
            ProbeStep("http://web/", "client", 2, ("a",)),
            [answered("a"), answered("b")],
            "answered by default/b (1), expected a",
            id="by another",
        ),
        pytest.param(
            ProbeStep("http://web/", "client", source="10.0.0.0/24"), [answered("a")], "", id="source inside"
        ),
        pytest.param(
            ProbeStep("http://web/", "client", source="10.0.0.1"),
            [answered("a")],
            "the answerer saw 10.0.0.9, expected 10.0.0.1",
            id="another source",
        ),
        pytest.param(ProbeStep("http://web/", "client", fails=True), [LOST], "", id="must fail and does"),
        pytest.param(
            ProbeStep("http://web/", "client", fails=True),
            [answered("a")],
            "1 of 1 were answered, by default/a (1)",
            id="must fail and does not",
        ),
    ],
)
def test_probe(step: ProbeStep, outcomes: list[Outcome], verdict: str) -> None:
    assert judge_probe(step, outcomes) == verdict


@pytest.mark.parametrize(
    ("step", "outcomes", "verdict"),
    [
        pytest.param(
            ExpectStep(traffic="t", in_a_row=2, answered_by=("green",)),
            [answered("blue", 9.0), answered("green", 11.0), answered("green", 12.0)],
            "",
            id="the last two since the step began",
        ),
        pytest.param(
            ExpectStep(traffic="t", in_a_row=2),
            [answered("a", 8.0), answered("a", 9.0), answered("a", 11.0)],
            "1 requests, fewer than 2",
            id="those before it do not count",
        ),
        pytest.param(
            ExpectStep(traffic="t", in_a_row=2, answered_by=("green",)),
            [answered("green", 11.0), answered("blue", 12.0)],
            "answered by default/blue (1), expected green",
            id="another answers still",
        ),
        pytest.param(
            ExpectStep(traffic="t", in_a_row=1, answered_by=("green",)),
            [answered("green", 11.0), answered("blue", 12.0, is_held=True)],
            "",
            id="a held connection stays where it is",
        ),
        pytest.param(
            ExpectStep(traffic="t", in_a_row=1),
            [answered("green", 11.0), LOST._replace(begun_s=12.0, is_held=True)],
            "1 of the last 1 failed: timed out",
            id="a held connection that is lost counts",
        ),
        pytest.param(ExpectStep(traffic="t", failed=0), [answered("a")], "", id="none failed"),
        pytest.param(
            ExpectStep(traffic="t", failed=0),
            [answered("a"), LOST],
            "1 of 2 requests failed, the first: timed out",
            id="one failed",
        ),
        pytest.param(ExpectStep(traffic="t", failed=0), [], "no requests", id="nothing was tried"),
    ],
)
def test_traffic(step: ExpectStep, outcomes: list[Outcome], verdict: str) -> None:
    assert judge_traffic(step, outcomes, 10.0) == verdict


@pytest.mark.parametrize(
    ("code", "has_output", "verdict"),
    [
        (0, True, ""),
        (1, True, "ended with code 1, expected 0"),
        (0, False, "printed nothing that matches x+"),
    ],
)
def test_run(code: int, has_output: bool, verdict: str) -> None:
    assert judge_run(RunStep("n1", ("true",), output="x+"), code, has_output) == verdict
