"""What a request cost, told by the plugin's short process to the daemon that has the metrics.

One datagram to a unix socket, never waited for: without a daemon, or with a busy one, the figure is lost and
the pod's start is not held up. The socket is abstract (unix(7)): it belongs to the node's network namespace,
in which plugin and daemon both run, and leaves no file behind.
"""

import _socket

import msgspec

ADDRESS = "\0nodeplane-ipam-stats"
"""Where the daemon listens."""


class RequestStats(msgspec.Struct, frozen=True):
    """One ADD, DEL, … : how long it took, how it ended, and what the store was asked to do for it."""

    operation: str
    outcome: str
    seconds: float
    transactions: int = 0
    conflicts: int = 0
    reads: int = 0


def send_stats(stats: RequestStats) -> None:
    """Tell the daemon of this network namespace, if there is one."""
    try:
        sender = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_NONBLOCK)
        try:
            sender.sendto(msgspec.json.encode(stats), ADDRESS)
        finally:
            sender.close()
    except OSError:
        return


def decode_stats(datagram: bytes) -> RequestStats | None:
    """Decode a datagram; None for what is none of ours."""
    try:
        return msgspec.json.decode(datagram, type=RequestStats)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
