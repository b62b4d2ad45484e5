"""Every bench script runs in its quick form and prints figures that a program can read.

What the figures are is not judged here: these machines are shared and noisy.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = sorted(
    path
    for path in (Path(__file__).parents[2] / "bench").glob("*.py")
    if 'if __name__ == "__main__"' in path.read_text()
)
KEYS = ["figure", "unit", "ours", "peer", "peer_name", "ratio", "goal", "met"]


@pytest.mark.bench
@pytest.mark.netns
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_quick(script: Path) -> None:
    """stdout is figures and nothing else."""
    done = subprocess.run(
        [sys.executable, script, "--quick"], capture_output=True, text=True, timeout=290, check=False
    )

    assert done.returncode == 0, done.stderr
    figures = [json.loads(line) for line in done.stdout.splitlines()]
    assert figures
    assert [list(figure) for figure in figures] == [KEYS] * len(figures)
    # Counts of what must not happen are zero.
    assert all(figure["ours"] >= 0 for figure in figures)
    assert all((figure["peer"] is None) == (figure["ratio"] is None) for figure in figures)
