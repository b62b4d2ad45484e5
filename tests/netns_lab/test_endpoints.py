"""EndpointSlices: what the endpoint slice controller would make of Services and Pods."""

from typing import Any

import msgspec
import pytest

from netns_lab.endpoints import build_slices
from nodeplane.kube.objects import EndpointSlice, Pod, Service

ZONES = {"n1": "a"}


def service(**spec: Any) -> Service:
    """Return a Service default/web that selects the web pods."""
    value = {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"app": "web"}, **spec},
    }
    return msgspec.convert(value, Service)


def pod(name: str, ip: str = "10.0.0.1", node: str = "n1", **changes: Any) -> Pod:
    """Return a running pod of the web app."""
    value: dict[str, Any] = {
        "metadata": {"name": name, "namespace": "default", "labels": {"app": "web", "extra": "x"}},
        "spec": {"nodeName": node, "containers": [{"ports": changes.pop("ports", [])}]},
        "status": {"phase": "Running", "podIP": ip},
    }
    for field, change in changes.items():
        value[field] = {**value[field], **change}
    return msgspec.convert(value, Pod)


def endpoint(name: str, ip: str = "10.0.0.1", node: str = "n1", ready: bool = True) -> dict[str, Any]:
    """Return the endpoint that is expected for a pod."""
    return {
        "addresses": [ip],
        "conditions": {"ready": ready, "serving": ready, "terminating": False},
        "nodeName": node,
        **({"zone": ZONES[node]} if node in ZONES else {}),
        "targetRef": {"kind": "Pod", "namespace": "default", "name": name},
    }


def summary(piece: EndpointSlice) -> tuple[list[object], list[object]]:
    """Return what differs between slices: endpoints and ports."""
    value = msgspec.json.decode(msgspec.json.encode(piece))
    assert (value["addressType"], piece.service_name, piece.metadata.namespace) == ("IPv4", "web", "default")
    return [*value["endpoints"]], [*value["ports"]]


HTTP = [{"containerPort": 8080, "name": "http"}]
PORT_80 = {"name": "", "port": 80}


@pytest.mark.parametrize(
    ("spec", "pods", "slices"),
    [
        pytest.param({"ports": [{"port": 80}]}, [], [], id="no pods"),
        pytest.param(
            {"ports": [{"port": 80}]},
            [pod("b", "10.0.0.2", "n2"), pod("a", "10.0.0.1")],
            [([endpoint("a"), endpoint("b", "10.0.0.2", "n2")], [PORT_80])],
            id="target port defaults to the port; endpoints in order",
        ),
        pytest.param(
            {"ports": [{"port": 80, "targetPort": 8080, "name": "x", "protocol": "UDP"}]},
            [pod("a")],
            [([endpoint("a")], [{"name": "x", "port": 8080, "protocol": "UDP"}])],
            id="target port by number",
        ),
        pytest.param(
            {"ports": [{"port": 80, "targetPort": "http"}]},
            [pod("a", ports=HTTP), pod("b", "10.0.0.2", ports=[{"containerPort": 9090, "name": "http"}])],
            [
                ([endpoint("a")], [{"name": "", "port": 8080}]),
                ([endpoint("b", "10.0.0.2")], [{"name": "", "port": 9090}]),
            ],
            id="a name that leads to two numbers makes two slices",
        ),
        pytest.param(
            {"ports": [{"port": 80, "name": "p"}, {"port": 81, "name": "q", "targetPort": "http"}]},
            [pod("a")],
            [([endpoint("a")], [{"name": "p", "port": 80}])],
            id="a name that the pod does not have leaves the port out",
        ),
        pytest.param(
            {"ports": [{"port": 80, "targetPort": "http", "protocol": "UDP"}]},
            [pod("a", ports=HTTP)],
            [([endpoint("a")], [])],
            id="a name of another protocol is another name",
        ),
        pytest.param(
            {"ports": [{"port": 80}]},
            [
                pod("a", metadata={"labels": {"app": "other"}}),
                pod("b", metadata={"namespace": "elsewhere"}),
                pod("c", ip=""),
                pod("d", status={"phase": "Succeeded"}),
            ],
            [],
            id="other labels, other namespace, no address, not running",
        ),
        pytest.param(
            {"ports": [{"port": 80}]},
            [pod("a", status={"conditions": [{"type": "Ready", "status": "False"}]})],
            [([endpoint("a", ready=False)], [PORT_80])],
            id="not ready is said, not hidden",
        ),
        pytest.param({"ports": [{"port": 80}], "selector": None}, [pod("a")], [], id="no selector"),
        pytest.param(
            {"type": "ExternalName", "externalName": "example.org"}, [pod("a")], [], id="external name"
        ),
    ],
)
def test_build_slices(spec: dict[str, Any], pods: list[Pod], slices: list[object]) -> None:
    built = list(build_slices([service(**spec)], pods, ZONES))

    assert [summary(piece) for piece in built] == slices
    assert len({piece.metadata.name for piece in built}) == len(built)
