"""The process that does the shims' calls: started by cni-agent (`cni.calls.process`), never by hand.

    python -m cni.calls.worker SOCKET FILE LISTENER LOG-FORMAT VERBOSITY

FILE is the inode of the socket's file, LISTENER the number of an open descriptor; stdin is a socket to the
agent, which hears by it of each call that was answered and that we live, and whose end ends us: the calls
that came are finished first.
"""

import asyncio
import gc
import os
import socket
import sys
from functools import partial
from pathlib import Path
from typing import cast

from cni import plugin
from cni.call_lock import lock_file
from cni.calls.server import CallServer
from cni.calls.stats import ALIVE_EVERY_S, StatsSender
from cni.features.node_table import keeping_sockets
from ipam.warm_store import keeping_open
from nodeplane.runtime.daemon import run_daemon
from nodeplane.runtime.log import LogFormat, setup_logging

# A call that comes back from the kernel waits that long for the interpreter: not for the usual 5 ms.
_SWITCH_INTERVAL_S = 0.0005


def main(arguments: list[str]) -> int:
    """Serve until the agent is gone or a signal comes."""
    path, file, descriptor, log_format, verbosity = arguments
    setup_logging(cast("LogFormat", log_format), int(verbosity))
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    # What has been loaded stays: looking through all of it for garbage takes milliseconds of somebody's call.
    gc.freeze()
    # What is run for a call must not get them.
    os.set_inheritable(int(descriptor), False)
    agent = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    with agent, socket.socket(fileno=int(descriptor)) as listener:
        agent.setblocking(False)
        run_daemon(serve_calls(Path(path), int(file), listener, agent))
    return 0


async def serve_calls(path: Path, file: int, listener: socket.socket, agent: socket.socket) -> None:
    """Answer calls until the agent is gone, or the socket's file; those that came are finished."""
    answer = partial(plugin.answer, lock=lock_file(path))
    stats = StatsSender(agent)
    with keeping_open(), keeping_sockets():
        # First: one that has not told yet is given the time that a start takes.
        pulse = asyncio.ensure_future(_keep_telling(stats))
        server = asyncio.ensure_future(CallServer(path, answer, stats).serve(listener, file))
        # It says nothing; its end is an end of file, or a reset where it left figures unread (unix(7)).
        end = asyncio.ensure_future(asyncio.get_running_loop().sock_recv(agent, 1))
        try:
            # An agent that is gone already: the server must have begun, to tell those who wait for it.
            await asyncio.wait([server, end], return_when=asyncio.FIRST_COMPLETED)
        finally:
            # It says that we live for as long as calls are finished.
            for task in (server, end):
                task.cancel()
            await asyncio.gather(server, end, return_exceptions=True)
            pulse.cancel()


async def _keep_telling(stats: StatsSender) -> None:
    while True:
        stats.tell_alive()
        await asyncio.sleep(ALIVE_EVERY_S)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
