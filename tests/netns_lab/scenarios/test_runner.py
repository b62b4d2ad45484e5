"""Scenario runs, before anything is made."""

from pathlib import Path

import pytest

from netns_lab.scenarios.runner import check_free
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
