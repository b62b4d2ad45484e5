"""What all kinds have in common, and nodes: keys, names on the wire, defaults."""

import msgspec
import pytest

from nodeplane.kube.objects import (
    API_VERSIONS,
    KINDS,
    ClientIPConfig,
    Metadata,
    Node,
    NodeAddress,
    NodeStatus,
    Object,
    Pod,
    Service,
    ServicePort,
    ServiceSpec,
    SessionAffinityConfig,
    Taint,
)

NAME = Metadata("a", "b")


def test_taints() -> None:
    """A node's taints are kept: one of them says that it is about to go."""
    taint = {"key": "ToBeDeletedByClusterAutoscaler", "value": "1", "effect": "NoSchedule"}
    node = msgspec.convert({"metadata": {"name": "n1"}, "spec": {"taints": [taint, {"key": "a"}]}}, Node)

    assert node.spec.taints == (Taint("ToBeDeletedByClusterAutoscaler", "1", "NoSchedule"), Taint("a"))


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
