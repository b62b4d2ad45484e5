"""A tcpdump that nobody ends ends by itself."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from netns_lab.processes import read_process
from netns_lab.tcpdump import start_tcpdump
from nodeplane.errors import SetupError
from tests.netns_fixture import eventually, namespace

# A command that captures on a quiet link.
CAPTURING = """
import os, sys, time
from netns_lab.tcpdump import await_listening, start_tcpdump
tcpdump = start_tcpdump(sys.argv[1], "lo", os.environ, "-w", "-")
await_listening(tcpdump, "lo")
print(tcpdump.process.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def place() -> Iterator[str]:
    with namespace("tcpdump") as path:
        yield path.name


@pytest.mark.netns
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_with_who_has_started_it(place: str, number: signal.Signals) -> None:
    with subprocess.Popen(
        (sys.executable, "-c", CAPTURING, place), stdout=subprocess.PIPE, text=True
    ) as command:
        assert command.stdout is not None
        tcpdump = int(command.stdout.readline())
        there = read_process(tcpdump)
        command.send_signal(number)

    assert there is not None
    eventually(lambda: read_process(tcpdump), lambda found: found is None)


@pytest.mark.netns
def test_it_is_not_installed(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(SetupError, match=r"^tcpdump: expected in PATH; apt-get install tcpdump$"):
        start_tcpdump(place, "lo", os.environ)
