"""JSON merge patch and JSON patch, with the examples of their RFCs."""

from typing import Any

import pytest

from netns_lab.apiserver.patch import json_patch, merge_patch
from netns_lab.apiserver.status import StatusError


@pytest.mark.parametrize(
    ("target", "patch", "expected"),
    [
        # RFC 7386, appendix A.
        pytest.param({"a": "b"}, {"a": "c"}, {"a": "c"}, id="replace"),
        pytest.param({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}, id="add"),
        pytest.param({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}, id="remove"),
        pytest.param({"a": ["b"]}, {"a": "c"}, {"a": "c"}, id="list to text"),
        pytest.param({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}, id="text to list"),
        pytest.param({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}, id="nested"),
        pytest.param({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}, id="lists whole"),
        pytest.param({"e": None}, {"a": 1}, {"e": None, "a": 1}, id="a null that was there"),
        pytest.param([1, 2], {"a": "b", "c": None}, {"a": "b"}, id="not an object"),
        pytest.param({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}, id="nulls in what is new"),
    ],
)
def test_merge_patch(target: Any, patch: Any, expected: Any) -> None:
    assert merge_patch(target, patch) == expected
    assert merge_patch(expected, patch) == expected


@pytest.mark.parametrize(
    ("target", "operations", "expected"),
    [
        # RFC 6902, appendix A.
        pytest.param({"a": 1}, [{"op": "add", "path": "/b", "value": 2}], {"a": 1, "b": 2}, id="add"),
        pytest.param(
            {"a": [1, 3]}, [{"op": "add", "path": "/a/1", "value": 2}], {"a": [1, 2, 3]}, id="insert"
        ),
        pytest.param({"a": [1]}, [{"op": "add", "path": "/a/-", "value": [2]}], {"a": [1, [2]]}, id="append"),
        pytest.param({"a": 1, "b": 2}, [{"op": "remove", "path": "/a"}], {"b": 2}, id="remove"),
        pytest.param({"a": [1, 2]}, [{"op": "remove", "path": "/a/0"}], {"a": [2]}, id="remove from a list"),
        pytest.param(
            {"a": [1, 2]}, [{"op": "replace", "path": "/a/0", "value": 3}], {"a": [3, 2]}, id="replace"
        ),
        pytest.param(
            {"a": {"b": 1}, "c": {}},
            [{"op": "move", "from": "/a/b", "path": "/c/d"}],
            {"a": {}, "c": {"d": 1}},
            id="move",
        ),
        pytest.param(
            {"a": [1]}, [{"op": "copy", "from": "/a", "path": "/b"}], {"a": [1], "b": [1]}, id="copy"
        ),
        pytest.param(
            {"/": 9, "~1": 10},
            [{"op": "test", "path": "/~01", "value": 10}],
            {"/": 9, "~1": 10},
            id="escapes",
        ),
    ],
)
def test_json_patch(target: Any, operations: Any, expected: Any) -> None:
    before = repr(target)

    assert json_patch(target, operations) == expected
    assert repr(target) == before


@pytest.mark.parametrize(
    ("operations", "code"),
    [
        pytest.param({}, 400, id="no list"),
        pytest.param([{"op": "add", "path": "/a"}], 400, id="no value"),
        pytest.param([{"op": "jump", "path": "/a"}], 400, id="unknown"),
        pytest.param([{"op": "remove", "path": "a"}], 400, id="no pointer"),
        pytest.param([{"op": "remove", "path": "/x"}], 422, id="nothing there"),
        pytest.param([{"op": "test", "path": "/a/0", "value": 2}], 422, id="another value"),
        pytest.param([{"op": "replace", "path": "/a/01", "value": 2}], 422, id="a leading zero"),
        pytest.param([{"op": "add", "path": "/a/5", "value": 2}], 422, id="behind the end"),
        pytest.param([{"op": "add", "path": "/x/y", "value": 2}], 422, id="no parent"),
    ],
)
def test_json_patch_refused(operations: Any, code: int) -> None:
    with pytest.raises(StatusError) as refused:
        json_patch({"a": [1]}, operations)

    assert refused.value.code == code
