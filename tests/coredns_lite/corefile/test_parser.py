"""The Corefile's syntax."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coredns_lite.corefile.parser import Block, Directive, parse_corefile, read_corefile
from nodeplane.errors import ConfigError


def plain(blocks: tuple[Block, ...]) -> list[Any]:
    """Reduce blocks to their words."""
    return [
        ([label.text for label in block.labels], [words(each) for each in block.directives])
        for block in blocks
    ]


def words(directive: Directive) -> list[Any]:
    block = [] if directive.block is None else [[words(option) for option in directive.block]]
    return [directive.name.text, *(arg.text for arg in directive.args), *block]


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        pytest.param("a {\n}\n", [(["a"], [])], id="empty block"),
        pytest.param(". { }", [(["."], [])], id="one line, no newline at the end"),
        pytest.param("a b:53 {\n}", [(["a", "b:53"], [])], id="two zones"),
        pytest.param("a,\nb, c {\n}", [(["a,", "b,", "c"], [])], id="zones on two lines, commas"),
        pytest.param("a {\n errors\n log\n}", [(["a"], [["errors"], ["log"]])], id="directives"),
        pytest.param("a {\n bind 1 2\n}", [(["a"], [["bind", "1", "2"]])], id="arguments"),
        pytest.param(
            "a {\n k z {\n  x 1\n  y\n }\n log\n}",
            [(["a"], [["k", "z", [["x", "1"], ["y"]]], ["log"]])],
            id="block",
        ),
        pytest.param("a {\n k {\n }\n}", [(["a"], [["k", []]])], id="empty block of a directive"),
        pytest.param("a {\n k { x 1 }\n}", [(["a"], [["k", [["x", "1"]]]])], id="block on one line"),
        pytest.param("a {\n}\nb {\n}", [(["a"], []), (["b"], [])], id="two blocks"),
        pytest.param("# x\na { # y\n log # z {\n #}\n}\n#", [(["a"], [["log"]])], id="comments"),
        pytest.param("a {\n x y#z\n}", [(["a"], [["x", "y#z"]])], id="no comment inside a word"),
        pytest.param('a {\n x "y z" "" "{"\n}', [(["a"], [["x", "y z", "", "{"]])], id="quotes"),
        pytest.param('a {\n x "y \\" \\n"\n}', [(["a"], [["x", 'y " \\n']])], id="escaped quote"),
        pytest.param("a {\r\n log\r\n}\r\n", [(["a"], [["log"]])], id="lines end as on Windows"),
        pytest.param("a\u00a0b\x0b{\x1c}", [(["a", "b"], [])], id="any white space"),
        pytest.param("\ufeffa {\n\tlog\n}", [(["a"], [["log"]])], id="byte order mark, tab"),
    ],
)
def test_parse(text: str, blocks: list[Any]) -> None:
    assert plain(parse_corefile(text, "Corefile")) == blocks


@pytest.mark.parametrize(
    ("text", "error"),
    [
        pytest.param("", "Corefile: expected at least one server block", id="empty"),
        pytest.param("# nothing\n", "Corefile: expected at least one server block", id="comment only"),
        pytest.param("a\n", "Corefile:1: a: expected '{' after the zones of a server block", id="no block"),
        pytest.param(
            "a\nlog\n", "Corefile:1: a: expected '{' after the zones of a server block", id="no braces"
        ),
        pytest.param("\n{\n}", "Corefile:2: {: expected a zone before it", id="no zone"),
        pytest.param("a {\n}\n}", "Corefile:3: }: expected a zone before it", id="brace too many"),
        pytest.param("\na {\n log\n", "Corefile:2: {: expected a '}' that closes it", id="block not closed"),
        pytest.param(
            "a {\n k {\n  x\n", "Corefile:2: {: expected a '}' that closes it", id="inner block not closed"
        ),
        pytest.param("a {\n k\n {\n }\n}", "Corefile:3: {: expected a plugin", id="brace on its own line"),
        pytest.param(
            "a {\n k {\n  x {\n  }\n }\n}", "Corefile:3: {: expected an option", id="option with a block"
        ),
        pytest.param(
            '"a\x85b"',
            "Corefile:1: 'a\\x85b': expected '{' after the zones of a server block",
            id="unprintable",
        ),
        pytest.param('a {\n x "y z\n}', 'Corefile:2: "y z: expected a closing quote', id="quote not closed"),
    ],
)
def test_parse_refuses(text: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_corefile(text, "Corefile")

    assert str(caught.value) == error


@pytest.mark.parametrize(
    ("content", "error"),
    [
        pytest.param(None, "{}: expected a readable file: No such file or directory", id="missing"),
        pytest.param(b"a {\n\xff}", "{}: expected UTF-8 text, byte 4 is not", id="not UTF-8"),
    ],
)
def test_read_refuses(tmp_path: Path, content: bytes | None, error: str) -> None:
    path = tmp_path / "Corefile"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        read_corefile(path)

    assert str(caught.value) == error.format(path)


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=1).filter(
    lambda word: (
        word not in {"{", "}", "import"}
        and "{" not in word
        and not word.startswith(("#", '"'))
        and not word.endswith(",")
    )
)


@given(
    st.lists(WORDS, min_size=1), st.lists(st.lists(WORDS, min_size=1)), st.lists(st.lists(WORDS, min_size=1))
)
@settings(deadline=None)
def test_round_trip(labels: list[str], directives: list[list[str]], options: list[list[str]]) -> None:
    """What is written line by line is read as it was meant."""
    lines = [f"{' '.join(labels)} {{"]
    lines += [" " + " ".join(line) for line in directives]
    lines += [" k {", *("  " + " ".join(line) for line in options), " }", "}"]

    assert plain(parse_corefile("\n".join(lines), "Corefile")) == [(labels, [*directives, ["k", options]])]


@given(st.text() | st.lists(st.sampled_from(["a", "{", "}", "\n", " ", '"', "#", "\\"])).map("".join))
@settings(deadline=None)
def test_any_text(text: str) -> None:
    """Any text is parsed or refused in one line."""
    refusal = "none"
    try:
        parse_corefile(text, "Corefile")
    except ConfigError as exc:
        refusal = str(exc)

    assert len(refusal.splitlines()) == 1


def test_depth_is_bounded() -> None:
    with pytest.raises(ConfigError):
        parse_corefile("a { " * 100_000, "Corefile")
