"""Names of the cluster beside what the kernel says."""

import pytest

from kubeproxy.names import Names, build_names, name_rows, name_trace
from nodeplane.kube.objects import Object, ObjectReference, ServicePort
from tests.kubeproxy.objects import UNREADY, additions, endpoint, endpoint_slice, service

HTTP = ServicePort(port=80, name="http", node_port=30080)
POD = ObjectReference("Pod", "web-1")


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        pytest.param([], Names(), id="nothing"),
        pytest.param(
            [service("web", "10.96.0.1", "fd00:96::1", ports=(HTTP,))],
            Names(
                dict.fromkeys(
                    ["TCP 10.96.0.1:80", "TCP node port 30080", "TCP [fd00:96::1]:80"], "default/web:http"
                )
            ),
            id="frontends of both families",
        ),
        pytest.param(
            [service("web"), endpoint_slice(endpoint("10.244.0.1", pod="web-1"), endpoint("10.244.0.2"))],
            Names({"TCP 10.96.0.1:80": "default/web:http"}, {"10.244.0.1:8080": "default/web-1"}),
            id="pods",
        ),
        pytest.param(
            [service("b", "10.96.0.9"), service("a", "10.96.0.9")],
            Names({"TCP 10.96.0.9:80": "default/a:http"}),
            id="two want one address",
        ),
        pytest.param(
            [service("bad", "10.96.0.300"), service("web")],
            Names({"TCP 10.96.0.1:80": "default/web:http"}),
            id="an address that is none",
        ),
    ],
)
def test_names(items: list[Object], expected: Names) -> None:
    """Frontends have their service port, endpoints their pod."""
    assert build_names(additions(*items)) == expected


NAMES = Names({"TCP 10.96.0.1:80": "default/web:http"}, {"10.244.0.1:8080": "default/web-1"})
ROW = {"frontend": "TCP 10.96.0.1:80", "endpoints": ["10.244.0.1:8080", "10.244.0.2:8080"]}
REPORT = {
    "connection": "…",
    "outcomes": [{"endpoint": "10.244.0.1:8080"}, {"endpoint": None, "kind": "drop"}],
}


def test_rows() -> None:
    """Without a source the rows are what they were."""
    named = {"service": "default/web:http", **ROW, "pods": ["default/web-1", ""]}

    assert name_rows([ROW], NAMES) == [named]
    assert name_rows([ROW], None) == [ROW]


@pytest.mark.parametrize(
    ("frontends", "expected"),
    [(["TCP 10.96.0.1:80"], "default/web:http"), (["TCP 10.96.0.2:80", "TCP node port 80"], "")],
)
def test_trace(frontends: list[str], expected: str) -> None:
    """The service of the destination, and the pod of each outcome."""
    pods = [outcome["pod"] for outcome in name_trace(REPORT, frontends, NAMES)["outcomes"]]

    assert name_trace(REPORT, frontends, NAMES)["service"] == expected
    assert pods == ["default/web-1", ""]
    assert name_trace(REPORT, frontends, None) == REPORT


def test_left_out() -> None:
    """With a node's name the endpoints that it leaves out are told, for the destination's service alone."""
    there = endpoint("10.244.0.2", UNREADY, pod="web-2")
    snapshot = additions(
        service("web"), endpoint_slice(endpoint("10.244.0.1"), there), service("b", "10.96.0.9")
    )
    names = build_names(snapshot, "n1")

    assert name_trace(REPORT, ["TCP 10.96.0.1:80"], names)["left_out"] == [
        {"endpoint": "10.244.0.2:8080", "pod": "default/web-2", "reason": "not ready"}
    ]
    assert "left_out" not in name_trace(REPORT, ["TCP 10.96.0.9:80"], names)
    assert build_names(snapshot).left_out == {}
