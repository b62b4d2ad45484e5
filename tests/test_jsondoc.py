"""JSON is read by JSON's rules, and a field's place in it is found."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeplane.errors import ConfigError
from nodeplane.jsondoc import DoubleKeyError, find_in_json, iterate_items, looks_like_json, parse_json
from nodeplane.yamldoc import FieldPath, parse_documents


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param(' {"a": [1, 1.5, true, null]}\n', {"a": [1, 1.5, True, None]}, id="values"),
        pytest.param('{"a": "\\/\\ud83d\\ude00\\u00e9"}', {"a": "/😀é"}, id="escapes that YAML has not"),
        pytest.param('{"a": "\x85\u2028"}', {"a": "\x85\u2028"}, id="line ends of Unicode are text"),
        pytest.param('{"a": 1e3}', {"a": 1000.0}, id="exponent without a point"),
        pytest.param("[]", [], id="empty list"),
    ],
)
def test_parse(text: str, value: Any) -> None:
    """Also as a document of a file."""
    (document,) = parse_documents(text, "f")

    assert (looks_like_json(text), parse_json(text), document.value) == (True, value, value)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("{a: 1}", id="YAML"),
        pytest.param('{"a": 1}\n---\n{"b": 2}', id="two documents"),
        pytest.param('{"a": NaN}', id="NaN"),
        pytest.param('{"a": "\\ud83d"}', id="half a surrogate pair"),
        pytest.param('{"a": ' + 5000 * "9" + "}", id="more digits than Python reads"),
        pytest.param(129 * "[" + 129 * "]", id="nested too deep"),
        pytest.param(100_000 * "[" + 100_000 * "]", id="nested much too deep"),
        pytest.param('{"a": "b', id="cut off"),
    ],
)
def test_not_json(text: str) -> None:
    """The rest is for the YAML loader to judge."""
    with pytest.raises(ValueError, match=r".+"):
        parse_json(text)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        pytest.param(
            '{"a": "\\ud83d\\ude00",\n"b": [{"c": 1,\n"c": 2}]}',
            "3: expected JSON: found key 'c' twice",
            id="twice",
        ),
        pytest.param(
            '{"a": "\\ud83d\\ude00",\n"b": 1,\n"c" 2}',
            "3: expected JSON: expecting ':' delimiter",
            id="no colon",
        ),
        pytest.param('{"a": 1,\n "b": [}', "2: expected YAML: did not find expected node content", id="both"),
        pytest.param("{a: 1,\nb: [}", "2: expected YAML: did not find expected node content", id="no JSON"),
        pytest.param('{"a": "\\ud83d"}', "1: expected YAML: found invalid Unicode", id="half a pair"),
        pytest.param(
            129 * "[" + 129 * "]", "1: expected YAML: expected at most 128 levels of nesting", id="deep"
        ),
    ],
)
def test_refused(text: str, error: str) -> None:
    """The line is where JSON is wrong, unless the text is not meant to be JSON."""
    with pytest.raises(ConfigError) as caught:
        parse_documents(text, "f")

    assert str(caught.value).startswith(f"f:{error}")


TEXT = '\n{"a": {"b": [1,\n {"c": "x\\/y"},\n [],\n null]},\n "d": false}'


@pytest.mark.parametrize(
    ("path", "place"),
    [
        pytest.param((), (2, None), id="all"),
        pytest.param(("a", "b"), (2, None), id="list"),
        pytest.param(("a", "b", 0), (2, "1"), id="number"),
        pytest.param(("a", "b", 1, "c"), (3, "x/y"), id="text"),
        pytest.param(("a", "b", 3), (5, "null"), id="null"),
        pytest.param(("d",), (6, "false"), id="truth value"),
        pytest.param(("a", "b", 9), (2, None), id="past the end"),
        pytest.param(("a", "x", "y"), (2, None), id="nothing there"),
        pytest.param(("d", "x"), (6, None), id="below a word"),
    ],
)
def test_find(path: FieldPath, place: tuple[int, str | None]) -> None:
    """The line of the value, or of what should have it."""
    assert find_in_json(TEXT, path) == place


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.lists(VALUES), st.booleans())
@settings(deadline=None)
def test_round_trip(value: list[Any], is_ascii: bool) -> None:
    """What Python writes is read back, whatever characters it holds."""
    assert parse_json(json.dumps(value, ensure_ascii=is_ascii, indent=1)) == value


@given(st.text(alphabet='{}[]:,"\\u0d8aeE1.- \n', max_size=30).map(lambda text: "[" + text))
@settings(deadline=None)
def test_garbage(text: str) -> None:
    """Any text gives a value or one of two errors."""
    with suppress(ValueError, DoubleKeyError):
        parse_json(text)


def read_items(text: str) -> dict[str, Any]:
    """Put an object together again from what is yielded of it."""
    entries = list(iterate_items(text))
    fields = entries[-1][0] if entries else parse_json(text)
    return {**fields, "items": [item for _, item in entries]}


@pytest.mark.parametrize(
    ("text", "known"),
    [
        pytest.param('{"kind": "L",\n "items": [1, {"a": [2]}]}', {"kind", "items"}, id="fields before"),
        pytest.param(' { "items" : [ 1 , [] ] , "kind": "L" } ', {"items"}, id="fields behind"),
    ],
)
def test_items(text: str, known: set[str]) -> None:
    """Fields that stand behind the list are known at its end."""
    fields, first = next(iterate_items(text))

    assert (first, set(fields)) == (1, known)
    assert read_items(text) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        pytest.param('{"items": [1,]}', "Expecting value", id="comma at the end"),
        pytest.param('{"items": [1 2]}', "Expecting ','", id="no comma"),
        pytest.param('{"items": [1]', "Expecting ','", id="not closed"),
        pytest.param('{"items": [1]} 2', "Extra data", id="more behind it"),
        pytest.param('{"items": [1], "items": [2]}', "another field", id="two lists"),
        pytest.param('{"items": [{"a": 1, "a": 2}]}', "twice", id="a key twice"),
        pytest.param('{"items": ["\\ud83d"]}', "surrogates not allowed", id="half a surrogate pair"),
        pytest.param(
            '{"items": [1, ' + 127 * "[" + 127 * "]" + "]}", "nested too deep", id="nested too deep"
        ),
        pytest.param('{"kind": "L"}', "expected items", id="no list"),
        pytest.param("[1]", "Expecting '{'", id="no object"),
    ],
)
def test_items_refused(text: str, error: str) -> None:
    """What `parse_json` does not take, and what has no items."""
    with pytest.raises(ValueError, match=error):
        read_items(text)


@given(st.text(alphabet='{}[]:,"i 1', max_size=20))
@settings(deadline=None)
def test_items_are_those_of_the_whole(text: str) -> None:
    """Whatever is read one by one, reads the same as a whole."""
    text = '{"items":[' + text + "]}"
    with suppress(ValueError):
        assert read_items(text) == parse_json(text)
