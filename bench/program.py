"""A program of the project as a process: started in a namespace, awaited, and what it uses."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nodeplane.datapath import netns

_READY_WITHIN_S = 120.0


def start(ns: Path, name: str, *arguments: str, log: Path, env: dict[str, str] | None = None) -> "Process":
    """Start one of the project's programs inside a namespace; its stderr is added to a file."""
    command = [str(Path(sys.executable).with_name(name)), *arguments]
    with netns.inside(ns), log.open("ab") as stderr:
        return subprocess.Popen(command, env=os.environ | (env or {}), stderr=stderr)


Process = subprocess.Popen[bytes]


class Readiness:
    """Hears a program say that it is ready (sd_notify(3))."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self._path))
        self.env = {"NOTIFY_SOCKET": str(self._path)}

    def wait(self, process: Process) -> None:
        """Return when it is ready; a program that ends before that is an error."""
        self._socket.settimeout(0.1)
        limit = time.monotonic() + _READY_WITHIN_S
        while True:
            try:
                if self._socket.recv(64) == b"READY=1":
                    return
            except TimeoutError:
                assert process.poll() is None, f"the program ended with {process.returncode}"
                assert time.monotonic() < limit, f"not ready within {_READY_WITHIN_S} s"

    def forget(self) -> None:
        """Throw away what a program has said that is there no more."""
        self._socket.setblocking(False)
        try:
            while self._socket.recv(64):
                pass
        except BlockingIOError:
            return

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()
        self._path.unlink()


@contextmanager
def running(ns: Path, name: str, *arguments: str, log: Path) -> Iterator[Process]:
    """Run a daemon that is ready; end it afterwards."""
    with tempfile.TemporaryDirectory() as directory:
        readiness = Readiness(Path(directory))
        process = start(ns, name, *arguments, log=log, env=readiness.env)
        try:
            readiness.wait(process)
            yield process
        finally:
            process.kill()
            process.wait()
            readiness.close()


@contextmanager
def running_apiserver(ns: Path, directory: Path) -> Iterator[Path]:
    """Run a `netns-lab apiserver` over a store; yield the kubeconfig that leads to it."""
    with running(ns, "netns-lab", "apiserver", "--data-dir", str(directory), log=directory / "log"):
        yield directory / "kubeconfig"


def cpu_s(process: Process) -> float:
    """Return the CPU time that a process has had, all threads, in seconds."""
    tasks = Path(f"/proc/{process.pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def memory_mb(process: Process, field: str) -> float:
    """Return a process's memory: VmRSS is what it has now, VmHWM its highest point (proc(5))."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024 / 1e6
    raise LookupError(field)
