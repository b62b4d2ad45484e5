"""The real `netns-lab apiserver`, awaited until it says that it is ready."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAM = str(Path(sys.executable).with_name("netns-lab"))
READY_WITHIN_S = 60.0


@contextmanager
def apiserver(directory: Path, *options: str) -> Iterator["subprocess.Popen[str]"]:
    """Run a server that answers; killed at the end if it still runs."""
    with (
        tempfile.TemporaryDirectory() as place,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready,
    ):
        ready.bind(f"{place}/notify")
        ready.settimeout(READY_WITHIN_S)
        process = subprocess.Popen(
            [PROGRAM, "apiserver", "--data-dir", str(directory), *options],
            env={**os.environ, "NOTIFY_SOCKET": f"{place}/notify"},
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert ready.recv(64) == b"READY=1"
            yield process
        finally:
            process.kill()
            process.communicate()


def stop(process: "subprocess.Popen[str]") -> int:
    """End a server by SIGTERM; return its exit code."""
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=READY_WITHIN_S)
    return process.returncode
