"""docs/tour.md, step by step: each command block is run and prints what the tour says."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.lab.labs import COMMAND, TWO_NODES, LabUnderTest, lab_from

pytestmark = pytest.mark.lab

ROOT = Path(__file__).parents[2]
TOUR = ROOT / "docs" / "tour.md"

_BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_LIMIT_S = 240


class Block(NamedTuple):
    """Commands, and what they print: `…` is anything in a line, or, alone, any lines; spaces don't count."""

    script: str
    printed: str

    def fits(self, said: str) -> bool:
        """Say whether a text is what was to be printed."""
        lines = said.splitlines()
        places = {0}
        for wanted in self.printed.splitlines():
            if wanted == "…":
                places = set(range(min(places), len(lines) + 1))
            else:
                places = {at + 1 for at in places if at < len(lines) and _line_fits(wanted, lines[at])}
            if not places:
                return False
        return len(lines) in places


def _line_fits(wanted: str, line: str) -> bool:
    line = " ".join(line.split())
    first, *rest = [" ".join(part.split()) for part in wanted.split("…")]
    if not rest:
        return line == first
    *middle, last = rest
    if not line.startswith(first):
        return False
    at = len(first)
    for part in middle:
        found = line.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return line.endswith(last) and len(line) - len(last) >= at


def read_blocks(text: str) -> list[Block]:
    """Return the command blocks of a document."""
    blocks = []
    for match in _BLOCK.finditer(text):
        assert match["language"] == "console", f"a block of another language: {match[0][:60]}"
        lines = match["body"].splitlines()
        commands = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        printed = [line for line in lines if not line.startswith("$ ")]
        blocks.append(Block("\n".join(commands), "\n".join(printed)))
    return blocks


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, LabUnderTest]]:
    """Yield a folder with the examples, of which the tour's has a name that nobody else has."""
    folder = tmp_path_factory.mktemp("tour")
    shutil.copytree(ROOT / "examples", folder / "examples")
    with lab_from(TWO_NODES, folder) as lab:
        file = folder / "examples" / TWO_NODES.name
        file.write_text(file.read_text().replace("name: twonodes", f"name: {lab.name}"))
        yield folder, lab


@pytest.mark.parametrize(
    "block", read_blocks(TOUR.read_text()), ids=lambda block: block.script.splitlines()[0]
)
def test_step(block: Block, place: tuple[Path, LabUnderTest]) -> None:
    folder, lab = place
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.script],
        cwd=folder,
        env={
            **os.environ,
            "PATH": f"{COMMAND.parent}:{os.environ['PATH']}",
            # There may be other labs beside this one; a reader has none.
            "NETNS_LAB_NAME": lab.name,
        },
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    printed = done.stdout.replace(lab.name, "twonodes")
    assert block.fits(printed), f"expected\n{block.printed}\n\ngot\n{printed}"


def test_pictures_of_the_tour_are_there() -> None:
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", TOUR.read_text())

    assert len(pictures) == 2
    for picture in pictures:
        assert (TOUR.parent / picture).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("printed", "said", "fits"),
    [
        pytest.param("a … c", "a  b c\n", True, id="a part of a line"),
        pytest.param("a … c", "a b\nc\n", False, id="not over a line's end"),
        pytest.param("a\n…\nd", "a\nb\nc\nd\n", True, id="any lines"),
        pytest.param("a\n…\nd", "a\nd\n", True, id="no lines"),
        pytest.param("a (1)", "a (2)\n", False, id="another text"),
        pytest.param("a", "a\nb\n", False, id="more than is said"),
    ],
)
def test_what_fits(printed: str, said: str, fits: bool) -> None:
    assert Block("", printed).fits(said) == fits
