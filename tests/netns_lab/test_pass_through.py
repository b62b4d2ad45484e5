"""Whose words are whose, where a verb runs another program."""

import click
import pytest

from netns_lab.pass_through import PassThrough

OPTIONS = [click.Option(["--lab"]), click.Option(["-v", "--verbose"], count=True)]
WORDS = click.Argument(["words"], nargs=-1, type=click.UNPROCESSED)

Parsed = tuple[str | None, int, str | None, tuple[str, ...]]


def parse(*line: str, has_place: bool) -> Parsed:
    """Return what a verb takes from a line: its lab, how loud it is, its place, the other program's words."""
    place = [click.Argument(["place"])] if has_place else []
    verb = PassThrough("verb", params=[*OPTIONS, *place, WORDS])
    found = verb.make_context("verb", [*line]).params
    return found["lab"], found["verbose"], found.get("place"), found["words"]


@pytest.mark.parametrize(
    ("line", "parsed"),
    [
        pytest.param("n1 -- ls -v", (None, 0, "n1", ("ls", "-v")), id="a command"),
        pytest.param("n1 ls -v --help", (None, 0, "n1", ("ls", "-v", "--help")), id="no dashes"),
        pytest.param("--lab red -v n1 -- ls", ("red", 1, "n1", ("ls",)), id="options first"),
        pytest.param(
            "n1 --lab=red -vv -- ls --lab x", ("red", 2, "n1", ("ls", "--lab", "x")), id="after the place"
        ),
        pytest.param("-- n1 ls", (None, 0, "n1", ("ls",)), id="dashes before the place"),
        pytest.param("n1 -- sh -- x", (None, 0, "n1", ("sh", "--", "x")), id="dashes of the command"),
    ],
)
def test_exec(line: str, parsed: Parsed) -> None:
    assert parse(*line.split(), has_place=True) == parsed


@pytest.mark.parametrize(
    ("line", "parsed"),
    [
        pytest.param("get pods --help", (None, 0, None, ("get", "pods", "--help")), id="its verb's help"),
        pytest.param("-- --help", (None, 0, None, ("--help",)), id="its help"),
        pytest.param("-nshop --lab x", (None, 0, None, ("-nshop", "--lab", "x")), id="its options"),
        pytest.param("--lab red -n shop get", ("red", 0, None, ("-n", "shop", "get")), id="ours, then its"),
        pytest.param("exec web -- ls", (None, 0, None, ("exec", "web", "--", "ls")), id="its dashes"),
        pytest.param("--lab red", ("red", 0, None, ()), id="none of its"),
        pytest.param("", (None, 0, None, ()), id="nothing"),
    ],
)
def test_kubectl(line: str, parsed: Parsed) -> None:
    assert parse(*line.split(), has_place=False) == parsed


@pytest.mark.parametrize(
    ("line", "words"),
    [
        pytest.param("--lba red n1 ls", "No such option '--lba'.", id="no option"),
        pytest.param("--lab", "Option '--lab' requires an argument.", id="no value"),
        pytest.param("--lab red", "Missing parameter: place", id="no place"),
    ],
)
def test_wrong_usage(line: str, words: str) -> None:
    with pytest.raises(click.UsageError) as caught:
        parse(*line.split(), has_place=True)

    assert str(caught.value) == words
