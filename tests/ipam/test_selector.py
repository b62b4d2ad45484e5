"""Label selectors in Kubernetes' and in Calico's form."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipam.model import Labels
from ipam.selector import parse_selector, selects
from nodeplane.errors import ConfigError

ZONE_A = {"zone": "a", "tier": "web"}
ZONE_B = {"zone": "b", "topology.kubernetes.io/region": "eu-1"}
NONE: Labels = {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Which of ZONE_A, ZONE_B and NONE are selected.
        pytest.param("", "abn", id="empty"),
        pytest.param("  ", "abn", id="blank"),
        pytest.param("zone=a", "a", id="="),
        pytest.param("zone==a", "a", id="=="),
        pytest.param("zone!=a", "bn", id="!= takes what has no such label"),
        pytest.param("zone", "ab", id="exists"),
        pytest.param("!zone", "n", id="does not exist"),
        pytest.param("zone in (a,b)", "ab", id="in"),
        pytest.param("zone in ( a , c )", "a", id="in, blanks"),
        pytest.param("zone notin (a)", "bn", id="notin"),
        pytest.param("zone in (a,b),!tier", "b", id="a comma is and"),
        pytest.param("topology.kubernetes.io/region=eu-1", "b", id="a label with a prefix"),
        pytest.param("all()", "abn", id="all()"),
        pytest.param("global()", "abn", id="global()"),
        pytest.param("has(tier)", "a", id="has()"),
        pytest.param("!has(tier)", "bn", id="not has()"),
        pytest.param('zone == "a"', "a", id="quoted"),
        pytest.param("zone == 'a'", "a", id="single quotes"),
        pytest.param('zone != "a"', "bn", id="!= quoted"),
        pytest.param('zone in {"a", "b"}', "ab", id="in, braces"),
        pytest.param('zone not in {"a"}', "bn", id="not in"),
        pytest.param("zone in {}", "", id="in nothing"),
        pytest.param('has(zone) && zone != "a"', "b", id="&&"),
        pytest.param('zone == "a" || zone == "b"', "ab", id="||"),
        pytest.param('!has(zone) || has(zone) && zone == "b"', "bn", id="&& is tighter than ||"),
        pytest.param('(!has(zone) || has(zone)) && zone == "b"', "b", id="parentheses"),
        pytest.param("!(zone == 'a')", "bn", id="not of a group"),
        pytest.param("!!has(zone)", "ab", id="twice not"),
        pytest.param("zone contains 'a'", "a", id="contains"),
        pytest.param("topology.kubernetes.io/region starts with 'eu'", "b", id="starts with"),
        pytest.param("topology.kubernetes.io/region ends with '-1'", "b", id="ends with"),
        pytest.param("zone=a || zone=b, tier", "a", id="mixed: the comma is the loosest"),
        pytest.param("in in (in)", "", id="a label that is called in"),
    ],
)
def test_matches(text: str, expected: str) -> None:
    selector = parse_selector(text, "file", "nodeSelector")

    cases = {"a": ZONE_A, "b": ZONE_B, "n": NONE}
    assert "".join(name for name, labels in cases.items() if selector.matches(labels)) == expected
    assert "".join(name for name, labels in cases.items() if selects(text, labels)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("zone contains", "expected a value, got the end", id="no value"),
        pytest.param("(" * 3000, "expected at most 32 '!' and '(' within one another", id="nested deeply"),
        pytest.param("zone in a", "expected ( or {, got 'a'", id="no list"),
        pytest.param("zone in (a", "expected ), got the end", id="list without end"),
        pytest.param("zone in (a}", "expected ), got '}'", id="list with the wrong end"),
        pytest.param("zone not a", "expected in, got 'a'", id="not without in"),
        pytest.param("zone starts 'a'", "expected with, got \"'a'\"", id="starts without with"),
        pytest.param("(zone", "expected ), got the end", id="group without end"),
        pytest.param("zone zone", "expected =, ==, !=, in, not in, notin", id="no operator"),
        pytest.param("any(x)", "expected all(), global() or has(…), got 'any'", id="unknown call"),
        pytest.param("has()", "expected a label, got ')'", id="has nothing"),
        pytest.param("a,,b", "expected a label, got ','", id="two commas"),
        pytest.param("a && ", "expected a label, got the end", id="half an and"),
        pytest.param("a = b)", "expected &&, || or a comma, got ')'", id="too much"),
        pytest.param(
            "a = 'b", 'expected a label, value or operator, got "\'"', id="a quote that does not end"
        ),
        pytest.param("a > 5", "expected a label, value or operator, got '>'", id="an operator of neither"),
    ],
)
def test_errors_say_what_is_expected(text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_selector(text, "file", "nodeSelector")

    assert str(caught.value).startswith(f"file: nodeSelector: {expected}")
    assert str(caught.value).endswith(f", in selector {text!r}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", True, id="empty"),
        pytest.param("all()", True, id="all()"),
        pytest.param("zone=a", False, id="a label"),
        pytest.param("!zone", False, id="the lack of one"),
    ],
)
def test_labels_that_nobody_knows_are_taken_only_by_what_takes_all(text: str, expected: bool) -> None:
    assert selects(text, None) == expected


@given(st.text(alphabet="ab !=&|,(){}\"'inot-./", max_size=30))
@settings(deadline=None)
def test_garbage_is_an_error_or_a_selector(text: str) -> None:
    try:
        selector = parse_selector(text, "", "")
    except ConfigError:
        return
    assert selector.matches({"a": "b"}) in {True, False}
