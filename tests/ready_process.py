"""A program of ours, awaited until it says that it is ready (sd_notify(3))."""

import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from nodeplane.datapath import netns

READY_WITHIN_S = 60.0


@contextmanager
def ready_process(command: Sequence[str], namespace: Path | None = None) -> Iterator["subprocess.Popen[str]"]:
    """Run a program, here or in a namespace, that is ready; killed at the end if it still runs."""
    with (
        tempfile.TemporaryDirectory() as directory,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready,
    ):
        ready.bind(f"{directory}/notify")
        ready.settimeout(READY_WITHIN_S)
        with nullcontext() if namespace is None else netns.inside(namespace):
            process = subprocess.Popen(
                command,
                env={**os.environ, "NOTIFY_SOCKET": f"{directory}/notify"},
                stderr=subprocess.PIPE,
                text=True,
            )
        try:
            assert ready.recv(64) == b"READY=1"
            yield process
        finally:
            process.kill()
            process.communicate()


def stop(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """End a program by SIGTERM; return its exit code and its log."""
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=READY_WITHIN_S)
    return process.returncode, log
