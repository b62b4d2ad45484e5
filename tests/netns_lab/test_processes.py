"""Processes of a lab: found by their mark, ended for good."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from netns_lab.processes import MARK, Process, lab_processes, namespace_id, read_process, stop

OWN_NAMESPACE = namespace_id(Path("/proc/self/ns/net"))
LAB = f"t{os.getpid()}"

STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"


@contextmanager
def child(preparation: str = "", mark: str = "") -> Iterator["subprocess.Popen[str]"]:
    """Run a process that says when it is prepared and then sleeps."""
    program = f"{preparation}\nimport time\nprint('ready', flush=True)\ntime.sleep(600)"
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", program],
        env={MARK: mark} if mark else {},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_read_process() -> None:
    with child(mark="lab/n1/kubeproxy") as process:
        read = read_process(process.pid)

    assert read == Process(
        process.pid, read.start_ticks if read else 0, OWN_NAMESPACE or (0, 0), "lab/n1/kubeproxy"
    )


def test_ended_processes_are_none() -> None:
    """Neither a zombie nor a number that nobody has."""
    with child() as process:
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        zombie = read_process(process.pid)
    gone = read_process(process.pid)

    assert (zombie, gone) == (None, None)


def test_lab_processes_by_mark() -> None:
    with child(mark=f"{LAB}/a") as ours, child(mark=f"{LAB}0/a"), child():
        found = lab_processes(LAB, [])

    assert [process.pid for process in found] == [ours.pid]


@pytest.mark.parametrize(
    "preparation",
    [pytest.param("", id="by SIGTERM"), pytest.param(STUBBORN, id="by SIGKILL if SIGTERM is ignored")],
)
def test_stop(preparation: str) -> None:
    with child(preparation) as process, child() as other:
        target = read_process(process.pid)
        assert target is not None
        stop([target], grace_s=0.2)

        assert read_process(process.pid) is None
        assert other.poll() is None


def test_stop_spares_who_has_got_the_number_since() -> None:
    with child() as process:
        now = read_process(process.pid)
        assert now is not None
        stop([msgspec.structs.replace(now, start_ticks=now.start_ticks - 1)])

        assert process.poll() is None
