"""One laboratory for all modules of the matrix: the kernel needs a second to build it."""

from collections.abc import Iterator

import pytest

from tests.kubeproxy.matrix.lab import Lab, build_lab


@pytest.fixture(scope="package")
def lab() -> Iterator[Lab]:
    """Build it."""
    with build_lab() as built:
        yield built
