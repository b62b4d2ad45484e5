"""A worker's place: its socket, the process that serves it now, and how long that has said nothing."""

import socket
import subprocess

from coredns_lite.server.late_replies import LateReplies
from coredns_lite.server.listen import Listening

# A worker says once a second what it has counted. A resolver that hears nothing asks again after as long as
# this, from the same port (resolv.conf(5), timeout): that is the same worker.
SILENCE_LIMIT_S = 5.0


class Seat:
    """A place in a crew."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.channel: socket.socket | None = None
        self.listening: Listening | None = None
        self.late: LateReplies | None = None
        self._silent_s = 0.0

    def note_word(self) -> None:
        """Note that the process has said something, or is new."""
        self._silent_s = 0.0

    def is_silent(self, passed_s: float) -> bool:
        """Note that time has passed, and say whether it was too long."""
        self._silent_s += passed_s
        return self.channel is not None and self._silent_s > SILENCE_LIMIT_S

    def kill(self) -> None:
        """End the process at once."""
        if self.process:
            self.process.kill()
