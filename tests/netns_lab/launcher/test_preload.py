"""What fork servers have imported before they fork."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

from netns_lab.launcher.preload import PRELOADED


@pytest.mark.parametrize("name", [name for names in PRELOADED.values() for name in names])
def test_what_is_preloaded_is_there(name: str) -> None:
    """A module that was renamed would cost every program its own import, and nobody would notice."""
    assert find_spec(name) is not None


def test_nothing_of_a_workload_s_server_runs_at_a_fork() -> None:
    """These three do something in each fork (os.register_at_fork), in half a megabyte of its own."""
    code = (
        "import sys, netns_lab.launcher.server\n"
        "from netns_lab.launcher.preload import preload\n"
        "preload('workloads')\n"
        "print(*{'threading', 'random', 'logging'} & set(sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == ""
