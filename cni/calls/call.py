"""A call that came by a connection: what it says, and its one answer."""

import socket
import threading
import time
from collections.abc import Mapping

from cni.calls.protocol import CALL_HEAD_BYTES, decode_call, decode_call_head, render_answer

# A shim has read its stdin before it connects, so its call comes at once.
_RECEIVE_WITHIN_S = 10.0


class Call:
    """A connection, what came by it, and whether it has its answer."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.started_s = time.perf_counter()
        self.environ: Mapping[str, str] = {}
        self.config = b""
        self._lock = threading.Lock()
        self._is_answered = False

    def reply(self, verdict: int, stdout: bytes, stderr: bytes = b"") -> bool:
        """Send the answer, unless another was sent before; say whether this was the first.

        Raises:
            OSError: the shim does not listen any more.
        """
        with self._lock:
            if self._is_answered:
                return False
            self._is_answered = True
        self.connection.sendall(render_answer(verdict, stdout + b"\n" if stdout else b"", stderr))
        return True


def receive(connection: socket.socket) -> tuple[dict[str, str], bytes]:
    """Receive a call: its variables and its stdin.

    Raises:
        ProtocolError: it is none.
        OSError: it does not come, or the shim has gone.
    """
    connection.settimeout(_RECEIVE_WITHIN_S)
    with connection.makefile("rb") as stream:
        head = decode_call_head(stream.read(CALL_HEAD_BYTES))
        return decode_call(head, stream.read(head.environment_bytes + head.config_bytes))
