"""What an API server is asked."""

import json

import pytest

from nodeplane.kube.api_request import (
    Selector,
    collection_path,
    list_query,
    required_rule,
    streaming_list_query,
    watch_query,
)
from nodeplane.kube.objects import KINDS, Object, Service, ServiceCIDR
from tests.kube.recordings import recording

OWN_NODE = Selector(field="metadata.name=n1")


def test_unrecorded_collection_path() -> None:
    """Discovery of networking.k8s.io was not recorded; its path is that of the API reference."""
    assert collection_path(ServiceCIDR) == "apis/networking.k8s.io/v1/servicecidrs"


@pytest.mark.parametrize(
    ("version", "kind"), [pytest.param(*key, id=key[1]) for key in KINDS if KINDS[key] is not ServiceCIDR]
)
def test_collection_path(version: str, kind: str) -> None:
    """Our paths are those that a real server offers in its discovery documents."""
    group, _, name = version.rpartition("/")
    resources = json.loads(recording("apis-discovery-v1.json" if group else "api-v1.json"))["resources"]
    (plural,) = [each["name"] for each in resources if each["kind"] == kind and "/" not in each["name"]]
    prefix = f"apis/{group}" if group else "api"

    assert collection_path(KINDS[version, kind]) == f"{prefix}/{name}/{plural}"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param(list_query(Selector(), limit=None), {}, id="whole list"),
        pytest.param(list_query(Selector(), limit=500), {"limit": "500"}, id="first page"),
        pytest.param(
            list_query(OWN_NODE, limit=500, token="t"),  # noqa: S106  # where a list goes on
            {"limit": "500", "continue": "t", "fieldSelector": "metadata.name=n1"},
            id="next page of some",
        ),
        pytest.param(
            watch_query(Selector("!a,b=c"), "7", 300),
            {
                "watch": "1",
                "resourceVersion": "7",
                "allowWatchBookmarks": "true",
                "timeoutSeconds": "300",
                "labelSelector": "!a,b=c",
            },
            id="watch",
        ),
        pytest.param(
            streaming_list_query(Selector(), 300),
            {
                "watch": "1",
                "sendInitialEvents": "true",
                "resourceVersionMatch": "NotOlderThan",
                "allowWatchBookmarks": "true",
                "timeoutSeconds": "300",
            },
            id="streaming list",
        ),
    ],
)
def test_query(query: dict[str, str], expected: dict[str, str]) -> None:
    """No list names a resource version: that would allow a lagging replica to answer with the past."""
    assert query == expected


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Service, 'apiGroups: [""], resources: [services], verbs: [list, watch]'),
        (
            ServiceCIDR,
            'apiGroups: ["networking.k8s.io"], resources: [servicecidrs], verbs: [list, watch]',
        ),
    ],
)
def test_required_rule(kind: type[Object], expected: str) -> None:
    """It stands so in a ClusterRole (deploy/kubeproxy/rbac.yaml)."""
    assert required_rule(kind) == expected


def test_every_kind_has_a_path() -> None:
    """No two kinds share one."""
    kinds: list[type[Object]] = list(KINDS.values())

    assert len({collection_path(kind) for kind in kinds}) == len(kinds)
