"""Label selectors: which labels they hold for, and what is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coredns_lite.plugins.kubernetes.label_selector import LabelSelectorError, parse_label_selector

WEB = {"app": "web", "tier": "front", "example.com/part-of": "shop", "empty": ""}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        pytest.param("app=web", True, id="equal"),
        pytest.param("app==web", True, id="equal, twice the sign"),
        pytest.param("app = web", True, id="spaces"),
        pytest.param("app=db", False, id="not equal"),
        pytest.param("app!=db", True, id="unequal"),
        pytest.param("app!=web", False, id="not unequal"),
        pytest.param("other!=web", True, id="unequal, not there"),
        pytest.param("app in (db, web)", True, id="in"),
        pytest.param("app in (db)", False, id="not in"),
        pytest.param("other in (db)", False, id="in, not there"),
        pytest.param("app notin (db,api)", True, id="notin"),
        pytest.param("other notin (db)", True, id="notin, not there"),
        pytest.param("app", True, id="there"),
        pytest.param("other", False, id="not there"),
        pytest.param("!other", True, id="absent"),
        pytest.param("! app", False, id="not absent"),
        pytest.param("empty=", True, id="an empty value"),
        pytest.param("empty in (,x)", True, id="an empty value among others"),
        pytest.param("in in (a)", False, id="a key like a word"),
        pytest.param("example.com/part-of=shop", True, id="a key with a prefix"),
        pytest.param("app=web,tier in (front, back),!legacy", True, id="all hold"),
        pytest.param("app=web, tier=back", False, id="one does not hold"),
    ],
)
def test_holds(text: str, holds: bool) -> None:
    assert parse_label_selector(text).holds(WEB) == holds


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        pytest.param("", "", id="nothing"),
        pytest.param(" ", " ", id="space"),
        pytest.param("app=web,", "", id="comma at the end"),
        pytest.param("app=web, ", " ", id="comma and space"),
        pytest.param(",app", ",app", id="comma first"),
        pytest.param("app=web tier=front", "app=web tier=front", id="no comma"),
        pytest.param("app in web", "app in web", id="no brackets"),
        pytest.param("app=a,tier in (a", "tier in (a", id="an open bracket"),
        pytest.param("app>1", "app>1", id="another sign"),
        pytest.param("-app", "-app", id="no key"),
    ],
)
def test_refused(text: str, rest: str) -> None:
    with pytest.raises(LabelSelectorError) as caught:
        parse_label_selector(text)

    assert str(caught.value) == f"expected a label selector such as app=web,tier in (a, b): {rest!r}"


@given(st.text(st.sampled_from("ab/.-_ ,=!()inot"), max_size=20) | st.text())
def test_any_text(text: str) -> None:
    """Any text is a selector or refused."""
    try:
        selector = parse_label_selector(text)
    except LabelSelectorError:
        return
    assert selector.requirements
    assert selector.holds(WEB) in {True, False}
