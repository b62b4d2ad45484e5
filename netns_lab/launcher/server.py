"""The process that is forked for each program; lives as long as the command that has started it.

It must stay small in what it does: every thread, file and setting of it would be in every program.
"""

import os
import signal
import socket
import sys

import msgspec

from netns_lab.launcher.messages import PACKET_BYTES, Await, Request, Start
from netns_lab.launcher.preload import preload
from netns_lab.launcher.title import build_title, show_title
from nodeplane.datapath import netns


def main() -> None:
    """Answer requests that come by the socket whose number is the first argument; end with it.

    The second says what is to be forked.
    """
    requests = socket.socket(fileno=int(sys.argv[1]))
    preload("workloads" if sys.argv[2] == "workloads" else "programs")
    while True:
        packet, streams, _, _ = socket.recv_fds(requests, PACKET_BYTES, 2)
        if not packet:
            return
        request = msgspec.json.decode(packet, type=Request)
        if isinstance(request, Start):
            pid = _fork(request, requests, streams)
            for descriptor in streams:
                os.close(descriptor)
            requests.send(msgspec.json.encode(pid))
        elif isinstance(request, Await):
            status = os.waitpid(request.pid, 0)[1]
            requests.send(msgspec.json.encode(os.waitstatus_to_exitcode(status)))


def _fork(start: Start, requests: socket.socket, streams: list[int]) -> int:
    """Start a program; return its process id."""
    # Nobody reads the server's own environment; in /proc it stays what it was.
    os.environ.clear()
    os.environ.update(start.environment)
    title = build_title(start.command, start.environment)
    namespace = netns.NETNS_DIR / start.namespace
    pid = os.fork()
    if pid == 0:
        requests.close()
        _enter_session(start.log, streams)
        show_title(title)
        netns.enter(namespace)
        start.entry.run()
    return pid


def _enter_session(log_file: str, streams: list[int]) -> None:
    """Be in a session, with streams and a log of one's own."""
    os.setsid()
    os.chdir("/")
    log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    stdin, stdout = streams or (0, log)
    for number, descriptor in enumerate((stdin, stdout, log)):
        os.dup2(descriptor, number)
    for descriptor in (*streams, log):
        os.close(descriptor)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    main()
