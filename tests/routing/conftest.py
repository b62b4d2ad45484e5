"""Labs of each scenario, brought up once for all tests that leave them as they are."""

from collections.abc import Iterator

import pytest

from tests.routing.routed_lab import FAMILIES, Family, RoutedLab, routed_lab
from tests.routing.scenarios import SCENARIOS


@pytest.fixture(scope="session", params=SCENARIOS)
def routed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RoutedLab]:
    """Yield a lab of each scenario."""
    with routed_lab(request.param, tmp_path_factory.mktemp("routed")) as lab:
        yield lab


@pytest.fixture(params=FAMILIES, ids=["IPv4", "IPv6"])
def family(request: pytest.FixtureRequest) -> Family:
    """Return each family."""
    found: Family = request.param
    return found
