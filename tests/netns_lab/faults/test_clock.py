"""A wrong clock."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from netns_lab.faults.clock import with_shift
from nodeplane.errors import SetupError


def test_time_of_day_alone() -> None:
    """The monotonic clock, which timers go by, stays right."""
    script = "import time; print(time.time(), time.monotonic())"
    done = subprocess.run(
        with_shift((sys.executable, "-c", script), -7200), capture_output=True, text=True, check=True
    )

    day, monotonic = map(float, done.stdout.split())
    assert 7100 < time.time() - day < 7300
    assert 0 <= time.monotonic() - monotonic < 60


def test_library_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="package faketime"):
        with_shift(("true",), 1, tmp_path)
