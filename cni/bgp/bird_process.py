"""bird's process, which is no child of an agent that has found it: its end, awaited or brought about."""

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

# One that has closed its connection and goes on is not at its end.
_END_LIMIT_S = 5.0
# TASK_COMM_LEN (linux/sched.h), without the closing zero.
_COMM_BYTES = 15


async def await_end(pid: int) -> None:
    """Wait until a process has closed all it had: its socket may outlive its connections for a moment."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        # It has ended and is nobody's child, or is one of another namespace.
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_LIMIT_S):
                await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def kill(pid: int) -> None:
    """End a process by force; one that has ended is no error."""
    # 0 is a process of another namespace, to kill(2) all of our own group.
    if pid > 1:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def kill_by_file(pid_file: Path, program: str) -> None:
    """End the frozen bird of an earlier agent, by its pid file."""
    with suppress(OSError, ValueError):
        pid = int(pid_file.read_text())
        if Path(f"/proc/{pid}/comm").read_text().strip() == program[:_COMM_BYTES]:
            kill(pid)
