"""Without root a plain `pytest` runs what needs none; `make test` runs everything, as root."""

import os
import signal

import pytest

_NEEDS_ROOT = ("netns", "lab")


def pytest_configure() -> None:
    """Let the programs that tests start heed signals, however the suite itself was started.

    In the background of a script (`cmd &`) SIGINT is ignored, under nohup SIGHUP, and children inherit that.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, and count as deselected, what needs namespaces when there is no right to make them."""
    if os.geteuid() == 0:
        return
    privileged = [item for item in items if any(item.get_closest_marker(name) for name in _NEEDS_ROOT)]
    config.hook.pytest_deselected(items=privileged)
    items[:] = [item for item in items if item not in privileged]
