"""Streams, signals, limits and exit codes: the host's side and the agent, without a guest between them."""

import os
import signal
import socket
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from netns_lab.vm import session as session_module
from netns_lab.vm.console import Console
from netns_lab.vm.frames import Request
from netns_lab.vm.session import TIMED_OUT, GuestError, Session, Streams

_AGENT = "import sys; from netns_lab.vm.agent import Agent; Agent(int(sys.argv[1])).serve()"
_FOR_EVER = "while :; do sleep 0.05; done"


class Run:
    """What came of a command."""

    def __init__(self, code: int, stdout: bytes, stderr: bytes) -> None:
        self.code = code
        self.stdout = stdout
        self.stderr = stderr

    @property
    def facts(self) -> tuple[int, bytes, bytes]:
        return self.code, self.stdout, self.stderr


@contextmanager
def _agent() -> Iterator[tuple[socket.socket, Console]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = subprocess.Popen(
            (sys.executable, "-c", _AGENT, str(theirs.fileno())),
            pass_fds=(theirs.fileno(),),
            stdout=subprocess.PIPE,
        )
        theirs.close()
        try:
            assert process.stdout is not None
            yield ours, Console(process.stdout.fileno())
        finally:
            ours.close()
            # The host's end is gone: so does the agent go.
            assert process.wait(30) == 0


def run(
    tmp_path: Path, *words: str, stdin: bytes = b"", timeout_s: float | None = None, **environment: str
) -> Run:
    request = Request(
        os.fsencode(tmp_path),
        [os.fsencode(word) for word in words],
        [f"{name}={value}".encode() for name, value in {"PATH": os.environ["PATH"], **environment}.items()],
        [],
    )
    (tmp_path / "stdin").write_bytes(stdin)
    with (
        _agent() as (port, console),
        (tmp_path / "stdin").open("rb") as given,
        (tmp_path / "stdout").open("wb") as stdout,
        (tmp_path / "stderr").open("wb") as stderr,
    ):
        streams = Streams(given.fileno(), stdout.fileno(), stderr.fileno())
        code = Session(port, console, request, streams, timeout_s).run()
    return Run(code, (tmp_path / "stdout").read_bytes(), (tmp_path / "stderr").read_bytes())


@pytest.mark.parametrize(
    ("script", "stdin", "facts"),
    [
        pytest.param("exit 7", b"", (7, b"", b""), id="exit code"),
        pytest.param("echo out; echo err >&2", b"", (0, b"out\n", b"err\n"), id="two streams"),
        pytest.param("kill -9 $$", b"", (137, b"", b""), id="ended by a signal"),
        pytest.param("tr a-z A-Z", b"abc" * 50_000, (0, b"ABC" * 50_000, b""), id="standard input, large"),
        pytest.param("true", b"abc" * 50_000, (0, b"", b""), id="standard input that nobody reads"),
        pytest.param(
            "head -c 3", b"abc" * 500_000, (0, b"abc", b""), id="standard input that nobody reads on"
        ),
        pytest.param(
            "exec 0<&- ; echo done", b"abc" * 90_000, (0, b"done\n", b""), id="standard input closed"
        ),
        pytest.param("printf 'a\\0b\\377'", b"", (0, b"a\0b\xff", b""), id="any byte"),
        pytest.param(
            "(sleep 60; echo late) & echo now", b"", (0, b"now\n", b""), id="a child holds the streams"
        ),
        pytest.param("pwd | tail -c 9; echo $COLOUR", b"", (0, None, b""), id="directory and environment"),
    ],
)
def test_streams(tmp_path: Path, script: str, stdin: bytes, facts: tuple[int, bytes | None, bytes]) -> None:
    done = run(tmp_path, "sh", "-c", script, stdin=stdin, COLOUR="blå")

    code, stdout, stderr = facts
    expected = stdout if stdout is not None else f"{tmp_path}\n"[-9:].encode() + "blå\n".encode()
    assert done.facts == (code, expected, stderr)


@pytest.mark.parametrize(
    ("word", "code", "text"),
    [
        pytest.param(
            "/no/such/program", 127, "can't start /no/such/program: No such file or directory", id="path"
        ),
        pytest.param(
            "no-such-program", 127, "can't start no-such-program: No such file or directory", id="name"
        ),
        pytest.param("/etc/passwd", 126, "can't start /etc/passwd: Permission denied", id="no program"),
    ],
)
def test_what_can_not_be_started(tmp_path: Path, word: str, code: int, text: str) -> None:
    with pytest.raises(GuestError) as caught:
        run(tmp_path, word)

    assert (caught.value.exit_code, str(caught.value)) == (code, text)


def test_no_such_module(tmp_path: Path) -> None:
    request = Request(os.fsencode(tmp_path), [b"true"], [], [b"no-such-module"])

    with _agent() as (port, console), pytest.raises(GuestError) as caught:
        Session(port, console, request, Streams()).run()

    text = "no-such-module: expected a module of the guest's kernel"
    assert (caught.value.exit_code, str(caught.value)) == (2, text)


def test_a_large_output_is_whole(tmp_path: Path) -> None:
    done = run(tmp_path, "seq", "200000")

    assert done.stdout == b"".join(b"%d\n" % number for number in range(1, 200_001))


@pytest.mark.parametrize(
    ("script", "code", "stdout"),
    [
        pytest.param(
            f"trap 'echo heard; exit 3' {{name}}; kill -{{name}} {{pid}}; {_FOR_EVER}",
            3,
            b"heard\n",
            id="heeded",
        ),
        pytest.param("kill -{name} {pid}; exec sleep 60", None, b"", id="not caught"),
    ],
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_the_commands(
    tmp_path: Path, script: str, code: int | None, stdout: bytes, number: signal.Signals
) -> None:
    done = run(tmp_path, "sh", "-c", script.format(name=number.name[3:], pid=os.getpid()))

    # On stderr the shell says that `sleep` was ended: the signal is for all of the command.
    assert done.facts[:2] == (128 + number if code is None else code, stdout)


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    script = f"trap '' INT; kill -INT {os.getpid()}; sleep 0.2; kill -INT {os.getpid()}; exec sleep 60"

    assert run(tmp_path, "sh", "-c", script).code == 130


@pytest.mark.parametrize(
    ("script", "stdout"),
    [
        pytest.param("exec sleep 60", b"", id="ends"),
        pytest.param(f"trap 'echo sorry; exit 0' TERM; {_FOR_EVER}", b"sorry\n", id="ends well"),
        pytest.param(f"trap '' TERM; {_FOR_EVER}", b"", id="does not end"),
    ],
)
def test_the_time_limit(tmp_path: Path, script: str, stdout: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "GRACE_S", 1.0)

    assert run(tmp_path, "sh", "-c", script, timeout_s=0.5).facts[:2] == (TIMED_OUT, stdout)


def test_nobody_reads_the_output(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    request = Request(os.fsencode(tmp_path), [b"yes"], [b"PATH=" + os.environb[b"PATH"]], [])
    try:
        with _agent() as (port, console), pytest.raises(BrokenPipeError):
            Session(port, console, request, Streams(0, writer, 2)).run()
    finally:
        os.close(writer)


def test_a_slow_reader_delays_no_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pipe is full and stays so; the time limit holds all the same."""
    monkeypatch.setattr(session_module, "GRACE_S", 0.5)
    reader, writer = os.pipe()
    request = Request(os.fsencode(tmp_path), [b"yes"], [b"PATH=" + os.environb[b"PATH"]], [])
    try:
        with _agent() as (port, console):
            assert Session(port, console, request, Streams(0, writer, 2), timeout_s=0.5).run() == TIMED_OUT
    finally:
        os.close(reader)
        os.close(writer)


def test_a_terminal(tmp_path: Path) -> None:
    """The command's terminal has the caller's size, and Ctrl-C typed there is a signal there."""
    master, slave = os.openpty()
    reader, writer = os.pipe()
    script = f"trap 'echo heard; exit 4' INT; stty size; tty >/dev/null && echo ready; {_FOR_EVER}".encode()
    request = Request(
        os.fsencode(tmp_path), [b"sh", b"-c", script], [b"PATH=" + os.environb[b"PATH"]], [], size=(33, 77)
    )
    read: list[bytes] = []

    def person() -> None:
        with os.fdopen(reader, "rb") as output:
            for line in output:
                read.append(line)
                if line.startswith(b"ready"):
                    os.write(master, b"\x03")

    typing = threading.Thread(target=person)
    typing.start()
    try:
        before = termios.tcgetattr(slave)
        with _agent() as (port, console):
            code = Session(port, console, request, Streams(slave, writer, 2), timeout_s=60).run()
        assert termios.tcgetattr(slave) == before
    finally:
        os.close(writer)
        typing.join(30)
        os.close(master)
        os.close(slave)

    assert (code, b"".join(read)) == (4, b"33 77\r\nready\r\n^Cheard\r\n")


def test_the_guest_ends_early() -> None:
    ours, theirs = socket.socketpair()
    reader, writer = os.pipe()
    os.write(writer, b"Booting\nKernel panic - not syncing\n")
    os.close(writer)
    theirs.close()
    with (
        ours,
        os.fdopen(reader, "rb") as console,
        pytest.raises(GuestError, match="last words: Kernel panic"),
    ):
        Session(ours, Console(console.fileno()), Request(b"/", [b"true"], [], []), Streams()).run()
