"""Objects as an API server sends them, and Kubernetes' defaults for what it leaves out."""

import json
from typing import Any

import msgspec
import pytest

from nodeplane.kube.objects import (
    API_VERSIONS,
    CLUSTER_SCOPED,
    KINDS,
    ClientIPConfig,
    Container,
    ContainerPort,
    Endpoint,
    EndpointConditions,
    EndpointHints,
    EndpointPort,
    EndpointSlice,
    Hint,
    LoadBalancerIngress,
    LoadBalancerStatus,
    Metadata,
    Namespace,
    Node,
    NodeAddress,
    NodeSpec,
    NodeStatus,
    Object,
    ObjectKey,
    ObjectReference,
    Pod,
    PodCondition,
    PodIP,
    PodSpec,
    PodStatus,
    Service,
    ServiceCIDR,
    ServiceCIDRSpec,
    ServicePort,
    ServiceSpec,
    ServiceStatus,
    SessionAffinityConfig,
    Taint,
)
from tests.kube.recordings import recorded_items, recording

NAME = Metadata("a", "b")


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


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        pytest.param({"endpoints": None, "ports": None}, EndpointSlice(NAME, "IPv4"), id="nulls"),
        pytest.param({}, EndpointSlice(NAME, "IPv4"), id="nothing"),
        pytest.param(
            {"ports": [{}]},
            EndpointSlice(NAME, "IPv4", raw_ports=(EndpointPort(),)),
            id="port without number",
        ),
        pytest.param(
            {"ports": [{"name": None, "port": None}]},
            EndpointSlice(NAME, "IPv4", raw_ports=(EndpointPort(),)),
            id="port with nulls",
        ),
        pytest.param(
            {"endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": None}, "zone": None}]},
            EndpointSlice(NAME, "IPv4", (Endpoint(("10.0.0.1",)),)),
            id="endpoint with nulls",
        ),
    ],
)
def test_slice_defaults(wire: dict[str, Any], expected: EndpointSlice) -> None:
    """Null, empty and absent are the same, as Go's encoder makes no difference."""
    text = json.dumps({"metadata": {"name": "a", "namespace": "b"}, "addressType": "IPv4", **wire})
    piece = msgspec.json.decode(text, type=EndpointSlice)

    assert (piece.endpoints, piece.ports) == (expected.endpoints, expected.ports)
    assert piece.service_name == ""


@pytest.mark.parametrize(
    ("conditions", "ready", "serving", "terminating"),
    [
        pytest.param({}, True, True, False, id="none: ready"),
        pytest.param({"ready": None, "serving": None, "terminating": None}, True, True, False, id="nulls"),
        pytest.param({"ready": True}, True, True, False, id="ready: serving"),
        pytest.param({"ready": False}, False, False, False, id="not ready: not serving"),
        pytest.param(
            {"ready": False, "serving": True, "terminating": True}, False, True, True, id="draining"
        ),
        pytest.param({"ready": True, "serving": False}, True, False, False, id="serving has the last word"),
    ],
)
def test_conditions(
    conditions: dict[str, bool | None], ready: bool, serving: bool, terminating: bool
) -> None:
    """Unknown is ready, serving is what ready is, not terminating (k/k pkg/apis/discovery/types.go)."""
    endpoint = msgspec.convert({"addresses": ["10.0.0.1"], "conditions": conditions}, Endpoint)

    assert (endpoint.is_ready, endpoint.is_serving, endpoint.is_terminating) == (ready, serving, terminating)


@pytest.mark.parametrize(
    ("spec", "addresses", "headless"),
    [
        pytest.param({}, (), False, id="not yet given one"),
        pytest.param({"clusterIP": "10.96.0.1"}, ("10.96.0.1",), False, id="clusterIP alone"),
        pytest.param(
            {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "fd00::1"]},
            ("10.96.0.1", "fd00::1"),
            False,
            id="dual stack",
        ),
        pytest.param({"clusterIP": "None", "clusterIPs": ["None"]}, (), True, id="headless"),
        pytest.param({"type": "ExternalName", "clusterIP": "None"}, (), False, id="ExternalName"),
        pytest.param({"clusterIP": "10.96.0.1", "ports": None}, ("10.96.0.1",), False, id="null ports"),
    ],
)
def test_cluster_ips(spec: dict[str, Any], addresses: tuple[str, ...], headless: bool) -> None:
    """A Service is published at its cluster IPs; headless and ExternalName have none."""
    service = Service(NAME, msgspec.convert(spec, ServiceSpec))

    assert (service.spec.cluster_ips, service.is_headless, service.spec.ports) == (addresses, headless, ())


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({}, 0, id="none"),
        pytest.param({"sessionAffinity": "None"}, 0, id="None"),
        pytest.param({"sessionAffinity": "ClientIP"}, 10800, id="default"),
        pytest.param({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {}}, 10800, id="empty"),
        pytest.param(
            {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": None}}},
            10800,
            id="null",
        ),
        pytest.param(
            {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 1}}},
            1,
            id="one second",
        ),
        pytest.param(
            {"sessionAffinity": "None", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 1}}},
            0,
            id="without affinity",
        ),
    ],
)
def test_affinity_timeout(spec: dict[str, Any], expected: int) -> None:
    """A client is remembered for three hours if nobody says otherwise."""
    assert msgspec.convert(spec, ServiceSpec).affinity_timeout_s == expected


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        *(
            pytest.param(
                {"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": number}}},
                "timeoutSeconds",
                id=str(number),
            )
            for number in (1.5,)
        ),
        pytest.param({"externalIPs": "192.0.2.1"}, "externalIPs", id="no list"),
        pytest.param({"loadBalancerSourceRanges": [1]}, "loadBalancerSourceRanges", id="no text"),
        pytest.param({"healthCheckNodePort": "1"}, "healthCheckNodePort", id="no number"),
    ],
)
def test_wrong_spec(spec: dict[str, Any], words: str) -> None:
    """What no API server sends is an error that names the field."""
    with pytest.raises(msgspec.ValidationError, match=words):
        msgspec.convert(spec, ServiceSpec)


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        pytest.param({}, None, id="none"),
        pytest.param({"hints": None}, None, id="null"),
        pytest.param({"hints": {}}, EndpointHints(), id="empty"),
        pytest.param(
            {"hints": {"forZones": [{"name": "z1"}], "forNodes": [{"name": "n1"}, {"name": "n2"}]}},
            EndpointHints((Hint("z1"),), (Hint("n1"), Hint("n2"))),
            id="zones and nodes",
        ),
    ],
)
def test_hints(wire: dict[str, Any], expected: EndpointHints | None) -> None:
    """An endpoint says which zones and nodes it is meant for."""
    assert msgspec.convert({"addresses": ["10.0.0.1"], **wire}, Endpoint).hints == expected


def test_taints() -> None:
    """A node's taints are kept: one of them says that it is about to go."""
    taint = {"key": "ToBeDeletedByClusterAutoscaler", "value": "1", "effect": "NoSchedule"}
    node = msgspec.convert({"metadata": {"name": "n1"}, "spec": {"taints": [taint, {"key": "a"}]}}, Node)

    assert node.spec.taints == (Taint("ToBeDeletedByClusterAutoscaler", "1", "NoSchedule"), Taint("a"))


def test_service_cidr() -> None:
    """A ServiceCIDR belongs to no namespace."""
    wire = {"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.96.0.0/16", "fd00:96::/108"]}}
    item = msgspec.convert(wire, KINDS["networking.k8s.io/v1", "ServiceCIDR"])

    assert item == ServiceCIDR(Metadata("kubernetes"), ServiceCIDRSpec(("10.96.0.0/16", "fd00:96::/108")))
    assert str(item.key) == "ServiceCIDR/kubernetes"
    assert ServiceCIDR in CLUSTER_SCOPED


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        pytest.param(None, (), id="null"),
        pytest.param((), (), id="none"),
        pytest.param(
            (
                NodeAddress("Hostname", "n1"),
                NodeAddress("InternalIP", "172.30.0.1"),
                NodeAddress("ExternalIP", "203.0.113.1"),
                NodeAddress("InternalIP", "fd00::1"),
            ),
            ("172.30.0.1", "fd00::1"),
            id="both families",
        ),
    ],
)
def test_internal_ips(addresses: tuple[NodeAddress, ...] | None, expected: tuple[str, ...]) -> None:
    """Nodes reach one another by their InternalIPs."""
    assert Node(Metadata("n1"), status=NodeStatus(addresses)).internal_ips == expected


@pytest.mark.parametrize(
    ("item", "text"),
    [
        pytest.param(Service(NAME), "Service/b/a", id="namespaced"),
        pytest.param(Node(Metadata("n1")), "Node/n1", id="cluster-scoped"),
    ],
)
def test_key(item: Object, text: str) -> None:
    """A key names kind, namespace and name; objects of two kinds never share one."""
    assert str(item.key) == text
    assert len({kind(item.metadata).key for kind in (Service, Pod, Node)}) == 3


@pytest.mark.parametrize("port", [0, 65536, "80", 80.0, True])
def test_port_range(port: object) -> None:
    """A port is a number from 1 to 65535."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"port": port}, ServicePort)


def test_wire_names() -> None:
    """What is written back has the API's names and leaves out what is default."""
    item = Service(NAME, ServiceSpec(cluster_ip="10.96.0.1", raw_cluster_ips=("10.96.0.1",)))

    assert msgspec.to_builtins(item) == {
        "metadata": {"name": "a", "namespace": "b"},
        "spec": {"clusterIP": "10.96.0.1", "clusterIPs": ("10.96.0.1",)},
    }
    affinity = ServiceSpec(
        raw_external_ips=("192.0.2.1",),
        session_affinity="ClientIP",
        session_affinity_config=SessionAffinityConfig(ClientIPConfig(5)),
    )
    assert msgspec.to_builtins(affinity) == {
        "externalIPs": ("192.0.2.1",),
        "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}},
    }
    assert KINDS[API_VERSIONS[Service], "Service"] is Service
