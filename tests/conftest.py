"""Without root a plain `pytest` runs what needs none; `make test` runs everything, as root."""

import os

import pytest

_NEEDS_ROOT = ("netns", "lab")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, and count as deselected, what needs namespaces when there is no right to make them."""
    if os.geteuid() == 0:
        return
    privileged = [item for item in items if any(item.get_closest_marker(name) for name in _NEEDS_ROOT)]
    config.hook.pytest_deselected(items=privileged)
    items[:] = [item for item in items if item not in privileged]
