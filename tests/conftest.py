"""Without root a plain `pytest` runs what needs none; `make test` runs everything, as root.

What needs IPVS runs where the kernel has it: on most machines in the guest that one of the tests starts.
"""

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
    """Leave out, and count as deselected, what this process has no right to do or this kernel lacks."""
    missing: set[str] = set()
    if os.geteuid() != 0:
        missing |= {*_NEEDS_ROOT, "ipvs"}
    elif any(item.get_closest_marker(name) for item in items for name in ("ipvs", "no_ipvs")):
        missing.add("no_ipvs" if _has_ipvs() else "ipvs")
    if not missing:
        return
    left_out = [item for item in items if any(item.get_closest_marker(name) for name in missing)]
    config.hook.pytest_deselected(items=left_out)
    kept = set(items).difference(left_out)
    items[:] = [item for item in items if item in kept]


def _has_ipvs() -> bool:
    from nodeplane.datapath.ipvs.table import KernelIpvs
    from nodeplane.errors import KernelNotFoundError

    try:
        with KernelIpvs():
            return True
    except KernelNotFoundError:
        return False
