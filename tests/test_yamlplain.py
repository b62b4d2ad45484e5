"""What is read line by line is read as PyYAML reads it; the rest is left to it."""

from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nodeplane.yamlloader import Loader
from nodeplane.yamlplain import NotPlainError, parse_plain
from tests.test_yamlloader import GARBAGE


def judge(text: str) -> list[Any]:
    """Return what the full loader reads."""
    return list(yaml.load_all(text, Loader=Loader))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("# a\n\n  # b\n", id="comments"),
        pytest.param("---\n---\n# a\n---\na: 1\n---\n", id="empty documents"),
        pytest.param("a: 1\n---\nb: 2", id="no line end at the end"),
        pytest.param("a:\nb:\n  c: d\n  e:\n    f: g\nh: i\n", id="mappings"),
        pytest.param("a:\n- b\n- c\nd:\n  - e\n", id="lists, indented or not"),
        pytest.param(
            "- a: 1\n  b:\n  - c\n  - d: e\n    f: g\n-   h: i\n    j:\n- k\n", id="lists of mappings"
        ),
        pytest.param("- a:\n- b:\n", id="items without values"),
        pytest.param("---\n  a: 1\n  b: 2\n", id="all indented"),
        pytest.param("a: b # c\nd: #e\n  f: g\n", id="comments behind values"),
        pytest.param("a: 10.0.0.1\nb: fd00::1:2\nc: 10:20:30:40:50:51\n", id="addresses"),
        pytest.param(
            "a: yes\nb: 017\nc: 0x1F\nd: 1_0\ne: 1.5\nf: null\ng: 1e3\nh: .inf\ni: 2026-11-21\n", id="words"
        ),
        pytest.param("a: some text, as people write (a - b; c * d)\nb: http://x:80/y?z=1&w\n", id="texts"),
        pytest.param("a: \"80\"\nb: '80'\nc: \"it's # {x: y}\"\nd: ''\n", id="quoted"),
        pytest.param("a: {}\nb: []\n", id="nothing, in brackets"),
        pytest.param("2: a\nyes: b\nf:x: c\nx.y/z-1: d\n", id="keys"),
    ],
)
def test_plain(text: str) -> None:
    """The common forms are read here, and mean the same."""
    assert repr(parse_plain(text)) == repr(judge(text))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a", id="a word alone"),
        pytest.param("a: b\n  c\n", id="text over two lines"),
        pytest.param("a: b\n  c: d\n", id="a value and a mapping"),
        pytest.param("a: b: c\n", id="two colons"),
        pytest.param("a: fd00::\n", id="colon at the end"),
        pytest.param("a:\n    b: 1\n  c: 2\n", id="between two indents"),
        pytest.param("a: 1\n- b\n", id="list in a mapping"),
        pytest.param("- a\nb: 1\n", id="mapping in a list"),
        pytest.param("- - a\n", id="list in a list"),
        pytest.param("-\n  a: b\n", id="item on the next line"),
        pytest.param("a: 1\na: 2\n", id="key twice"),
        pytest.param("true: 1\nyes: 2\n", id="one key in two words"),
        pytest.param("a: 0b_\n", id="no number"),
        pytest.param("a: {b: c}\n", id="flow mapping"),
        pytest.param("a: &x b\n", id="anchor"),
        pytest.param("a: *x\n", id="alias"),
        pytest.param("a: !!str 1\n", id="tag"),
        pytest.param("<<: {}\n", id="merge"),
        pytest.param("a: |\n  b\n", id="literal"),
        pytest.param('a: "\\n"\n', id="escape"),
        pytest.param("a: 'it''s'\n", id="quote in quotes"),
        pytest.param("a: 'b'c\n", id="behind quotes"),
        pytest.param("a: b#c\n", id="hash"),
        pytest.param("a:\tb\n", id="tab"),
        pytest.param("a: b\r\n", id="CRLF"),
        pytest.param("a: é\n", id="not ASCII"),
        pytest.param("# é\n", id="comment not ASCII"),
        pytest.param("a: b\x85c: d\n", id="line end of Unicode"),
        pytest.param("%YAML 1.1\n---\na: b\n", id="directive"),
        pytest.param("a: b\n...\n", id="end of document"),
        pytest.param("--- a\n", id="value behind the separator"),
        pytest.param("? a\n", id="explicit key"),
        pytest.param(f"{1100 * 'a'}: b\n", id="key longer than YAML allows"),
        pytest.param("".join(f"{n * ' '}a:\n" for n in range(129)), id="too deep"),
    ],
)
def test_not_plain(text: str) -> None:
    """What has more to it, or is wrong, is not judged here."""
    with pytest.raises(NotPlainError):
        parse_plain(text)


TOKENS = r"""
    a b.c a:b a::b a: :a 80 017 1_0 0x1F 0b_ 1e3 1.5 .inf yes null ~ = ... --- {} [] [a] {a: b} '' 'a b' "a"
    "\n" -1 - ? *a &a !x |- > %a @ # a# a#b #c a,b (a) a-b 10:20 10:20:30 2026-11-21 é
"""
PLAIN_WORDS = st.sampled_from(
    ["a", "b.c", "80", "017", "a:b", "fd00::1", "yes", "null", "'x: y'", '""', "{}"]
)
ODD_VALUES = st.lists(st.sampled_from(TOKENS.split()), max_size=3).map(" ".join)
# Mostly such as are read here.
VALUES = st.one_of(*[PLAIN_WORDS] * 5, ODD_VALUES)
PLAIN_KEYS = st.text("abcx", min_size=1, max_size=4)
ODD_KEYS = st.sampled_from(["x.y/z", "f:g", "1", "true", "a ", "a:", "-", "'a'", "<<", "~"])
KEYS = st.one_of(*[PLAIN_KEYS] * 9, ODD_KEYS)
LINES = st.one_of(
    st.tuples(st.integers(0, 6), st.just(""), KEYS, VALUES),
    st.tuples(st.integers(0, 4), st.sampled_from(["- ", "-   ", "- - "]), KEYS, VALUES),
).map(lambda parts: f"{parts[0] * ' '}{parts[1]}{parts[2]}: {parts[3]}")
TOKEN_LINES = st.sampled_from(["---", "", "  ", "# c", "...", "- ", "-", "- a", "  - a b", "--- a", "a"])
TEXTS = st.lists(LINES | TOKEN_LINES, max_size=12).map("\n".join)


def block(marks: list[str], inner: list[list[str]], indent: int) -> list[str]:
    """Put texts below keys or dashes; the first line is what stands behind the key around them."""
    lines = [""]
    for mark, (first, *rest) in zip(marks, inner, strict=False):
        lines += [f"{mark}{first}", *(indent * " " + line for line in rest)]
    return lines


# Such as are mostly right: blocks in blocks.
INDENTS = st.sampled_from([2, 2, 2, 4, 0, 1, 3])
MARKS = st.lists(KEYS.map("{}:".format), min_size=3, max_size=3) | st.just(["-", "-", "-"])
BLOCKS = st.recursive(
    VALUES.map(lambda text: [f" {text}"]),
    lambda inner: st.builds(block, MARKS, st.lists(inner, min_size=1, max_size=3), INDENTS),
    max_leaves=8,
).map("\n".join)


@given(TEXTS | BLOCKS | GARBAGE)
@example("a: b: c")
@settings(deadline=None, max_examples=500)
def test_the_full_loader_agrees(text: str) -> None:
    """Whatever is read here, the full loader reads as the same values of the same types."""
    with suppress(NotPlainError):
        found = parse_plain(text)
        assert repr(found) == repr(judge(text))


VALUE_TREES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text("abc01 :-#'\"\n", max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab1", min_size=1), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(VALUE_TREES)
@settings(deadline=None, max_examples=200)
def test_what_pyyaml_writes(value: Any) -> None:
    """A dump that is read here gives the value back."""
    text = yaml.safe_dump({"top": value})

    with suppress(NotPlainError):
        assert repr(parse_plain(text)) == repr(judge(text))
