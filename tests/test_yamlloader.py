"""What plain words mean, and what no manifest may hold."""

import math
import string
from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeplane.yamlloader import Loader

# Pieces of YAML that mean something, so that random text gets past the scanner.
TOKENS = r"""
    a b null true no 0 1 -1 017 0b_ 0x_ 1e3 1.5 .inf .nan 2001-99-99 10:20:30 & * &a *a << = | > ' " # % @ `
    ! !x !!int !!float !!bool !!null !!str !!map !!seq !!set !!omap !!pairs !!binary !!timestamp
    !!python/object:os.system %YAML %TAG ~ \ - -- --- ... : ? , [ ] { }
"""
GAPS = st.sampled_from(["", " ", "  ", "\n", "\n  ", "\t", "\r\n", ": ", "- ", "\0", "\ufeff", "\x85"])
GARBAGE = st.one_of(
    st.text(max_size=40),
    st.text(alphabet=string.punctuation + " \n01ab", max_size=40),
    st.lists(st.tuples(st.sampled_from(TOKENS.split()), GAPS).map("".join), max_size=30).map("".join),
)


def load(text: str) -> Any:
    """Return the value of a text of one document."""
    (value,) = yaml.load_all(text, Loader=Loader)
    return value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("80", 80, id="number"),
        pytest.param("-017", -15, id="octal, as in YAML 1.1"),
        pytest.param("0o17", "0o17", id="octal of YAML 1.2 is text"),
        pytest.param("0x_1F", 31, id="hexadecimal"),
        pytest.param("1_000", 1000, id="underscores"),
        pytest.param("0", 0, id="zero"),
        pytest.param("1.5", 1.5, id="fraction"),
        pytest.param("-.inf", -math.inf, id="infinity"),
        pytest.param("1.", 1.0, id="point without digits"),
        pytest.param("yes", True, id="yes, as in YAML 1.1"),
        pytest.param("~", None, id="null"),
        pytest.param("'80'", "80", id="quoted number"),
        pytest.param("10:20:30:40:50:51", "10:20:30:40:50:51", id="MAC address, no base 60"),
        pytest.param("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8", id="IPv6 address, no base 60"),
        pytest.param("12:30.5", "12:30.5", id="time, no base 60"),
        pytest.param("2026-11-21", "2026-11-21", id="date is text"),
        pytest.param("2026-11-21T00:56:56Z", "2026-11-21T00:56:56Z", id="time is text"),
        pytest.param("2001-99-99", "2001-99-99", id="no date at all"),
        pytest.param("!!timestamp x", "x", id="a date by its tag is text too"),
        pytest.param("10.96.0.1", "10.96.0.1", id="IPv4 address"),
        pytest.param("=", "=", id="equals sign"),
        pytest.param("{1: a, '1': b}", {1: "a", "1": "b"}, id="a number and a text are two keys"),
    ],
)
def test_value(text: str, value: Any) -> None:
    """Plain words mean what they mean in Kubernetes."""
    found = load(text)

    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a: &a {x: 1}\nb: &b {<<: *a, x: 2}\nc: {<<: *b, x: 3}", id="in order"),
        # PyYAML flattens b when it comes to c, before it looks at b itself.
        pytest.param("outer: {b: &b {<<: &a {x: 1}, x: 2}}\nc: {<<: *b, x: 3}\na: *a\n", id="out of order"),
    ],
)
def test_a_merged_key_is_no_double(text: str) -> None:
    """A mapping may say anew what it merges, also when it is itself merged before it is built."""
    value = load(text)
    b = value["b"] if "b" in value else value["outer"]["b"]

    assert (value["a"], b, value["c"]) == ({"x": 1}, {"x": 2}, {"x": 3})


@pytest.mark.parametrize(
    ("text", "problem", "line"),
    [
        pytest.param("a: 1\nb: 2\na: 1", "found key 'a' twice", 3, id="key twice"),
        pytest.param("x:\n- {a: 1, b: 2,\n   a: 3}", "found key 'a' twice", 3, id="key twice in a list"),
        pytest.param("a: &a {x: 1}\nb: {<<: *a,\n <<: *a}", "found key '<<' twice", 3, id="merge twice"),
        pytest.param("\n!!int x", "found what is no int", 2, id="no number"),
        pytest.param("!!int ''", "found what is no int", 1, id="no digits"),
        pytest.param("- 0b_", "found what is no int", 1, id="no binary digits"),
        pytest.param("a: " + 5000 * "9", "found what is no int", 1, id="more digits than Python reads"),
        pytest.param("!!float x", "found what is no float", 1, id="no fraction"),
        pytest.param("!!float 1" + 200 * ":1" + ".5", "found what is no float", 1, id="too large"),
        pytest.param("!!bool x", "found what is no bool", 1, id="no truth value"),
        pytest.param("a:\n- &a [*a]", "found unconstructable recursive node", 2, id="list in itself"),
        pytest.param(
            "a:\n- &a {b: {c: *a}}", "found unconstructable recursive node", 2, id="mapping in itself"
        ),
    ],
)
def test_refused(text: str, problem: str, line: int) -> None:
    """What is no value is an error of YAML, with its line."""
    with pytest.raises(yaml.MarkedYAMLError) as caught:
        load(text)

    assert caught.value.problem_mark is not None
    assert (caught.value.problem, caught.value.problem_mark.line + 1) == (problem, line)


@pytest.mark.parametrize("depth", [pytest.param(129, id="one more"), pytest.param(200_000, id="many more")])
@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        pytest.param("[", "]", id="flow sequence"),
        pytest.param("{a: ", "}", id="flow mapping"),
        pytest.param("- ", "", id="block sequence"),
        pytest.param("? ", "", id="mapping as a key"),
    ],
)
def test_deep_nesting_is_refused(opening: str, closing: str, depth: int) -> None:
    """The C composer recurses: without a limit such a file would end the process by SIGSEGV."""
    with pytest.raises(yaml.MarkedYAMLError, match="expected at most 128 levels of nesting"):
        load(opening * depth + "a" + closing * depth)


def test_nesting_within_the_limit() -> None:
    """A document may be 128 levels deep; each document counts anew."""
    text = "---\n" + "[" * 127 + "a" + "]" * 127 + "\n"

    assert len(list(yaml.load_all(text * 2, Loader=Loader))) == 2


@given(GARBAGE)
@settings(deadline=None)
def test_garbage(text: str) -> None:
    """Any text gives values or an error of YAML, never another exception."""
    with suppress(yaml.YAMLError):
        list(yaml.load_all(text, Loader=Loader))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(VALUES)
@settings(deadline=None)
def test_round_trip(value: Any) -> None:
    """What PyYAML writes, for YAML 1.1, is read back as it was."""
    assert load(yaml.safe_dump(value)) == value
