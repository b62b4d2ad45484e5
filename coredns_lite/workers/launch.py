"""How a worker process is started: with one end of a channel as its stdin, until it is ready."""

import asyncio
import logging
import os
import socket
import subprocess
import sys
from contextlib import suppress

from coredns_lite.workers.channel import Ready, hear_worker, make_pair
from nodeplane.runtime.log import current_setup

# Many times what it takes on a machine that is busy: who has waited so long is better off with another.
_READY_WITHIN_S = 60.0

log = logging.getLogger(__name__)


async def launch() -> tuple[subprocess.Popen[bytes], socket.socket] | None:
    """Start a process; return it and our end of its channel when it is ready to serve, None if it is not."""
    try:
        process, channel = _start()
    except OSError as exc:
        log.error("worker process not started error=%r", exc.strerror)
        return None
    try:
        # One that hangs before it is ready must not keep others from being replaced.
        with suppress(TimeoutError):
            async with asyncio.timeout(_READY_WITHIN_S):
                await _until_readable(channel)
        with suppress(BlockingIOError):
            if isinstance(hear_worker(channel), Ready):
                return process, channel
    except BaseException:
        _end(process, channel)
        raise
    _end(process, channel)
    log.error("worker process did not start pid=%d exit_code=%d", process.pid, process.returncode)
    return None


def _start() -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, theirs = make_pair()
    log_format, verbosity = current_setup()
    # systemd hears of the program's state, and of nobody else's.
    environ = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
    ours.setblocking(False)
    try:
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "coredns_lite.workers.process", log_format, str(verbosity)],
                stdin=theirs.fileno(),
                env=environ,
            )
    except BaseException:
        ours.close()
        raise
    return process, ours


def _end(process: subprocess.Popen[bytes], channel: socket.socket) -> None:
    channel.close()
    process.kill()
    process.wait()


async def _until_readable(end: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(end, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(end)
