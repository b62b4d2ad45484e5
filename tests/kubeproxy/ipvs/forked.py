"""The program as a fork of this process: in a guest, where its imports would take long."""

import os
import select
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kubeproxy.cli import main
from nodeplane.datapath import netns

_READY_WITHIN_S = 300


def run(ns: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run the program in a namespace, to its end."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        pid = _fork(ns, out.fileno(), err.fileno(), words)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        texts = [(file.seek(0), file.read())[1] for file in (out, err)]
    return subprocess.CompletedProcess(["kubeproxy", *words], code, *texts)


class Daemon:
    """A program that runs; `code` is its exit code when it has ended, and `log` what it has said."""

    def __init__(self, log: Path) -> None:
        self.code: int | None = None
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text()


@contextmanager
def running(ns: Path, folder: Path, *words: str) -> Iterator[Daemon]:
    """Run the daemon until READY=1, as a supervisor would; end it with SIGTERM."""
    daemon = Daemon(folder / "log")
    path = folder / "notify"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        with (folder / "log").open("w") as log:
            pid = _fork(ns, log.fileno(), log.fileno(), ("run", *words), {"NOTIFY_SOCKET": str(path)})
        ending = os.pidfd_open(pid)
        try:
            # What ends before it is ready does so at once.
            ready, _, _ = select.select([listener.fileno(), ending], [], [], _READY_WITHIN_S)
            assert ready == [listener.fileno()], daemon.log
            assert listener.recv(64) == b"READY=1"
            yield daemon
        finally:
            os.close(ending)
            os.kill(pid, signal.SIGTERM)
            daemon.code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _fork(ns: Path, out: int, err: int, words: tuple[str, ...], env: dict[str, str] | None = None) -> int:
    """Fork the program."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.dup2(out, 1)
        os.dup2(err, 2)
        _close_sockets()
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
        sys.argv = ["kubeproxy", *words]
        os.environ.update(env or {})
        with netns.inside(ns):
            main()
        code = 0
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _close_sockets() -> None:
    """Close all sockets: what this process's parent closes is to be closed."""
    for number in map(int, os.listdir("/proc/self/fd")):
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                os.close(number)
