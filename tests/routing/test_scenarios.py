"""The labs' topologies: each under the name that it is to have, since two copies of one run side by side."""

import pytest

from tests.routing.scenarios import SCENARIOS, named


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_name(scenario: str) -> None:
    assert named(scenario, "t1")["name"] == "t1"
