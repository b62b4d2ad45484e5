"""To which ports a Service leads in a pod."""

from typing import Any

import msgspec
import pytest

from netns_lab.apiserver.controllers.target_ports import target_ports
from nodeplane.kube.objects import EndpointPort, Pod, Service

POD = msgspec.convert(
    {
        "metadata": {"name": "a", "namespace": "default"},
        "spec": {"containers": [{}, {"ports": [{"containerPort": 8080, "name": "http"}]}]},
    },
    Pod,
)


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        pytest.param([{"port": 80}], [EndpointPort("", "TCP", 80)], id="the port itself, if it says nothing"),
        pytest.param(
            [{"port": 80, "targetPort": 8080, "name": "x", "protocol": "UDP"}],
            [EndpointPort("x", "UDP", 8080)],
            id="by number",
        ),
        pytest.param([{"port": 80, "targetPort": "http"}], [EndpointPort("", "TCP", 8080)], id="by name"),
        pytest.param(
            [{"port": 80, "name": "p"}, {"port": 81, "name": "q", "targetPort": "no-such"}],
            [EndpointPort("p", "TCP", 80)],
            id="a name that the pod does not have leaves the port out",
        ),
        pytest.param(
            [{"port": 80, "targetPort": "http", "protocol": "UDP"}],
            [],
            id="a name of another protocol is another name",
        ),
    ],
)
def test_target_ports(ports: list[dict[str, Any]], expected: list[EndpointPort]) -> None:
    service = msgspec.convert({"metadata": {"name": "web"}, "spec": {"ports": ports}}, Service)

    assert target_ports(service, POD) == tuple(expected)
