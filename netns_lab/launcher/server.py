"""The process that is forked for each program; lives as long as the command that has started it.

It must stay small in what it does: every thread, file and setting of it would be in every program.
"""

import gc
import os
import signal
import socket
import sys
from contextlib import suppress
from importlib import import_module
from typing import NoReturn

import msgspec

from netns_lab.launcher.messages import PACKET_BYTES, Await, Request, Start
from netns_lab.launcher.title import become_seen_as
from nodeplane.datapath import netns

# What the nodes' programs import on their way to being ready. A name that is not there costs time and nothing
# else, so a test holds the list to what the programs have imported when they are.
PRELOADED = (
    *("kubeproxy.cli", "kubeproxy.program"),
    *("cni.agent.cli", "cni.agent.daemon", "cni.agent.config", "cni.agent.node_condition", "cni.plugin"),
    *("ipam.stores.sqlite_watch", "coredns_lite.cli", "netns_lab.workload"),
    *("nodeplane.kube.apiserver", "nodeplane.kube.connection", "nodeplane.kube.event_writer"),
    *("nodeplane.kube.open_source", "nodeplane.kube.writer", "nodeplane.runtime.daemon"),
    *("nodeplane.datapath.local_addresses", "nodeplane.datapath.rtnl_kernel"),
    *("nodeplane.datapath.rtnl_monitor", "nodeplane.datapath.shaping_kernel"),
    # What the HTTP client imports with its first request, and a socket with its first host name.
    *("anyio._backends._asyncio", "encodings.idna"),
)


def main() -> None:
    """Answer requests that come by the socket whose number is the first argument; end with it."""
    requests = socket.socket(fileno=int(sys.argv[1]))
    preload()
    while True:
        packet, streams, _, _ = socket.recv_fds(requests, PACKET_BYTES, 2)
        if not packet:
            return
        request = msgspec.json.decode(packet, type=Request)
        if isinstance(request, Start):
            pid = os.fork()
            if pid == 0:
                requests.close()
                _become(request, streams)
            for descriptor in streams:
                os.close(descriptor)
            requests.send(msgspec.json.encode(pid))
        elif isinstance(request, Await):
            status = os.waitpid(request.pid, 0)[1]
            requests.send(msgspec.json.encode(os.waitstatus_to_exitcode(status)))


def preload() -> None:
    """Import what the programs share, and keep it out of the way of the collector, which would unshare it."""
    for name in PRELOADED:
        with suppress(ImportError):
            import_module(name)
    gc.collect()
    gc.freeze()


def _become(start: Start, streams: list[int]) -> NoReturn:
    """Be the program: in a session, a namespace and with a log of its own."""
    os.setsid()
    os.chdir("/")
    log = os.open(start.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    stdin, stdout = streams or (0, log)
    for number, descriptor in enumerate((stdin, stdout, log)):
        os.dup2(descriptor, number)
    for descriptor in (*streams, log):
        os.close(descriptor)
    become_seen_as(start.command, start.environment)
    with netns.inside(netns.NETNS_DIR / start.namespace):
        start.entry.run()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    main()
