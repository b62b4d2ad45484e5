"""A pod's command and the code that it leaves behind."""

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from netns_lab.commands import bare_module
from netns_lab.job import EXIT_FILE


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
            127,
            "127",
            "can't start no-such-command: No such file or directory\n",
            id="not there",
        ),
        pytest.param(("/",), 126, "126", "can't start /: Permission denied\n", id="no program"),
    ],
)
def test_job(command: tuple[str, ...], code: int, left: str, stderr: str, tmp_path: Path) -> None:
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
    assert [path.read_text() for path in tmp_path.iterdir()] == [left]


@pytest.mark.parametrize(
    ("script", "codes"),
    [
        pytest.param("exit 3", ["3"], id="ended at once"),
        pytest.param("cat /no/such/file", ["1"], id="its last program has"),
        pytest.param("sleep 600", [], id="waits"),
        pytest.param("while :; do :; done", [], id="works"),
    ],
)
def test_ready(script: str, codes: list[str], tmp_path: Path) -> None:
    """Whoever hears that the command is ready knows whether it has ended at once, and how."""
    place = str(tmp_path / "notify.sock")
    file = tmp_path / "exits" / "code"
    file.parent.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(place)
        listener.settimeout(60)
        with subprocess.Popen(
            bare_module("netns_lab.job", "sh", "-c", script),
            env={"PATH": os.environ["PATH"], EXIT_FILE: str(file), "NOTIFY_SOCKET": place},
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as job:
            heard = listener.recv(64)
            left = [path.read_text() for path in file.parent.iterdir()]
            os.killpg(job.pid, signal.SIGKILL)

    assert (heard, left) == (b"READY=1", codes)
