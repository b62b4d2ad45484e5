"""What a URL is about."""

import pytest

from netns_lab.apiserver.request_info import ListOptions, Target, parse_list_options, parse_path
from netns_lab.apiserver.resources import ENDPOINT_SLICES, NAMESPACES, NODES, PODS, SERVICES
from netns_lab.apiserver.status import StatusError

PAGE = "eyJ2Ijoi"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("/api/v1/services", Target(SERVICES), id="of all namespaces"),
        pytest.param("/api/v1/namespaces/shop/services", Target(SERVICES, "shop"), id="of one"),
        pytest.param("/api/v1/namespaces/shop/services/web", Target(SERVICES, "shop", "web"), id="an object"),
        pytest.param(
            "/api/v1/namespaces/shop/pods/p/status", Target(PODS, "shop", "p", "status"), id="its status"
        ),
        pytest.param("/api/v1/namespaces", Target(NAMESPACES), id="namespaces"),
        pytest.param("/api/v1/namespaces/shop", Target(NAMESPACES, "", "shop"), id="a namespace"),
        pytest.param(
            "/api/v1/namespaces/shop/status", Target(NAMESPACES, "", "shop", "status"), id="its status too"
        ),
        pytest.param("/api/v1/nodes/n1", Target(NODES, "", "n1"), id="cluster-scoped"),
        pytest.param(
            "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices",
            Target(ENDPOINT_SLICES, "shop"),
            id="of a group",
        ),
    ],
)
def test_path(path: str, expected: Target) -> None:
    assert parse_path(path) == expected


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/api/v2/services", id="version"),
        pytest.param("/apis/apps/v1/deployments", id="group"),
        pytest.param("/api/v1/secrets", id="resource"),
        pytest.param("/api/v1/namespaces/shop/nodes", id="cluster-scoped in a namespace"),
        pytest.param("/api/v1/services/web", id="an object without namespace"),
        pytest.param("/api/v1/namespaces/shop/services/web/proxy", id="subresource"),
        pytest.param("/api/v1/namespaces/shop/configmaps/c/status", id="no status"),
        pytest.param("/api/v1/namespaces/shop/pods/p/status/x", id="too long"),
        pytest.param("/metrics", id="elsewhere"),
    ],
)
def test_no_such_path(path: str) -> None:
    with pytest.raises(StatusError) as refused:
        parse_path(path)

    assert refused.value.code == 404


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param({}, ListOptions(), id="none"),
        pytest.param({"resourceVersion": ""}, ListOptions(), id="an empty revision is none"),
        pytest.param({"resourceVersion": "0"}, ListOptions(resource_version=0), id="any revision"),
        pytest.param(
            {"watch": "1", "timeoutSeconds": "5"}, ListOptions(watch=True, timeout_s=5.0), id="watch"
        ),
        pytest.param(
            {"limit": "500", "continue": PAGE}, ListOptions(limit=500, continue_token=PAGE), id="pages"
        ),
    ],
)
def test_options(query: dict[str, str], expected: ListOptions) -> None:
    assert parse_list_options(query, Target(SERVICES)) == expected


@pytest.mark.parametrize(
    ("query", "code"),
    [
        pytest.param({"resourceVersion": "x"}, 400, id="no number"),
        pytest.param({"limit": "-1"}, 400, id="less than nothing"),
        pytest.param({"watch": "maybe"}, 400, id="no boolean"),
        pytest.param({"continue": "x", "resourceVersion": "5"}, 400, id="a revision with a token"),
        pytest.param({"resourceVersionMatch": "Exact"}, 422, id="a match of nothing"),
        pytest.param({"resourceVersionMatch": "Exact", "resourceVersion": "0"}, 422, id="exactly any"),
        pytest.param({"sendInitialEvents": "true"}, 422, id="initial events of a list"),
        pytest.param({"watch": "1", "sendInitialEvents": "true"}, 422, id="initial events without match"),
        pytest.param(
            {"watch": "1", "sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"},
            422,
            id="initial events without bookmarks",
        ),
    ],
)
def test_refused_options(query: dict[str, str], code: int) -> None:
    with pytest.raises(StatusError) as refused:
        parse_list_options(query, Target(SERVICES))

    assert refused.value.code == code
