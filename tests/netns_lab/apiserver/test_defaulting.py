"""What is filled in."""

from typing import Any

import pytest

from netns_lab.apiserver.defaulting import apply_defaults
from netns_lab.apiserver.resources import ENDPOINT_SLICES, NAMESPACES, NODES, PODS, SERVICES, Resource


def at(value: Any, path: str) -> Any:
    for part in path.split("."):
        value = value[int(part)] if part.isdigit() else value.get(part)
    return value


@pytest.mark.parametrize(
    ("resource", "value", "expected"),
    [
        pytest.param(
            SERVICES,
            {"spec": {"ports": [{"port": 80}]}},
            {
                "spec.type": "ClusterIP",
                "spec.sessionAffinity": "None",
                "spec.internalTrafficPolicy": "Cluster",
                "spec.externalTrafficPolicy": None,
                "spec.ports.0": {"port": 80, "protocol": "TCP", "targetPort": 80},
                "status": {"loadBalancer": {}},
            },
            id="service",
        ),
        pytest.param(
            SERVICES,
            {"spec": {"sessionAffinity": "ClientIP"}},
            {"spec.sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}}},
            id="affinity",
        ),
        pytest.param(
            SERVICES,
            {"spec": {"type": "LoadBalancer"}},
            {"spec.externalTrafficPolicy": "Cluster", "spec.allocateLoadBalancerNodePorts": True},
            id="load balancer",
        ),
        pytest.param(
            SERVICES,
            {"spec": {"type": "ExternalName"}},
            {"spec.internalTrafficPolicy": None},
            id="external name",
        ),
        pytest.param(
            PODS,
            {
                "spec": {
                    "containers": [
                        {"image": "a/b:1", "ports": [{"containerPort": 80}]},
                        {"image": "a:5000/b"},
                    ]
                }
            },
            {
                "spec.restartPolicy": "Always",
                "spec.dnsPolicy": "ClusterFirst",
                "spec.containers.0.imagePullPolicy": "IfNotPresent",
                "spec.containers.1.imagePullPolicy": "Always",
                "spec.containers.0.ports.0.protocol": "TCP",
                "status.phase": "Pending",
            },
            id="pod",
        ),
        pytest.param(
            PODS,
            {"spec": {}, "status": {"podIP": "10.244.0.5"}},
            {"status.podIPs": [{"ip": "10.244.0.5"}]},
            id="pod addresses",
        ),
        pytest.param(
            NODES, {"spec": {"podCIDR": "10.244.0.0/24"}}, {"spec.podCIDRs": ["10.244.0.0/24"]}, id="node"
        ),
        pytest.param(
            NAMESPACES,
            {},
            {
                "metadata.labels": {"kubernetes.io/metadata.name": "x"},
                "spec.finalizers": ["kubernetes"],
                "status.phase": "Active",
            },
            id="namespace",
        ),
        pytest.param(
            ENDPOINT_SLICES,
            {"ports": [{"port": 80}]},
            {"ports": [{"port": 80, "name": "", "protocol": "TCP"}], "endpoints": None},
            id="slice",
        ),
    ],
)
def test_defaults(resource: Resource, value: Any, expected: dict[str, Any]) -> None:
    value = {"metadata": {"name": "x"}, **value}
    apply_defaults(resource, value)
    once = repr(value)

    assert {path: at(value, path) for path in expected} == expected
    apply_defaults(resource, value)
    assert repr(value) == once
