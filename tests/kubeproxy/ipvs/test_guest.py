"""All that needs IPVS, in one guest whose kernel has it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from netns_lab.commands import program_folder

_WITHIN_S = 2400


def find_files(root: Path) -> list[str]:
    """Return the test files that have anything for a kernel with IPVS."""
    found = (
        path
        for folder in ("tests/datapath/ipvs", "tests/kubeproxy/ipvs")
        for path in sorted((root / folder).glob("test_*.py"))
    )
    own = Path(__file__)
    return [str(path.relative_to(root)) for path in found if path != own and "mark.ipvs" in path.read_text()]


@pytest.mark.netns
@pytest.mark.timeout(_WITHIN_S + 60)
def test_in_a_guest() -> None:
    """One start for all: the contract of IPVS, the matrix, connections, the program."""
    root = Path(__file__).parents[3]
    # By file, and without what only pure tests need: an import takes thirty times as long in there.
    plugins = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:anyio")
    command = [sys.executable, "-m", "pytest", "-q", *plugins, "-m", "ipvs", *find_files(root)]
    done = subprocess.run(
        [str(program_folder() / "netns-lab"), "vm", "--module", "ip_vs", "--module", "dummy", "--", *command],
        cwd=root,
        env=os.environ | {"IPVS_ROWS": "few"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_WITHIN_S,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
