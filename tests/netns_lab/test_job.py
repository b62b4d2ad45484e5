"""A pod's command and the code that it leaves behind."""

import os
import subprocess
from pathlib import Path

import pytest

from netns_lab.job import EXIT_FILE
from netns_lab.plan import bare_module


@pytest.mark.parametrize(
    ("command", "code", "left", "stderr"),
    [
        pytest.param(("true",), 0, "0", "", id="ended well"),
        pytest.param(("sh", "-c", "exit 7"), 7, "7", "", id="failed"),
        pytest.param(("sh", "-c", "kill -TERM $$"), 143, "143", "", id="killed"),
        pytest.param(
            ("sh", "-c", "yes | head -n 1 >/dev/null"), 0, "0", "", id="a broken pipe ends its writer"
        ),
        pytest.param(
            ("sh", "-c", 'test -z "$NOTIFY_SOCKET$NETNS_LAB_EXIT"'), 0, "0", "", id="sees nothing of ours"
        ),
        pytest.param(
            ("no-such-command",),
            1,
            None,
            "can't start no-such-command: No such file or directory\n",
            id="not there",
        ),
        pytest.param(("/",), 1, None, "can't start /: Permission denied\n", id="no program"),
    ],
)
def test_job(command: tuple[str, ...], code: int, left: str | None, stderr: str, tmp_path: Path) -> None:
    file = tmp_path / "code"

    done = subprocess.run(
        bare_module("netns_lab.job", *command),
        env={"PATH": os.environ["PATH"], EXIT_FILE: str(file), "NOTIFY_SOCKET": str(tmp_path / "none")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (code, stderr)
    assert [path.read_text() for path in tmp_path.iterdir()] == ([] if left is None else [left])
