"""`up`'s end of the fork server: starts it beside other work, and has it start programs."""

import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType

import msgspec

from netns_lab.launcher.messages import PACKET_BYTES, Await, Request, Start
from netns_lab.launcher.preload import Kind
from netns_lab.launcher.title import has_room, padding
from nodeplane.errors import NodeplaneError


class ForkServer:
    """A running fork server; it ends with the `with` block, the programs stay."""

    def __init__(self, environment: Mapping[str, str], kind: Kind = "programs") -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        word, variable = padding()
        number = theirs.fileno()
        with theirs:
            self._process = subprocess.Popen(
                (sys.executable, "-m", "netns_lab.launcher.server", str(number), kind, word),
                cwd="/",
                env={**environment, **variable},
                stdin=subprocess.DEVNULL,
                pass_fds=(number,),
                start_new_session=True,
            )
        self._socket = ours
        self._lock = threading.Lock()

    def __enter__(self) -> "ForkServer":
        """Return it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let it end."""
        self._socket.close()
        self._process.wait()

    def start(self, start: Start, streams: Sequence[int] = ()) -> int | None:
        """Start a program and return its process id; None if it has to be started in the usual way.

        Raises:
            NodeplaneError: the server has ended.
        """
        if not has_room(start.command, start.environment):
            return None
        return self._ask(start, streams)

    def exit_code(self, pid: int) -> int:
        """Return how a program has ended that this server has started; wait for it."""
        return self._ask(Await(pid))

    def _ask(self, request: Request, streams: Sequence[int] = ()) -> int:
        # One question at a time: pods are attached by several threads.
        with self._lock:
            try:
                socket.send_fds(self._socket, [msgspec.json.encode(request)], streams)
                answer = self._socket.recv(PACKET_BYTES)
            except OSError as exc:
                raise NodeplaneError(f"the fork server is gone: {exc.strerror}") from exc
        if not answer:
            raise NodeplaneError(f"the fork server has ended with exit code {self._process.wait()}")
        return msgspec.json.decode(answer, type=int)
