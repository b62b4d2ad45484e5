"""Objects as an API server has sent them."""

import json

import msgspec
import pytest

from nodeplane.kube.objects import (
    KINDS,
    ClientIPConfig,
    Container,
    ContainerPort,
    Endpoint,
    EndpointConditions,
    EndpointPort,
    EndpointSlice,
    LoadBalancerIngress,
    LoadBalancerStatus,
    Metadata,
    Namespace,
    Node,
    NodeSpec,
    Object,
    ObjectKey,
    ObjectReference,
    Pod,
    PodCondition,
    PodIP,
    PodSpec,
    PodStatus,
    Service,
    ServicePort,
    ServiceSpec,
    ServiceStatus,
    SessionAffinityConfig,
)
from tests.kube.recordings import recorded_items, recording


def bare(item: Object) -> Object:
    """Return an object without the metadata that tests would only repeat."""
    metadata = Metadata(item.metadata.name, item.metadata.namespace)
    return msgspec.structs.replace(item, metadata=metadata)


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        pytest.param(
            "list-endpointslices.json",
            EndpointSlice,
            [
                EndpointSlice(
                    Metadata("db-5dj6w", "shop"),
                    "IPv4",
                    (
                        Endpoint(
                            ("10.244.1.7",),
                            EndpointConditions(ready=True, serving=True, terminating=False),
                            node_name="node-b",
                            hostname="db-0",
                            zone="zone-2",
                            target_ref=ObjectReference("Pod", "shop", "db-0"),
                        ),
                    ),
                    (EndpointPort("pg", "TCP", 5432),),
                ),
                EndpointSlice(
                    Metadata("web-jbhvm", "shop"),
                    "IPv4",
                    (
                        Endpoint(
                            ("10.244.0.5",),
                            EndpointConditions(ready=False, serving=False, terminating=False),
                            node_name="node-a",
                            zone="zone-1",
                            target_ref=ObjectReference("Pod", "shop", "web-1"),
                        ),
                    ),
                    (EndpointPort("http", "TCP", 8080), EndpointPort("metrics", "TCP", 9100)),
                ),
            ],
            id="EndpointSlice",
        ),
        pytest.param(
            "list-services.json",
            Service,
            [
                Service(
                    Metadata("kubernetes", "default"),
                    ServiceSpec(
                        cluster_ip="10.96.0.1",
                        raw_cluster_ips=("10.96.0.1",),
                        raw_ports=(ServicePort(443, "https", target_port=16443),),
                        internal_traffic_policy="Cluster",
                    ),
                ),
                Service(
                    Metadata("db", "shop"),
                    ServiceSpec(
                        cluster_ip="None",
                        raw_cluster_ips=("None",),
                        raw_ports=(ServicePort(5432, "pg", target_port=5432),),
                        selector={"app": "db"},
                        internal_traffic_policy="Cluster",
                    ),
                ),
                Service(
                    Metadata("web", "shop"),
                    ServiceSpec(
                        type="LoadBalancer",
                        cluster_ip="10.96.153.181",
                        raw_cluster_ips=("10.96.153.181",),
                        raw_ports=(
                            ServicePort(80, "http", target_port=8080, node_port=30080),
                            ServicePort(9090, "metrics", target_port="metrics", node_port=31793),
                        ),
                        selector={"app": "web"},
                        session_affinity="ClientIP",
                        session_affinity_config=SessionAffinityConfig(ClientIPConfig(10800)),
                        internal_traffic_policy="Cluster",
                        external_traffic_policy="Cluster",
                        load_balancer_source_ranges=("192.0.2.0/24",),
                    ),
                    ServiceStatus(LoadBalancerStatus((LoadBalancerIngress("203.0.113.10", ip_mode="VIP"),))),
                ),
            ],
            id="Service",
        ),
        pytest.param(
            "list-namespaces.json",
            Namespace,
            [
                Namespace(Metadata(name))
                for name in ("default", "kube-node-lease", "kube-public", "kube-system", "shop")
            ],
            id="Namespace",
        ),
        pytest.param(
            "list-nodes.json",
            Node,
            [
                Node(Metadata("node-a"), NodeSpec(("10.244.0.0/24",))),
                Node(Metadata("node-b"), NodeSpec(("10.244.1.0/24",))),
            ],
            id="Node",
        ),
        pytest.param(
            "list-pods.json",
            Pod,
            [
                Pod(
                    Metadata("db-0", "shop"),
                    PodSpec("node-b", (Container("c"),), hostname="db-0", subdomain="db"),
                    PodStatus(
                        "Running", "10.244.1.7", (PodIP("10.244.1.7"),), (PodCondition("Ready", "True"),)
                    ),
                ),
                Pod(
                    Metadata("web-1", "shop"),
                    PodSpec("node-a", (Container("c", (ContainerPort(9100, "metrics"),)),)),
                    PodStatus(
                        "Running", "10.244.0.5", (PodIP("10.244.0.5"),), (PodCondition("Ready", "False"),)
                    ),
                ),
            ],
            id="Pod",
        ),
    ],
)
def test_recorded_list(name: str, kind: type[Object], expected: list[Object]) -> None:
    """A real API server's lists decode, with what nodeplane does not use left out."""
    assert [bare(msgspec.convert(item, kind)) for item in recorded_items(name)] == expected


def test_recorded_metadata() -> None:
    """Who an object is, its version and its labels are kept; the label ties a slice to its Service."""
    web = msgspec.convert(recorded_items("list-endpointslices.json")[1], EndpointSlice)

    assert web.key == ObjectKey(EndpointSlice, "shop", "web-jbhvm")
    assert web.metadata.resource_version == "291"
    assert web.service_name == "web"
    assert web.labels == {
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        "kubernetes.io/service-name": "web",
    }


@pytest.mark.parametrize("name", ["watch-endpointslices.jsonl", "watch-services.jsonl"])
def test_recorded_watch(name: str) -> None:
    """Every object of a watch decodes; a bookmark is none, it has a version and nothing else."""
    events = [json.loads(line) for line in recording(name).splitlines()]
    objects = [event["object"] for event in events if event["type"] != "BOOKMARK"]

    assert [
        msgspec.convert(item, KINDS[item["apiVersion"], item["kind"]]).metadata.name for item in objects
    ] == [item["metadata"]["name"] for item in objects]
