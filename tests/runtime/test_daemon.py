"""How a daemon ends: in a real process, by real signals."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nodeplane.errors import ApiError, ConfigError, NodeplaneError
from nodeplane.runtime.daemon import run_daemon

LIMIT_S = 60

PROGRAM = """\
import asyncio, click, sys
from nodeplane.errors import ApiError, ConfigError
from nodeplane.runtime.cli import common_options, run, start_logging
from nodeplane.runtime.daemon import run_daemon
from nodeplane.runtime.sd_notify import notify

@click.command()
@common_options
def program():
    start_logging()
    run_daemon(main())

async def wait():
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        print("cleaned up", flush=True)

"""
SERVE = """\
async def main():
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(wait())
        notify("READY=1")
"""
FAIL = """\
async def fail():
    await asyncio.sleep(0)
    raise ConfigError("a.yaml:3", "spec", "expected 1")

async def main():
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(wait())
        async with asyncio.TaskGroup() as inner:
            inner.create_task(fail())
"""
DEFECT = """\
async def fail(exc):
    await asyncio.sleep(0)
    raise exc

async def main():
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(fail(ApiError("x")))
        tasks.create_task(fail(ZeroDivisionError("y")))
"""


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[socket.socket]:
    """A socket that hears what daemons say of themselves."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.settimeout(LIMIT_S)
        yield listener


@contextmanager
def start(main: str, supervisor: socket.socket) -> Iterator["subprocess.Popen[str]"]:
    """Run a daemon with this `main`; it ends with the block at the latest."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"{PROGRAM}{main}\nrun(program, 'prog')"],
        env={**os.environ, "NOTIFY_SOCKET": supervisor.getsockname()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it(number: signal.Signals, supervisor: socket.socket) -> None:
    """Cleanly, with exit code 0, after its tasks have ended; the supervisor is told first."""
    with start(SERVE, supervisor) as process:
        ready = supervisor.recv(100)
        process.send_signal(number)
        stopping = supervisor.recv(100)
        out, err = process.communicate(timeout=LIMIT_S)

    assert (ready, stopping) == (b"READY=1", b"STOPPING=1")
    assert (process.returncode, out, err) == (0, "cleaned up\n", "")


def test_nohup(supervisor: socket.socket) -> None:
    """Who was started with SIGHUP ignored goes on ignoring it: it stays when the terminal goes."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with start(SERVE, supervisor) as process:
            supervisor.recv(100)
            status = Path(f"/proc/{process.pid}/status").read_text()
    finally:
        signal.signal(signal.SIGHUP, before)
    ignored = next(line.split()[1] for line in status.splitlines() if line.startswith("SigIgn:"))

    assert int(ignored, 16) & 1 << signal.SIGHUP - 1


@pytest.mark.parametrize(
    ("main", "code", "out", "last"),
    [
        pytest.param(
            FAIL, 2, "cleaned up\n", "prog: a.yaml:3: spec: expected 1", id="bad input, in a nested group"
        ),
        pytest.param(
            DEFECT, 1, "", "+------------------------------------", id="a defect beside it: traceback"
        ),
        pytest.param("async def main():\n    pass\n", 0, "", "", id="the end of main"),
    ],
)
def test_it_ends_by_itself(main: str, code: int, out: str, last: str, supervisor: socket.socket) -> None:
    """An expected error is one line and its exit code, out of whatever group it was in."""
    with start(main, supervisor) as process:
        stdout, stderr = process.communicate(timeout=LIMIT_S)

    assert (process.returncode, stdout) == (code, out)
    assert [line.strip() for line in stderr.splitlines()][-1:] == ([last] if last else [])
    assert code == 1 or len(stderr.splitlines()) <= 1


def group(*errors: Exception) -> ExceptionGroup[Exception]:
    """Put errors into a group."""
    return ExceptionGroup("g", errors)


async def fail(error: BaseException) -> None:
    """End with an error."""
    raise error


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        pytest.param(ApiError("a"), "ApiError: a", id="alone"),
        pytest.param(group(ApiError("a")), "ApiError: a", id="in a group"),
        pytest.param(
            group(group(ApiError("a"), ConfigError("", "", "b"))), "ApiError: a", id="the first of several"
        ),
        pytest.param(
            group(ApiError("a"), KeyError("b")), "ExceptionGroup: g (2 sub-exceptions)", id="with a defect"
        ),
        pytest.param(KeyError("b"), "KeyError: 'b'", id="a defect"),
        pytest.param(asyncio.CancelledError(), "CancelledError: ", id="cancelled, but by no signal"),
    ],
)
def test_what_rises(error: BaseException, raised: str) -> None:
    """Only when all that went wrong was expected, the first of it is the reason; else all rises."""
    main: Coroutine[Any, Any, None] = fail(error)

    with pytest.raises((NodeplaneError, KeyError, ExceptionGroup, asyncio.CancelledError)) as caught:
        run_daemon(main)

    assert f"{type(caught.value).__name__}: {caught.value}" == raised
    assert isinstance(caught.value, NodeplaneError) == raised.startswith("ApiError")
