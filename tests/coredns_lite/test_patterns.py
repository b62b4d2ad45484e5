"""Regular expressions of a Corefile."""

import pytest

from coredns_lite.corefile.lexer import Token
from coredns_lite.patterns import Found, Pattern
from nodeplane.errors import ConfigError


@pytest.mark.parametrize(
    ("expression", "text", "found"),
    [
        pytest.param(r"(a+)\.(b)?", "x.aa.c", Found(("aa.", "aa", ""), {}), id="anywhere, a group missing"),
        pytest.param(r"^(?P<x>.*)\.y$", "a.b.y", Found(("a.b.y", "a.b"), {"x": "a.b"}), id="by name"),
        pytest.param("^b", "ab", None, id="nowhere"),
        pytest.param("", "a", Found(("",), {}), id="empty"),
    ],
)
def test_find(expression: str, text: str, found: Found | None) -> None:
    pattern = Pattern(expression)

    assert pattern.find(text) == found
    assert pattern.matches(text) == (found is not None)


def test_groups() -> None:
    pattern = Pattern("(a)(?P<x>b)(?P<y>c)")

    assert (pattern.group_count, pattern.group_names) == (3, frozenset({"x", "y"}))


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("(", "missing ): ("),
        ("(?=a)b", "invalid perl operator: (?="),
        (r"(a)\1", r"invalid escape sequence: \1"),
    ],
)
def test_none(expression: str, reason: str) -> None:
    """Also what would take long for some names: look-around, back references."""
    with pytest.raises(ConfigError) as caught:
        Pattern.decode(Token(expression, "Corefile", 2))

    assert str(caught.value) == f"Corefile:2: {expression}: expected a regular expression (RE2): {reason}"


def test_no_name_takes_long() -> None:
    """With an engine that goes back, the sun would be gone before this ends."""
    text = "a" * 250

    assert not Pattern("(a*)*(a*)*(a|aa)+b").matches(text)
