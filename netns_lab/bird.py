"""BIRD on a router: this process becomes BIRD, and a child of nobody's says READY=1 in its name.

BIRD itself tells nobody when it is ready; its control socket answers then. Standard library only; see
`commands.bare_module`.
"""

import os
import socket
import struct
import sys
import time
from pathlib import Path
from typing import NoReturn

PROGRAM = "/usr/sbin/bird"

_POLL_S = 0.01
# BIRD's first line to whoever connects (doc/reply_codes).
_WELCOME = b"0001 "
# struct ucred (unix(7)): pid, uid, gid.
_CREDENTIALS = struct.Struct("=3i")


def main(arguments: list[str]) -> NoReturn:
    """Become BIRD; the arguments are its configuration and the path of its control socket."""
    config, control = arguments
    Path(control).parent.mkdir(parents=True, exist_ok=True)
    # One that ends in order takes its socket along; after any other end its routes are still in force, and
    # stay (-R) until the sessions are up again (RFC 4724).
    recover = ["-R"] if Path(control).exists() else []
    Path(control).unlink(missing_ok=True)
    _fork_watcher(os.getpid(), control)
    # -f: stay in the foreground.
    os.execv(PROGRAM, [PROGRAM, "-f", *recover, "-c", config, "-s", control])  # noqa: S606 - to become it is the purpose


def _fork_watcher(bird: int, control: str) -> None:
    """Leave a process behind that waits for BIRD; of two forks, so that BIRD gets no child to wait for."""
    middle = os.fork()
    if middle:
        os.waitpid(middle, 0)
        return
    if os.fork():
        os._exit(0)
    if _answers(bird, control):
        _notify(bird)
    os._exit(0)


def _answers(bird: int, control: str) -> bool:
    """Wait until BIRD answers; say whether it ever did."""
    while Path(f"/proc/{bird}").exists():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            try:
                client.connect(control)
                if client.recv(4096).startswith(_WELCOME):
                    return True
            except OSError:
                time.sleep(_POLL_S)
    return False


def _notify(pid: int) -> None:
    """Send READY=1 (sd_notify(3)) as another process, which root may (unix(7), SCM_CREDENTIALS)."""
    credentials = _CREDENTIALS.pack(pid, os.getuid(), os.getgid())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(os.environ["NOTIFY_SOCKET"])
        sender.sendmsg([b"READY=1"], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, credentials)])


if __name__ == "__main__":
    main(sys.argv[1:])
