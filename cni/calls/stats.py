"""What a call came to, as the process that answers calls tells it to the one that has the metrics."""

import socket

import msgspec

from nodeplane.json_decoder import decode_json

ALIVE, ALIVE_EVERY_S = b"alive", 1.0
"""What a process says beside that, and how often; one that does not is taken for hung."""

COMMANDS = frozenset({"ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"})


class CallStats(msgspec.Struct, frozen=True):
    """A call that was answered, with its CNI error code (0: none); without a command one that was dropped."""

    command: str = ""
    code: int = 0
    seconds: float = 0.0


class _Error(msgspec.Struct):
    code: int = 0


class StatsSender:
    """Tells of calls by a socket; never waits for who reads it."""

    def __init__(self, reader: socket.socket) -> None:
        self._reader = reader

    def count_call(self, command: str, verdict: int, stdout: bytes, duration_s: float) -> None:
        """See `cni.calls.server.Counts`."""
        self._send(msgspec.json.encode(build_stats(command, verdict, stdout, duration_s)))

    def count_refusal(self) -> None:
        """See `cni.calls.server.Counts`."""
        self._send(msgspec.json.encode(CallStats()))

    def tell_alive(self) -> None:
        """Tell that this process is at work."""
        self._send(ALIVE)

    def _send(self, data: bytes) -> None:
        try:
            self._reader.send(data, socket.MSG_DONTWAIT)
        except OSError:
            # A reader that is busy, or gone: the figure is lost.
            return


def build_stats(command: str, verdict: int, stdout: bytes, duration_s: float) -> CallStats:
    """Build the figures of an answer."""
    # A caller's own words could be longer than a datagram, or no text at all (PEP 383).
    known = command if command in COMMANDS else "other"
    return CallStats(known, _read_code(stdout) if verdict else 0, duration_s)


def _read_code(stdout: bytes) -> int:
    try:
        return decode_json(stdout, _Error).code
    except msgspec.DecodeError:
        return 0
