"""What all command lines have in common: options, one line for an error, exit codes."""

import errno
import json
import logging
import subprocess
import sys
from functools import partial
from importlib.metadata import version

import click
import pytest

from nodeplane.errors import ApiError, ConfigError, SetupError, kernel_error
from nodeplane.runtime.cli import common_options, output_option, run, start_logging

VERSION = version("nodeplane")
ERRORS = {
    "api": ApiError("connection refused"),
    "config": ConfigError("a.yaml:3", "spec.port", "expected 1"),
    "setup": SetupError("must run as root"),
    "kernel": kernel_error("add route", errno.EBUSY),
    "not-root": kernel_error("add route", errno.EPERM),
    "abort": click.Abort(),
    "exit-3": click.exceptions.Exit(3),
    "pipe": BrokenPipeError(errno.EPIPE, "Broken pipe"),
    "full": OSError(errno.ENOSPC, "No space left on device"),
    "file": OSError(errno.EMFILE, "Too many open files", "a.py"),
    "late": TimeoutError(),
    "defect": ZeroDivisionError("by zero"),
}


def program() -> click.Group:
    """Build a program as ours are: a group, with commands of all sorts."""

    @click.group(context_settings={"help_option_names": ["-h", "--help"]})
    @common_options
    def group() -> None:
        """Do things."""
        start_logging()

    @group.command()
    @click.option("--node-name", required=True)
    @output_option
    def show(node_name: str, output: str) -> None:
        """Show a node."""
        logging.getLogger("prog").debug("looking")
        logging.getLogger("prog").info("showing")
        click.echo(f"{node_name} {output}")

    @group.command()
    @click.argument("error", type=click.Choice(sorted(ERRORS)))
    def fail(error: str) -> None:
        """Fail as told."""
        raise ERRORS[error]

    @group.command("kubectl")
    @click.option("-v", "--level", type=int)
    @partial(common_options, verbose=("--verbose",))
    def kubectl(level: int) -> None:
        """Take `-v` for something else."""
        click.echo(f"level {level}")

    @group.group()
    def fault() -> None:
        """Break things."""

    @fault.command()
    def loss() -> None:
        """Lose packets."""
        logging.getLogger("prog").debug("losing")

    return group


def end(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run a command line and return its exit code, as the shell sees it."""
    monkeypatch.setattr("sys.argv", ["prog", *arguments])
    try:
        run(program(), "prog")
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else 1
    return 0


@pytest.mark.parametrize(
    ("arguments", "ending"),
    [
        pytest.param(["show", "--node-name", "n1"], (0, "n1 table\n", ""), id="done"),
        pytest.param(["show", "--node-name", "n1", "-o", "json"], (0, "n1 json\n", ""), id="output"),
        pytest.param(["--version"], (0, f"prog, version {VERSION}\n", ""), id="version"),
        pytest.param(
            ["show", "--version"], (0, f"prog, version {VERSION}\n", ""), id="version, of a command"
        ),
        pytest.param(
            ["fault", "loss", "--version"], (0, f"prog, version {VERSION}\n", ""), id="version, deep"
        ),
        pytest.param(["kubectl", "-v", "6"], (0, "level 6\n", ""), id="another -v"),
        pytest.param(["kubectl", "--version"], (0, f"prog, version {VERSION}\n", ""), id="version beside it"),
        pytest.param(["fail", "exit-3"], (3, "", ""), id="exit code of its own"),
        pytest.param(["show"], (2, "", "prog: Missing option '--node-name'.\n"), id="option missing"),
        pytest.param(["-x"], (2, "", "prog: No such option '-x'.\n"), id="no such option"),
        pytest.param(["nope"], (2, "", "prog: No such command 'nope'.\n"), id="no such command"),
        pytest.param(
            ["fail"],
            (
                2,
                "",
                "prog: Missing argument "
                "'{abort|api|config|defect|exit-3|file|full|kernel|late|not-root|pipe|setup}'. Choose from: "
                "abort, api, config, defect, exit-3, file, full, kernel, late, not-root, pipe, setup\n",
            ),
            id="choices on the same line",
        ),
        pytest.param(
            ["show", "--node-name", "n1", "-o", "xml"],
            (
                2,
                "",
                "prog: Invalid value for '-o' / '--output': 'xml' is not one of 'table', 'json', 'yaml'.\n",
            ),
            id="no such format",
        ),
        pytest.param(["fail", "config"], (2, "", "prog: a.yaml:3: spec.port: expected 1\n"), id="bad input"),
        pytest.param(["fail", "setup"], (2, "", "prog: must run as root\n"), id="machine lacks something"),
        pytest.param(
            ["fail", "not-root"],
            (
                2,
                "",
                "prog: add route: Operation not permitted (EPERM): must run as root, or with CAP_NET_ADMIN\n",
            ),
            id="not root",
        ),
        pytest.param(
            ["fail", "kernel"], (1, "", "prog: add route: Device or resource busy (EBUSY)\n"), id="kernel"
        ),
        pytest.param(["fail", "api"], (1, "", "prog: connection refused\n"), id="source"),
        pytest.param(["fail", "full"], (1, "", "prog: No space left on device (ENOSPC)\n"), id="disk full"),
        pytest.param(["fail", "file"], (1, "", "prog: a.py: Too many open files (EMFILE)\n"), id="files"),
        pytest.param(["fail", "abort"], (130, "", ""), id="Ctrl-C"),
        pytest.param(["fail", "pipe"], (1, "", ""), id="reader has gone"),
    ],
)
def test_end(
    arguments: list[str],
    ending: tuple[int, str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Results go to stdout, an error is one line on stderr, and the exit code says whose turn it is."""
    monkeypatch.setattr("nodeplane.errors.own_rights", lambda: (1000, 0))
    code = end(*arguments, monkeypatch=monkeypatch)
    out, err = capsys.readouterr()
    # Log lines are another test's.
    errors = "".join(line for line in err.splitlines(keepends=True) if " prog " not in line)

    assert (code, out, errors) == ending


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["show", "--help"], ["fault", "loss", "-h"]])
def test_help(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command has its help on stdout, with the options that all have."""
    code = end(*arguments, monkeypatch=monkeypatch)
    out, err = capsys.readouterr()

    assert (code, err) == (0, "")
    assert [
        option
        for option in ("--help", "--version", "-v, --verbose", "--log-format [text|json]")
        if option not in out
    ] == []


def test_no_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A program called without a command shows its help, as wrong usage."""
    code = end(monkeypatch=monkeypatch)
    out, err = capsys.readouterr()

    assert (code, out, err.splitlines()[0]) == (2, "", "Usage: prog [OPTIONS] COMMAND [ARGS]...")


@pytest.mark.parametrize(("error", "kind"), [("defect", ZeroDivisionError), ("late", TimeoutError)])
def test_a_defect_rises(error: str, kind: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody expected shows its traceback."""
    with pytest.raises(kind):
        end("fail", error, monkeypatch=monkeypatch)


@pytest.mark.parametrize(
    ("arguments", "is_json", "messages"),
    [
        pytest.param(["show"], False, ["showing"], id="usual"),
        pytest.param(["-v", "show"], False, ["looking", "showing"], id="-v before the command"),
        pytest.param(["show", "-v"], False, ["looking", "showing"], id="-v after it"),
        pytest.param(["--log-format", "json", "show"], True, ["showing"], id="format before the command"),
        pytest.param(["show", "--log-format", "json"], True, ["showing"], id="format after it"),
        pytest.param(["-v", "show", "--log-format", "json"], True, ["looking", "showing"], id="both places"),
        pytest.param(
            ["--log-format", "json", "show", "--log-format", "text"],
            False,
            ["showing"],
            id="the last one counts",
        ),
    ],
)
def test_logging(
    arguments: list[str],
    is_json: bool,
    messages: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`-v` and `--log-format` count before and after the command's name."""
    end(*arguments, "--node-name", "n1", monkeypatch=monkeypatch)
    lines = capsys.readouterr().err.splitlines()

    assert [json.loads(line)["message"] if is_json else line.rsplit(" ", 1)[1] for line in lines] == messages


def test_the_cause_of_an_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With -v the log has the traceback; the error itself is still one line, the last."""
    code = end("-v", "--log-format", "json", "fail", "api", monkeypatch=monkeypatch)
    *_, logged, last = capsys.readouterr().err.splitlines()

    assert (code, last) == (1, "prog: connection refused")
    assert json.loads(logged)["exception"].splitlines()[-1] == "nodeplane.errors.ApiError: connection refused"


def test_a_program_of_one_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command need not be in a group."""

    @click.command()
    @common_options
    def single() -> None:
        start_logging()
        logging.getLogger("prog").debug("here")

    monkeypatch.setattr("sys.argv", ["prog", "-v", "--log-format", "json"])
    run(single, "prog")

    assert json.loads(capsys.readouterr().err)["message"] == "here"


def test_a_reader_that_has_gone() -> None:
    """`program | head -1` ends without a traceback, in a real process."""
    script = (
        "import click; from nodeplane.runtime.cli import run\n"
        "@click.command()\n"
        "def program():\n"
        "    input()\n"
        "    for _ in range(100_000): click.echo('a line')\n"
        "run(program, 'prog')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.close()
        process.stdin.write("\n")
        process.stdin.close()
        assert process.stderr is not None
        errors = process.stderr.read()

    assert (process.returncode, errors) == (1, "")


def test_no_room_for_the_result() -> None:
    """`program > /dev/full`: one line, in a real process, and nothing of Python's at its end."""
    script = (
        "import click; from nodeplane.runtime.cli import run\n"
        "@click.command()\n"
        "def program(): click.echo('a line')\n"
        "run(program, 'prog')"
    )
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", script], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )

    assert (done.returncode, done.stderr) == (1, "prog: No space left on device (ENOSPC)\n")
