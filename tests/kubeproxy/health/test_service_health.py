"""Health checks of Services: which there are, what they count, what they answer."""

from typing import Any

import pytest

from kubeproxy.desired.endpoints import Place, decode_slice
from kubeproxy.desired.service_port import PROXY_NAME_LABEL, FamilyView
from kubeproxy.health.service_health import HealthCheck, HealthChecks, build_health_check
from nodeplane.kube.objects import EndpointPort, EndpointSlice, Service
from tests.kubeproxy.objects import DRAINING, UNREADY, endpoint, endpoint_slice, service

V4, V6 = FamilyView("ip", Place("n1")), FamilyView("ip6", Place("n1"))
HERE = endpoint_slice(endpoint("10.244.0.1"), endpoint("10.244.0.2", node="n2"))


def balancer(*ips: str, **spec: Any) -> Service:
    local: dict[str, Any] = {
        "type": "LoadBalancer",
        "external_traffic_policy": "Local",
        "health_check_node_port": 31000,
    }
    return service("web", *ips, **(local | spec))


@pytest.mark.parametrize(
    ("found", "slices", "view", "expected"),
    [
        pytest.param(None, [HERE], V4, None, id="gone"),
        pytest.param(service(), [HERE], V4, None, id="no check"),
        pytest.param(balancer(), [HERE], V4, HealthCheck(31000, 1), id="one here"),
        pytest.param(balancer(), [], V4, HealthCheck(31000, 0), id="none"),
        pytest.param(balancer(external_traffic_policy="Cluster"), [HERE], V4, None, id="policy Cluster"),
        pytest.param(balancer(type="NodePort"), [HERE], V4, None, id="no load balancer"),
        pytest.param(balancer(labels={PROXY_NAME_LABEL: "other"}), [HERE], V4, None, id="another proxy's"),
        pytest.param(balancer(), [HERE], V6, None, id="not of this family"),
        pytest.param(
            balancer("10.96.0.1", "fd00::1"),
            [HERE],
            V6,
            HealthCheck(31000, 0),
            id="of this family, no endpoint",
        ),
        pytest.param(
            balancer(),
            [endpoint_slice(endpoint("10.244.0.1", DRAINING), endpoint("10.244.0.2", UNREADY))],
            V4,
            HealthCheck(31000, 0),
            id="none is ready",
        ),
        pytest.param(
            balancer(),
            [
                endpoint_slice(
                    endpoint("10.244.0.1"),
                    ports=(EndpointPort("http", "TCP", 8080), EndpointPort("dns", "UDP", 53)),
                ),
                endpoint_slice(endpoint("10.244.0.1"), endpoint("10.244.0.3"), name="web-2"),
            ],
            V4,
            HealthCheck(31000, 2),
            id="each address once",
        ),
    ],
)
def test_build(
    found: Service | None, slices: list[EndpointSlice], view: FamilyView, expected: HealthCheck | None
) -> None:
    """Ready endpoints of this node count, by address."""
    assert build_health_check(found, map(decode_slice, slices), view) == expected


def test_version_grows_with_changes_only() -> None:
    """What has not changed is no news."""
    checks = HealthChecks()
    versions = []
    for found in (service(), balancer(), balancer(), None, None):
        checks.set_service(("default", "web"), found, [decode_slice(HERE)], V4)
        versions.append((checks.version, dict(checks.checks)))
    one = {("default", "web", "ip"): HealthCheck(31000, 1)}

    assert versions == [(0, {}), (1, one), (1, one), (2, {}), (2, {})]
