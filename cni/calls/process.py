"""The agent's side of the processes that answer the shims (`cni.calls.worker`): started, heard, replaced.

    shim ──► socket ──► worker: the calls ──► what each took, and each second that it lives ──► agent
                 └────► worker

Processes of their own, since one interpreter runs one thread at a time: a pod's start would wait for whatever
the agent does just then with routes, blocks and metrics, most of which that very start brings about. And two,
where there are two processors: an ADD's own work holds the interpreter for half of its time. They take calls
from one socket, and one that hangs leaves all new ones but a few to the other.
"""

import asyncio
import logging
import os
import socket
import sys
from asyncio.subprocess import Process
from contextlib import suppress
from pathlib import Path

import msgspec

from cni.calls.listener import inode, listen
from cni.calls.metrics import CallMetrics
from cni.calls.server import DEADLINE_S
from cni.calls.stats import ALIVE, ALIVE_EVERY_S, CallStats
from nodeplane.runtime.log import current_setup

log = logging.getLogger(__name__)

_MOST_WORKERS = 2
_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0
# Beyond the deadline of the calls that it finishes.
_END_WITHIN_S = DEADLINE_S + 5
# How often in a row nothing may have been heard of a process. Looks and not seconds: an agent that was frozen
# together with its processes (a suspended machine, a cgroup's freezer) has not looked meanwhile. The start of
# one, on a node that starts everything at once, may take longer.
_SILENT_LOOKS, _START_LOOKS = 10, 60
_STATS_BYTES = 1 << 12
# What comes meanwhile is read at once, without a turn of the loop for each call.
_REST_S = 0.02


async def keep_serving_calls(path: Path, metrics: CallMetrics) -> None:
    """Have the shims' calls answered for as long as the task lives; those that came are finished at its end.

    Raises:
        KernelError: the socket can't be made.
    """
    while True:
        # Calls wait in it until a process is there.
        with listen(path) as listener:
            await _keep_workers(path, inode(path) or 0, listener, metrics)
        log.warning("socket for CNI calls is gone, making it anew socket=%s", path)
        await asyncio.sleep(_PAUSE_S)


async def _keep_workers(path: Path, file: int, listener: socket.socket, metrics: CallMetrics) -> None:
    """Keep processes at work on a socket until one of them has ended and taken the socket along."""
    count = min(_MOST_WORKERS, len(os.sched_getaffinity(0)))
    keepers = [asyncio.ensure_future(_keep_worker(path, file, listener, metrics)) for _ in range(count)]
    try:
        done, _ = await asyncio.wait(keepers, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
    for keeper in done:
        keeper.result()


async def _keep_worker(path: Path, file: int, listener: socket.socket, metrics: CallMetrics) -> None:
    loop = asyncio.get_running_loop()
    pause_s = _PAUSE_S
    while True:
        started_s = loop.time()
        try:
            exit_code = await _run_worker(path, file, listener, metrics)
        except OSError as exc:
            # No more processes or descriptors: the other one works on, and so does the rest of the agent.
            log.warning("process for CNI calls can't be started error=%r", str(exc))
        else:
            if not path.is_socket():
                return
            log.warning("process for CNI calls ended, starting another exit_code=%d", exit_code)
        # One that dies at its start would have a processor for itself, try after try.
        has_lived = loop.time() - started_s > _LONGEST_PAUSE_S
        pause_s = _PAUSE_S if has_lived else min(2 * pause_s, _LONGEST_PAUSE_S)
        await asyncio.sleep(pause_s)


async def _run_worker(path: Path, file: int, listener: socket.socket, metrics: CallMetrics) -> int:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    with ours:
        with theirs:
            process = await _start(path, file, listener, theirs)
        pulse = _Pulse()
        watch = asyncio.ensure_future(_kill_when_silent(process, pulse))
        try:
            await _hear(ours, metrics, pulse)
            return await process.wait()
        finally:
            watch.cancel()
            # It ends when it sees that this end is closed.
            ours.close()
            await _await_end(process)


class _Pulse:
    """How often a process was heard."""

    def __init__(self) -> None:
        self.beats = 0


async def _hear(ours: socket.socket, metrics: CallMetrics, pulse: _Pulse) -> None:
    """Take in what a process tells, until it has closed its end."""

    def take(data: bytes) -> None:
        pulse.beats += 1
        if data != ALIVE:
            metrics.take(msgspec.json.decode(data, type=CallStats))

    while data := await asyncio.get_running_loop().sock_recv(ours, _STATS_BYTES):
        take(data)
        with suppress(BlockingIOError):
            while data := ours.recv(_STATS_BYTES):
                take(data)
        await asyncio.sleep(_REST_S)


async def _kill_when_silent(process: Process, pulse: _Pulse) -> None:
    """Kill a process that says nothing any more: whoever called it need not wait longer."""
    silent = before = 0
    while silent < (_SILENT_LOOKS if before else _START_LOOKS):
        await asyncio.sleep(ALIVE_EVERY_S)
        silent = silent + 1 if pulse.beats == before else 0
        before = pulse.beats
    log.warning("process for CNI calls does not answer, killing it pid=%d", process.pid)
    with suppress(ProcessLookupError):
        process.kill()


async def _start(path: Path, file: int, listener: socket.socket, theirs: socket.socket) -> Process:
    log_format, verbosity = current_setup()
    # systemd hears of the agent's state, and of nobody else's.
    environ = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
    # Not from the folder that the agent happens to be in (-P).
    return await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "cni.calls.worker", str(path), str(file), str(listener.fileno()),
        log_format, str(verbosity), stdin=theirs.fileno(), pass_fds=(listener.fileno(),), env=environ,
    )  # fmt: skip


async def _await_end(process: Process) -> None:
    end = asyncio.ensure_future(process.wait())
    # Not asyncio.timeout: in a task that is being cancelled Python 3.11.2 takes its end for that of the task.
    await asyncio.wait([end], timeout=_END_WITHIN_S)
    if not end.done():
        with suppress(ProcessLookupError):
            process.kill()
    await end
