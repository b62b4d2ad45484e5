"""Server-side apply: who owns what, and what goes when nobody wants it any more."""

from typing import Any

import pytest

from netns_lab.apiserver.apply_patch import Manager, apply_patch
from netns_lab.apiserver.field_paths import field_paths, parse_fields, render_fields
from netns_lab.apiserver.resources import SERVICES
from netns_lab.apiserver.status import StatusError

HTTP = {"port": 80, "targetPort": 8080}


def applied(live: Any, manager: str, spec: Any, *, force: bool = False) -> Any:
    patch = {"metadata": {"name": "web"}, "spec": spec}
    return apply_patch(SERVICES, live, patch, Manager(manager, "2026-11-21T00:00:00Z", force))


EMPTY: Any = {"metadata": {"name": "web"}}


def test_fields_are_told_as_upstream_tells_them() -> None:
    value = {"metadata": {"name": "web", "labels": {"a": "b"}}, "spec": {"ports": [HTTP], "selector": {}}}
    tree = render_fields(field_paths("Service", value))

    assert tree == {
        "f:metadata": {"f:labels": {"f:a": {}}},
        "f:spec": {
            "f:ports": {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}, "f:targetPort": {}}},
            "f:selector": {},
        },
    }
    assert render_fields(parse_fields(tree)) == tree


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        pytest.param([("one", {"type": "NodePort"})], {"type": "NodePort"}, id="the first"),
        pytest.param([("one", {"type": "NodePort"}), ("one", {})], {}, id="no longer wanted"),
        pytest.param(
            [("one", {"ports": [HTTP]}), ("two", {"ports": [{"port": 81}]})],
            {"ports": [HTTP, {"port": 81}]},
            id="an entry each",
        ),
        pytest.param(
            [("one", {"ports": [HTTP, {"port": 81}]}), ("one", {"ports": [{"port": 81}]})],
            {"ports": [{"port": 81}]},
            id="an entry less",
        ),
        pytest.param(
            [("one", {"ports": [HTTP]}), ("two", {"ports": [{"port": 80}]}), ("one", {"ports": []})],
            {"ports": [{"port": 80}]},
            id="an entry that another wants",
        ),
        pytest.param(
            [
                ("one", {"ports": [{"port": 53}]}),
                ("one", {"ports": [{"port": 53}, {"port": 53, "protocol": "UDP"}]}),
            ],
            {"ports": [{"port": 53}, {"port": 53, "protocol": "UDP"}]},
            id="one number, two protocols",
        ),
        pytest.param(
            [("one", {"selector": {"a": "1"}}), ("two", {"selector": {"a": "1"}}), ("one", {})],
            {"selector": {"a": "1"}},
            id="a field that both want",
        ),
    ],
)
def test_apply(steps: list[tuple[str, Any]], expected: Any) -> None:
    live = EMPTY
    for manager, spec in steps:
        live = applied(live, manager, spec)

    assert {name: value for name, value in live.get("spec", {}).items() if value} == expected


def test_conflicts_and_force() -> None:
    live = applied(EMPTY, "one", {"type": "NodePort", "ports": [HTTP]})

    with pytest.raises(StatusError) as refused:
        applied(live, "two", {"type": "ClusterIP", "ports": [{"port": 80, "targetPort": 9}]})
    assert str(refused.value) == (
        'Apply failed with 2 conflicts: conflict with "one": '
        '.spec.ports[{"port":80,"protocol":"TCP"}].targetPort, conflict with "one": .spec.type'
    )
    forced = applied(live, "two", {"type": "ClusterIP"}, force=True)
    assert forced["spec"]["type"] == "ClusterIP"
    assert [entry["manager"] for entry in forced["metadata"]["managedFields"]] == ["one", "two"]
    assert applied(forced, "one", {"ports": [HTTP]})["spec"]["type"] == "ClusterIP"


def test_who_has_lost_every_field_is_no_manager() -> None:
    live = applied(EMPTY, "one", {"type": "NodePort"})

    forced = applied(live, "two", {"type": "ClusterIP"}, force=True)

    assert [entry["manager"] for entry in forced["metadata"]["managedFields"]] == ["two"]
