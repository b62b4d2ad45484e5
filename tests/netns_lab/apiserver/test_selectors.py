"""Selectors as apimachinery's parsers read them."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netns_lab.apiserver.resources import CONFIG_MAPS, PODS
from netns_lab.apiserver.selectors import build_matcher
from netns_lab.apiserver.status import StatusError
from netns_lab.apiserver.wire import build_item

POD = build_item(
    "shop",
    "web-1",
    7,
    b'{"metadata":{"name":"web-1","labels":{"app":"web","tier":"1","x.io/y":""}},'
    b'"spec":{"nodeName":"n1","hostNetwork":true},"status":{"phase":"Running"}}',
)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        pytest.param("", True, id="nothing asked"),
        pytest.param("app=web", True, id="equal"),
        pytest.param("app==web", True, id="equal, twice the sign"),
        pytest.param(" app = web , tier = 1 ", True, id="both, with spaces"),
        pytest.param("app=web,tier=2", False, id="one of two"),
        pytest.param("app!=db", True, id="not equal"),
        pytest.param("nope!=db", True, id="absent is not equal"),
        pytest.param("app", True, id="exists"),
        pytest.param("nope", False, id="does not exist"),
        pytest.param("!nope", True, id="absent"),
        pytest.param("!app", False, id="not absent"),
        pytest.param("app in (db, web)", True, id="in"),
        pytest.param("app notin (db,web)", False, id="notin"),
        pytest.param("nope notin (db)", True, id="absent is notin"),
        pytest.param("x.io/y=", True, id="prefixed key, empty value"),
        pytest.param("x.io/y in (,a)", True, id="empty value in a set"),
        pytest.param("tier>0,tier<2", True, id="numbers"),
        pytest.param("app>0", False, id="a word is no number"),
        pytest.param("in in (in)", False, id="a key that is a keyword"),
    ],
)
def test_labels(labels: str, expected: bool) -> None:
    matcher = build_matcher(PODS, labels, "")

    assert (matcher is None or matcher(POD)) is expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param("metadata.name=web-1", True, id="name"),
        pytest.param("metadata.name!=web-1", False, id="not the name"),
        pytest.param("metadata.namespace=shop,spec.nodeName=n1", True, id="two"),
        pytest.param("spec.nodeName=", False, id="on no node"),
        pytest.param("status.podIP=", True, id="an absent field is empty"),
        pytest.param("spec.hostNetwork=true", True, id="a boolean"),
        pytest.param("status.phase!=Failed,status.phase!=Succeeded", True, id="kubectl describe node's"),
        pytest.param(r"status.phase=a\,b\=c", False, id="escaped"),
    ],
)
def test_fields(fields: str, expected: bool) -> None:
    matcher = build_matcher(PODS, "", fields)

    assert (matcher is None or matcher(POD)) is expected


@pytest.mark.parametrize(
    ("labels", "fields"),
    [
        pytest.param("a,,b", "", id="an empty requirement"),
        pytest.param("a,", "", id="ends with a comma"),
        pytest.param("a in b", "", id="no set"),
        pytest.param("a in (b", "", id="an open set"),
        pytest.param("a b", "", id="no operator"),
        pytest.param("=b", "", id="no key"),
        pytest.param("-a=b", "", id="a wrong key"),
        pytest.param("a=-b", "", id="a wrong value"),
        pytest.param("a>b", "", id="no number"),
        pytest.param("", "spec.nodeName", id="no operator in a field"),
        pytest.param("", "spec.nodeName=n1", id="a field that the kind does not offer"),
    ],
)
def test_refused(labels: str, fields: str) -> None:
    with pytest.raises(StatusError) as refused:
        build_matcher(CONFIG_MAPS, labels, fields)

    assert (refused.value.code, refused.value.reason) == (400, "BadRequest")


@given(
    labels=st.text(alphabet="ab=!(),<> in/-.", max_size=20), fields=st.text(alphabet="ab=!,\\.", max_size=20)
)
def test_garbage(labels: str, fields: str) -> None:
    """Whatever is sent is a selector or a bad request."""
    with suppress(StatusError):
        matcher = build_matcher(PODS, labels, fields)
        assert matcher is None or matcher(POD) in {True, False}
