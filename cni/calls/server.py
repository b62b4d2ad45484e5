"""The other side of the shims: take CNI calls on a unix socket, do them in threads, answer.

    shim ──► thread: accept ──► peer's rights ──► call ──► container's turn ──► plugin.answer ──► reply

A call has one thread from its acceptance to its reply, and never waits for the agent's loop: each hand-over
between threads costs a pod's start 0.3 ms. Calls for one container wait for one another, those for others run
at the same time. The socket is a file that only root opens. A new agent takes the file over, from a dead one
or a live one, in one step; the one that ends finishes the calls that it has and declines those that still
wait to be accepted, which the shims then do themselves.
"""

import asyncio
import errno
import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from cni.call_stderr import kept, telling_callers
from cni.calls.call import Call, receive
from cni.calls.container_turns import Turns
from cni.calls.listener import inode, listen
from cni.calls.protocol import DECLINED
from nodeplane.cnispec import CniError, ErrorCode, answer_version, render_defect, render_error
from nodeplane.errors import ProtocolError

log = logging.getLogger(__name__)

Answer = Callable[[Mapping[str, str], bytes], tuple[int, bytes]]

DEADLINE_S = 20.0
"""How long a call may take: longer than a runtime should wait, and less than the shims do."""

# There is always one that waits for a call. One that hangs keeps its thread, and so does each that waits for
# its turn; of those that have nothing to do, some are kept.
_MOST_THREADS, _IDLE_THREADS = 64, 8
# How often the deadlines are looked at, within the time that a call has.
_LOOKS = 20
_PEER = struct.Struct("iII")  # struct ucred: pid, uid, gid
_PAUSE_S = 0.1


class Counts(Protocol):
    """Who counts calls; called in their threads."""

    def count_call(self, command: str, verdict: int, stdout: bytes, duration_s: float) -> None:
        """Count a call that was answered."""
        ...

    def count_refusal(self) -> None:
        """Count a connection that was dropped."""
        ...


class CallServer:
    """The socket and the calls that came by it.

    Args:
        path: The socket's file.
        answer: What answers a call, in a thread.
        metrics: Who counts calls.
        deadline_s: How long a call may take; it goes on after that, and its container's next one waits.
        uid: Whose calls are taken.
    """

    def __init__(
        self, path: Path, answer: Answer, metrics: Counts, *, deadline_s: float = DEADLINE_S, uid: int = 0
    ) -> None:
        self._path = path
        self._answer = answer
        self._metrics = metrics
        self._deadline_s = deadline_s
        self._uid = uid
        self._turns = Turns()
        self._own_namespace = os.stat("/proc/self/ns/net")
        self._is_ending = False
        self._all_done = asyncio.Event()
        # What the threads share, under the lock.
        self._lock = threading.Lock()
        self._calls: set[Call] = set()
        self._threads = self._idle = 0

    async def run(self) -> None:
        """Make the socket and serve; see `serve`.

        Raises:
            KernelError: the socket can't be made.
        """
        with listen(self._path) as listener:
            await self.serve(listener, inode(self._path))

    async def serve(self, listener: socket.socket, file: int | None) -> None:
        """Serve until cancelled or the file is gone; end when the calls that came are finished.

        `file` is the number of the listener's own file, which by now may be another agent's.
        """
        with telling_callers():
            await self._take_all(listener, file)

    async def _take_all(self, listener: socket.socket, mine: int | None) -> None:
        loop = asyncio.get_running_loop()
        log.debug("serving CNI calls socket=%s", self._path)
        with self._lock:
            self._start_thread(loop, listener)
        try:
            # A file that somebody took away comes back with another listener alone.
            while inode(self._path) is not None:
                await asyncio.sleep(self._deadline_s / _LOOKS)
                self._answer_late()
            log.warning("socket for CNI calls is gone socket=%s", self._path)
        finally:
            # From here on the shims find no agent; those that wait in the backlog are told.
            self._is_ending = True
            with suppress(OSError):
                if inode(self._path) == mine:
                    self._path.unlink()
            # Takes in no more and wakes those who wait (net/unix/af_unix.c, unix_accept: EINVAL), after
            # the backlog.
            listener.shutdown(socket.SHUT_RDWR)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._deadline_s):
                    await self._all_done.wait()

    def _start_thread(self, loop: asyncio.AbstractEventLoop, listener: socket.socket) -> None:
        self._threads += 1
        self._idle += 1
        # A daemon: a call that hangs must not keep the agent from ending.
        threading.Thread(target=self._take_calls, args=(loop, listener), name="cni", daemon=True).start()

    def _take_calls(self, loop: asyncio.AbstractEventLoop, listener: socket.socket) -> None:
        """Take calls one after another, in a thread."""
        while self._take_call(loop, listener):
            pass
        with self._lock:
            self._threads -= 1
            is_last = self._threads == 0
        if is_last:
            with suppress(RuntimeError):
                # The loop is closed: this call outlasted the agent's patience.
                loop.call_soon_threadsafe(self._all_done.set)

    def _take_call(self, loop: asyncio.AbstractEventLoop, listener: socket.socket) -> bool:
        """Wait for a call and do it; say whether to go on."""
        try:
            connection, _ = listener.accept()
        except OSError as exc:
            if self._is_ending or exc.errno == errno.EINVAL:
                # Another process of the same socket may have shut it down first.
                return False
            # Descriptors run out (EMFILE): calls that end give them back.
            log.warning("CNI call not accepted error=%r", str(exc))
            time.sleep(_PAUSE_S)
            return True
        call = Call(connection)
        with self._lock:
            self._calls.add(call)
            self._idle -= 1
            if self._idle == 0 and self._threads < _MOST_THREADS:
                self._start_thread(loop, listener)
        try:
            with connection:
                self._serve(call)
        except (ProtocolError, OSError) as exc:
            # Among them TimeoutError, and a shim that was killed.
            self._metrics.count_refusal()
            log.warning("CNI call dropped error=%r", str(exc) or type(exc).__name__)
        with self._lock:
            self._calls.discard(call)
            if self._idle >= _IDLE_THREADS:
                return False
            self._idle += 1
        return True

    def _serve(self, call: Call) -> None:
        pid, uid, _ = _PEER.unpack(
            call.connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
        )
        if uid != self._uid:
            raise ProtocolError(f"expected a caller with uid {self._uid}, got {uid}")
        environ, config = receive(call.connection)
        if self._is_ending or not self._is_neighbour(pid) or _is_relative(environ):
            call.reply(DECLINED, b"")
            return
        call.environ, call.config = environ, config
        with self._turns.of(environ.get("CNI_CONTAINERID", "")):
            with kept() as stderr:
                code, stdout = self._answer_safely(environ, config)
            if call.reply(code, stdout, bytes(stderr)):
                self._tell(call, code, stdout)

    def _answer_safely(self, environ: Mapping[str, str], config: bytes) -> tuple[int, bytes]:
        try:
            return self._answer(environ, config)
        except Exception as exc:
            log.exception("defect in a CNI call command=%s", environ.get("CNI_COMMAND"))
            return 1, render_defect(exc, config)

    def _answer_late(self) -> None:
        """Answer the calls that are not done by their deadline."""
        before_s = time.perf_counter() - self._deadline_s
        with self._lock:
            late = [call for call in self._calls if call.started_s < before_s and call.environ]
        for call in late:
            command = call.environ.get("CNI_COMMAND", "")
            code = ErrorCode.NOT_AVAILABLE if command == "STATUS" else ErrorCode.TRY_AGAIN_LATER
            error = CniError(code, f"cni-agent: {command} is not done within {self._deadline_s:g} s")
            stdout = render_error(error, answer_version(call.config))
            with suppress(OSError):
                if call.reply(1, stdout):
                    # The thread keeps the connection open; whoever reads to the end need not wait for it.
                    call.connection.shutdown(socket.SHUT_RDWR)
                    self._tell(call, 1, stdout)

    def _tell(self, call: Call, code: int, stdout: bytes) -> None:
        command = call.environ.get("CNI_COMMAND", "")
        self._metrics.count_call(command, code, stdout, time.perf_counter() - call.started_s)
        if code:
            log.warning(
                "CNI call failed command=%s container=%s answer=%s",
                command, call.environ.get("CNI_CONTAINERID", ""), stdout.decode(errors="replace"),
            )  # fmt: skip

    def _is_neighbour(self, pid: int) -> bool:
        """Say whether a caller is in our network namespace, which is the node that it means.

        A lab has several nodes on one machine, with one file system; theirs is then another agent, or none.
        """
        if pid == 0:
            # A process of a pid namespace that we don't see; it had to be given our socket.
            return True
        try:
            return os.path.samestat(os.stat(f"/proc/{pid}/ns/net"), self._own_namespace)
        except OSError:
            # It has gone, or is hidden from us.
            return True


def _is_relative(environ: Mapping[str, str]) -> bool:
    """Say whether a call names folders from where its caller stands, as `CNI_PATH=./bin cnitool` does."""
    paths = (environ.get("CNI_NETNS", ""), *environ.get("CNI_PATH", "").split(os.pathsep))
    return any(path and not path.startswith("/") for path in paths)
