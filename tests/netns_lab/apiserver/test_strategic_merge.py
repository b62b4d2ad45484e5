"""Strategic merge patches as upstream's strategicpatch applies them."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netns_lab.apiserver.status import StatusError
from netns_lab.apiserver.strategic_merge import strategic_merge

HTTP = {"name": "http", "port": 80, "protocol": "TCP"}
DNS = {"name": "dns", "port": 53, "protocol": "UDP"}


def ports(*entries: Any, **more: Any) -> Any:
    return {"spec": {"ports": list(entries), **more}}


@pytest.mark.parametrize(
    ("kind", "target", "patch", "expected"),
    [
        pytest.param(
            "Service",
            ports(HTTP, DNS),
            ports({"port": 80, "targetPort": 8080}),
            ports({**HTTP, "targetPort": 8080}, DNS),
            id="an entry by its key",
        ),
        pytest.param("Service", ports(HTTP), ports(DNS), ports(HTTP, DNS), id="a new entry goes to the end"),
        pytest.param(
            "Service",
            ports(HTTP, DNS),
            ports({"port": 80, "$patch": "delete"}),
            ports(DNS),
            id="delete an entry",
        ),
        pytest.param(
            "Service", ports(HTTP), ports({"$patch": "replace"}, DNS), ports(DNS), id="replace the list"
        ),
        pytest.param(
            "Service",
            ports(HTTP, DNS),
            {
                "spec": {
                    "$setElementOrder/ports": [{"port": 53}, {"port": 80}],
                    "ports": [{"port": 80, "name": "web"}],
                }
            },
            ports(DNS, {**HTTP, "name": "web"}),
            id="in the order given",
        ),
        pytest.param(
            "Service",
            {"spec": {"selector": {"a": "1", "b": "2"}}},
            {"spec": {"selector": {"a": None, "c": "3"}}},
            {"spec": {"selector": {"b": "2", "c": "3"}}},
            id="null removes",
        ),
        pytest.param(
            "Service",
            {"spec": {"selector": {"a": "1"}}},
            {"spec": {"selector": {"$patch": "replace", "b": "2"}}},
            {"spec": {"selector": {"b": "2"}}},
            id="replace a mapping",
        ),
        pytest.param(
            "Node",
            {"metadata": {"finalizers": ["a", "b"]}},
            {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"]}},
            {"metadata": {"finalizers": ["b", "c"]}},
            id="plain values: less and more",
        ),
        pytest.param(
            "Pod",
            {"spec": {"containers": [{"name": "c", "image": "i:1", "env": [{"name": "A", "value": "1"}]}]}},
            {"spec": {"containers": [{"name": "c", "env": [{"name": "B", "value": "2"}]}]}},
            {
                "spec": {
                    "containers": [
                        {
                            "name": "c",
                            "image": "i:1",
                            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                        }
                    ]
                }
            },
            id="lists inside lists",
        ),
        pytest.param(
            "Pod",
            {"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}},
            {
                "spec": {
                    "volumes": [{"name": "v", "hostPath": {"path": "/"}, "$retainKeys": ["name", "hostPath"]}]
                }
            },
            {"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}},
            id="retain keys",
        ),
        pytest.param(
            "EndpointSlice",
            {"endpoints": [{"addresses": ["10.0.0.1"]}]},
            {"endpoints": [{"addresses": ["10.0.0.2"]}]},
            {"endpoints": [{"addresses": ["10.0.0.2"]}]},
            id="a list without key is replaced",
        ),
        pytest.param(
            "Node",
            {"status": {"conditions": [{"type": "Ready", "status": "True"}]}},
            {"status": {"conditions": [{"type": "Ready", "status": "False"}]}},
            {"status": {"conditions": [{"type": "Ready", "status": "False"}]}},
            id="conditions by type",
        ),
    ],
)
def test_strategic_merge(kind: str, target: Any, patch: Any, expected: Any) -> None:
    assert strategic_merge(kind, target, patch) == expected


@pytest.mark.parametrize(
    "patch",
    [
        pytest.param([], id="no object"),
        pytest.param({"$patch": "jump"}, id="unknown directive"),
        pytest.param(ports({"name": "http"}), id="an entry without its key"),
        pytest.param(ports(80), id="a plain value in a keyed list"),
    ],
)
def test_refused(patch: Any) -> None:
    with pytest.raises(StatusError) as refused:
        strategic_merge("Service", ports(HTTP), patch)

    assert refused.value.code == 400


FIELDS: dict[str, st.SearchStrategy[Any]] = {"name": st.sampled_from("ab"), "targetPort": st.integers(1, 2)}
PLAIN: st.SearchStrategy[Any] = st.fixed_dictionaries({"port": st.integers(1, 4)}, optional=FIELDS)
ENTRIES: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {"port": st.integers(1, 4)}, optional={**FIELDS, "$patch": st.just("delete")}
)
PATCHES = st.fixed_dictionaries(
    {},
    optional={
        "ports": st.lists(ENTRIES, max_size=4, unique_by=lambda entry: entry["port"]),
        "selector": st.dictionaries(
            st.sampled_from("abc"), st.one_of(st.none(), st.text(max_size=1)), max_size=3
        ),
        "$setElementOrder/ports": st.permutations([{"port": number} for number in range(1, 5)]),
    },
)
TARGETS = st.fixed_dictionaries({"ports": st.lists(PLAIN, max_size=4, unique_by=lambda entry: entry["port"])})


@given(target=TARGETS, patch=PATCHES)
@settings(deadline=None)
def test_a_second_time_changes_nothing(target: Any, patch: Any) -> None:
    """Who does not know whether its patch arrived may send it again."""
    once = strategic_merge("Service", {"spec": target}, {"spec": patch})

    assert strategic_merge("Service", once, {"spec": patch}) == once
