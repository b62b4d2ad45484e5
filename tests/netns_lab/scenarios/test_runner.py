"""Scenario runs: before anything is made, and how long a step is tried."""

from pathlib import Path
from typing import cast

import pytest

from netns_lab.scenarios.request import Outcome
from netns_lab.scenarios.runner import StepRun, check_free
from netns_lab.scenarios.scenario import ProbeStep, Step
from netns_lab.scenarios.stage import NotEndedError, Stage
from netns_lab.state import StateDirectory
from netns_lab.topology import NodeSpec, Topology
from nodeplane.errors import ConfigError

TOPOLOGY = Topology("lab", (NodeSpec("n1"),))


@pytest.mark.parametrize("found", [None, TOPOLOGY], ids=["no lab", "its own, left by a killed run"])
def test_free(found: Topology | None, tmp_path: Path) -> None:
    state = StateDirectory("lab", tmp_path)
    if found is not None:
        state.save_topology(found)

    check_free(state, TOPOLOGY)


def test_a_lab_that_is_not_the_scenario_s_is_left_alone(tmp_path: Path) -> None:
    """Also one that was its own, and that somebody has changed since (`netns-lab add`)."""
    state = StateDirectory("lab", tmp_path)
    state.save_topology(Topology("lab", (NodeSpec("n1"), NodeSpec("n2"))))

    with pytest.raises(ConfigError, match="lab: expected no lab of this name, there is one of another"):
        check_free(state, TOPOLOGY)


class SlowStage:
    """A stage whose probes fail, and then do not end."""

    def __init__(self, failing: int) -> None:
        self._failing = failing
        self.limits_s: list[float] = []

    def probe(self, step: ProbeStep, limit_s: float) -> list[Outcome]:
        self.limits_s.append(limit_s)
        if len(self.limits_s) > self._failing:
            raise NotEndedError(f"the probe of {step.to} has not ended")
        return []


@pytest.mark.parametrize(
    ("failing", "words"),
    [
        pytest.param(0, "the probe of tcp:a:1 has not ended, after 60s", id="the first does not end"),
        pytest.param(2, "0 of 1 requests were sent, after 60s", id="what the last whole one saw"),
    ],
)
def test_a_probe_takes_no_longer_than_its_step(failing: int, words: str, tmp_path: Path) -> None:
    stage = SlowStage(failing)
    step = Step(within="60s", probe=ProbeStep("tcp:a:1", "a"))

    failure = StepRun(cast("Stage", stage), StateDirectory("lab", tmp_path), {}, ()).step(step)

    assert failure == words
    assert len(stage.limits_s) == failing + 1
    assert all(0 < limit_s <= 60 for limit_s in stage.limits_s)
