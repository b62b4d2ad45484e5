"""The agent's side of the process that answers the shims (`cni.calls.worker`): started, heard, started again.

    shim ──► socket ──► worker: the calls ──► what each took ──► agent: metrics

A process of its own, since one interpreter runs one thread at a time: a pod's start would wait for whatever
the agent does just then with routes, blocks and metrics, most of which that very start brings about.
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

from cni.calls.metrics import CallMetrics
from cni.calls.server import DEADLINE_S, listen
from cni.calls.stats import CallStats
from nodeplane.runtime.log import current_setup

log = logging.getLogger(__name__)

_PAUSE_S = 0.1
# Beyond the deadline of the calls that it finishes.
_END_WITHIN_S = DEADLINE_S + 5
_STATS_BYTES = 1 << 12


async def keep_serving_calls(path: Path, metrics: CallMetrics) -> None:
    """Have the shims' calls answered for as long as the task lives; those that came are finished at its end.

    Raises:
        KernelError: the socket can't be made.
    """
    while True:
        # Calls wait in it until the process is there.
        with listen(path) as listener:
            exit_code = await _run_worker(path, listener, metrics)
        log.warning("process for CNI calls ended, starting another exit_code=%d", exit_code)
        await asyncio.sleep(_PAUSE_S)


async def _run_worker(path: Path, listener: socket.socket, metrics: CallMetrics) -> int:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    with ours:
        with theirs:
            process = await _start(path, listener, theirs)
        try:
            while data := await asyncio.get_running_loop().sock_recv(ours, _STATS_BYTES):
                metrics.take(msgspec.json.decode(data, type=CallStats))
            return await process.wait()
        finally:
            # It ends when it sees that this end is closed.
            ours.close()
            await _await_end(process)


async def _start(path: Path, listener: socket.socket, theirs: socket.socket) -> Process:
    log_format, verbosity = current_setup()
    # systemd hears of the agent's state, and of nobody else's.
    environ = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
    # Not from the folder that the agent happens to be in (-P).
    return await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "cni.calls.worker", str(path), str(listener.fileno()), log_format,
        str(verbosity), stdin=theirs.fileno(), pass_fds=(listener.fileno(),), env=environ,
    )  # fmt: skip


async def _await_end(process: Process) -> None:
    end = asyncio.ensure_future(process.wait())
    # Not asyncio.timeout: in a task that is being cancelled Python 3.11.2 takes its end for that of the task.
    await asyncio.wait([end], timeout=_END_WITHIN_S)
    if not end.done():
        with suppress(ProcessLookupError):
            process.kill()
    await end
