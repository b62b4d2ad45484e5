"""The labs that several tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.labs import DEMO, TWO_NODES, LabUnderTest, lab_from
from tests.lab.trace_lab import TraceLab, trace_lab


@pytest.fixture(scope="session")
def demo_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    """Yield a lab of the demo's topology that is up; tests leave it as it is."""
    with lab_from(DEMO, tmp_path_factory.mktemp("demo")) as lab:
        lab.up()
        yield lab


@pytest.fixture
def two_nodes(tmp_path: Path) -> Iterator[LabUnderTest]:
    """Yield a small lab that is not up yet, for a test to do with as it likes."""
    with lab_from(TWO_NODES, tmp_path) as lab:
        yield lab


@pytest.fixture(scope="module")
def repaired_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    """Yield a small lab that is up, for tests that break it and repair it."""
    with lab_from(TWO_NODES, tmp_path_factory.mktemp("repaired")) as lab:
        lab.up()
        yield lab


@pytest.fixture(scope="session")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TraceLab]:
    """Yield the lab that packets are traced in; tests leave it as it is."""
    with trace_lab(tmp_path_factory.mktemp("trace")) as lab:
        yield lab
