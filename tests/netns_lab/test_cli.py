"""The command line: wrong usage is one line and exit code 2, whoever asks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from netns_lab.topology import json_schema

COMMAND = Path(sys.executable).parent / "netns-lab"
NO_LAB = "nolabhasthisname"


def run(*arguments: str, lab: str | None = None) -> "subprocess.CompletedProcess[str]":
    """Run netns-lab to its end; `lab` is what NETNS_LAB_NAME says."""
    variables = {} if lab is None else {"NETNS_LAB_NAME": lab}
    return subprocess.run(
        [COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **variables},
    )


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        pytest.param(("up",), "Missing argument 'FILE'.", id="up without a file"),
        pytest.param(
            ("up", "/no/such/file.yaml"),
            "/no/such/file.yaml: expected a readable file: No such file or directory",
            id="up with no such file",
        ),
        pytest.param(
            ("down", "../etc"),
            "LAB: ../etc: expected up to 20 lower case letters and digits, a letter first",
            id="a lab's name that is a path",
        ),
        pytest.param(
            ("demo", "--lab", "A"),
            "--lab: A: expected up to 20 lower case letters and digits, a letter first",
            id="a lab's name in capitals",
        ),
        pytest.param(
            ("status", "a", "--lab", "b"),
            "--lab: expected the same lab as in the argument, a; got b",
            id="two labs",
        ),
        pytest.param(("down", "a", "--all"), "expected a LAB or --all, not both", id="a lab and all of them"),
        pytest.param(("exec", "n1"), "Missing argument 'COMMAND...'.", id="exec without a command"),
        pytest.param(
            ("status", "-o", "xml"),
            "Invalid value for '-o' / '--output': 'xml' is not one of 'table', 'json', 'yaml'.",
            id="unknown format",
        ),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], line: str) -> None:
    done = run(*arguments)

    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"netns-lab: {line}\n")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        pytest.param(
            ("status",),
            "NETNS_LAB_NAME: F-x: expected up to 20 lower case letters and digits, a letter first",
            id="of an option",
        ),
        pytest.param(
            ("status", "--lab", "a b"),
            "--lab: a b: expected up to 20 lower case letters and digits, a letter first",
            id="not heeded",
        ),
    ],
)
def test_wrong_variable(arguments: tuple[str, ...], line: str) -> None:
    done = run(*arguments, lab="F-x")

    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"netns-lab: {line}\n")


@pytest.mark.netns
def test_a_variable_that_names_no_lab_is_named() -> None:
    done = run("status", lab=NO_LAB)

    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert done.stderr.startswith(
        f"netns-lab: NETNS_LAB_NAME: {NO_LAB}: expected the name of a lab that is up: "
    )


@pytest.mark.netns
@pytest.mark.parametrize(
    "arguments",
    [
        ("status", NO_LAB),
        ("status", "--lab", NO_LAB),
        ("graph", "--lab", NO_LAB),
        ("exec", "--lab", NO_LAB, "n1", "--", "true"),
    ],
)
def test_unknown_lab(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)

    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert done.stderr.startswith(f"netns-lab: {NO_LAB}: expected the name of a lab that is up: ")


@pytest.mark.netns
def test_up_under_another_name() -> None:
    done = run("up", "examples/two-nodes.yaml", "--lab", NO_LAB, "--dry-run", "-o", "json")

    made = [change["what"] for change in json.loads(done.stdout)["changes"]]
    assert f"namespace nl-{NO_LAB}-fabric" in made
    assert json.loads(done.stdout)["lab"] == NO_LAB


@pytest.mark.netns
@pytest.mark.parametrize("lab", [(NO_LAB,), ("--lab", NO_LAB)], ids=["argument", "option"])
def test_down_of_what_is_not_there(lab: tuple[str, ...]) -> None:
    done = run("down", *lab, "-o", "json")

    words = f"netns-lab: {NO_LAB}: no lab of that name, nothing to remove\n"
    assert (done.returncode, done.stderr) == (0, words)
    assert json.loads(done.stdout) == {"labs": []}


def test_schema() -> None:
    assert json.loads(run("schema").stdout) == json.loads(json.dumps(json_schema()))
