"""Readiness as systemd knows it (sd_notify(3)): one datagram to the socket in NOTIFY_SOCKET."""

import os
import socket


def notify(state: str) -> None:
    """Send a state such as `READY=1` or `STOPPING=1`; without a supervisor that listens, do nothing."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            sender.sendto(state.encode(), address)
        except OSError:
            # The supervisor has gone; that must not stop a data plane.
            return
