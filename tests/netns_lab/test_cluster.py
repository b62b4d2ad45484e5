"""The lab's objects: all of them, with the lab's marks, as an API server takes them."""

from ipaddress import IPv4Address, IPv6Address
from typing import Any

import msgspec
import pytest

from netns_lab.cluster import DIGEST_ANNOTATION, OWNER_ANNOTATION, build_cluster, marks, owner
from netns_lab.topology import Network, Topology
from nodeplane.kube.objects import EndpointSlice
from tests.netns_lab.samples import TOPOLOGY, lab_spec, service

ADDRESSES = {
    "clients/client": (IPv4Address("10.244.0.1"),),
    "default/web-1": (IPv4Address("10.244.0.2"),),
    "default/web-2": (IPv4Address("10.244.1.2"),),
}
MARKS = {"app.kubernetes.io/managed-by": "netns-lab", "netns-lab/lab": "lab"}


def raw(key: str, *manifests: dict[str, Any], topology: Topology = TOPOLOGY) -> dict[str, Any]:
    """Return one object as it is sent, without what tells whose it is."""
    cluster = build_cluster(lab_spec(topology, *manifests), ADDRESSES)
    found = next(manifest.raw for manifest in cluster if str(manifest.item.key) == key)
    metadata = {**found["metadata"]}
    metadata["labels"] = {name: text for name, text in metadata["labels"].items() if name not in MARKS}
    own = {DIGEST_ANNOTATION, OWNER_ANNOTATION}
    metadata["annotations"] = {
        name: text for name, text in metadata["annotations"].items() if name not in own
    }
    return {**found, "metadata": {name: value for name, value in metadata.items() if value}}


def test_every_object_is_there() -> None:
    """All of them marked; the slices of Services with a selector are the server's own work."""
    cluster = build_cluster(lab_spec(TOPOLOGY, service()), ADDRESSES)

    assert [str(manifest.item.key) for manifest in cluster] == [
        "Namespace/clients",
        "Namespace/default",
        "Namespace/kube-system",
        "Node/n1",
        "Node/n2",
        "Service/kube-system/kube-dns",
        "EndpointSlice/kube-system/kube-dns-nodes",
        "Service/default/web",
        "Pod/clients/client",
        "Pod/default/web-1",
        "Pod/default/web-2",
    ]
    assert marks("lab") == MARKS
    assert all(MARKS.items() <= manifest.item.labels.items() for manifest in cluster)


def test_node() -> None:
    assert raw("Node/n1") == {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": "n1",
            "labels": {"kubernetes.io/hostname": "n1", "topology.kubernetes.io/zone": "a"},
        },
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": "172.30.0.2"},
                {"type": "Hostname", "address": "n1"},
            ],
            "conditions": [{"type": "Ready", "status": "True", "reason": "NetnsLab"}],
        },
    }


def test_two_families() -> None:
    """Of nodes and of pods, IPv4 first."""
    network = Network("172.30.0.0/24,fd00::/64", "10.244.0.0/16,fd01::/56")
    both = {"default/web-1": (IPv4Address("10.244.0.2"), IPv6Address("fd01::2"))}
    topology = msgspec.structs.replace(TOPOLOGY, network=network)
    objects = {
        str(each.item.key): each.raw["status"]
        for each in build_cluster(lab_spec(topology), both)
        if "status" in each.raw
    }

    assert [entry["address"] for entry in objects["Node/n1"]["addresses"]] == ["172.30.0.2", "fd00::2", "n1"]
    pod = objects["Pod/default/web-1"]
    assert (pod["podIP"], pod["podIPs"]) == ("10.244.0.2", [{"ip": "10.244.0.2"}, {"ip": "fd01::2"}])
    assert pod["hostIP"] == "172.30.0.2"


def test_pod() -> None:
    """As much as makes it an endpoint: node, ports, address, Ready."""
    pod = raw("Pod/default/web-1")

    ports = [{"containerPort": 8080, "protocol": "TCP", "name": "http"}]
    assert pod["metadata"] == {"name": "web-1", "namespace": "default", "labels": {"app": "web"}}
    assert pod["spec"] == {
        "nodeName": "n1",
        "containers": [{"name": "workload", "image": "netns-lab", "ports": ports}],
        "terminationGracePeriodSeconds": 0,
    }
    status = pod["status"]
    assert (status["phase"], status["podIP"], status["podIPs"], status["hostIP"]) == (
        "Running",
        "10.244.0.2",
        [{"ip": "10.244.0.2"}],
        "172.30.0.2",
    )
    assert ("Ready", "True") in {(entry["type"], entry["status"]) for entry in status["conditions"]}


@pytest.mark.parametrize(
    ("ends", "phase", "ready", "state"),
    [
        pytest.param({}, "Running", ("True", "True", True), {"running": {}}, id="runs"),
        pytest.param(
            {"default/web-1": 0},
            "Succeeded",
            ("True", "False", False),
            {"terminated": {"exitCode": 0, "reason": "Completed"}},
            id="ended well",
        ),
        pytest.param(
            {"default/web-1": 3, "default/web-2": 0},
            "Failed",
            ("True", "False", False),
            {"terminated": {"exitCode": 3, "reason": "Error"}},
            id="failed",
        ),
    ],
)
def test_pod_that_has_ended(
    ends: dict[str, int], phase: str, ready: tuple[str, str, bool], state: dict[str, Any]
) -> None:
    """It is no endpoint any more."""
    cluster = build_cluster(lab_spec(TOPOLOGY), ADDRESSES, ends)

    found = next(entry.raw["status"] for entry in cluster if str(entry.item.key) == "Pod/default/web-1")
    conditions = {entry["type"]: entry["status"] for entry in found["conditions"]}
    (container,) = found["containerStatuses"]
    assert (found["phase"], container["state"]) == (phase, state)
    assert (conditions["Initialized"], conditions["Ready"], container["ready"]) == ready


def test_owner() -> None:
    """Each object has one of its own, in each lab another."""
    keys = [manifest.item.key for manifest in build_cluster(lab_spec(TOPOLOGY, service()), ADDRESSES)]

    found = {owner(lab, key)[OWNER_ANNOTATION] for lab in ("lab", "other") for key in keys}
    assert len(found) == 2 * len(keys)


def test_pods_without_an_address_are_left_out() -> None:
    cluster = build_cluster(lab_spec(TOPOLOGY), {"default/web-2": ADDRESSES["default/web-2"]})

    assert [str(manifest.item.key) for manifest in cluster if "Pod/" in str(manifest.item.key)] == [
        "Pod/default/web-2"
    ]


def test_cluster_dns_is_every_node() -> None:
    cluster = build_cluster(lab_spec(TOPOLOGY), {})

    piece = next(manifest.item for manifest in cluster if isinstance(manifest.item, EndpointSlice))
    assert piece.service_name == "kube-dns"
    assert [(entry.addresses, entry.node_name, entry.zone) for entry in piece.endpoints] == [
        (("172.30.0.2",), "n1", "a"),
        (("172.30.0.3",), "n2", None),
    ]
    assert raw("Service/kube-system/kube-dns")["spec"]["clusterIP"] == TOPOLOGY.network.cluster_dns


def test_lost_node() -> None:
    """It is known, not ready, its pods are gone, and it answers no names."""
    cluster = {
        str(manifest.item.key): manifest.raw
        for manifest in build_cluster(lab_spec(TOPOLOGY), ADDRESSES, lost={"n1"})
    }
    slices = cluster["EndpointSlice/kube-system/kube-dns-nodes"]

    conditions = {name: cluster[f"Node/{name}"]["status"]["conditions"][0]["status"] for name in ("n1", "n2")}
    assert conditions == {"n1": "Unknown", "n2": "True"}
    assert [endpoint["nodeName"] for endpoint in slices["endpoints"]] == ["n2"]
    there = {pod.key for pod in TOPOLOGY.pods if pod.node == "n2" and pod.key in ADDRESSES}
    assert {key.removeprefix("Pod/") for key in cluster if key.startswith("Pod/")} == there


def test_given_objects_are_sent_as_they_were_written() -> None:
    """But for what a server says: a dump's identity, version and status are not the author's."""
    written = service()
    dump = {
        **written,
        "metadata": {**written["metadata"], "uid": "1", "resourceVersion": "7", "annotations": {"a": "b"}},
        "status": {"loadBalancer": {}},
    }

    metadata = {**written["metadata"], "annotations": {"a": "b"}}
    assert raw("Service/default/web", dump) == {**written, "metadata": metadata}


@pytest.mark.parametrize(
    ("change", "is_another"),
    [
        pytest.param({}, False, id="the same"),
        pytest.param({"spec": {"ports": [{"port": 81}]}}, True, id="a field less, another value"),
        pytest.param({"status": {}}, False, id="status is no part of it"),
    ],
)
def test_digest(change: dict[str, Any], is_another: bool) -> None:
    """What an object is made from shows in its annotation, so that a field that goes is noticed."""

    def digest(value: dict[str, Any]) -> str:
        cluster = build_cluster(lab_spec(TOPOLOGY, value), {})
        made = next(entry.raw for entry in cluster if str(entry.item.key) == "Service/default/web")
        return str(made["metadata"]["annotations"][DIGEST_ANNOTATION])

    assert (digest(service()) != digest({**service(), **change})) is is_another


def test_every_object_can_be_sent() -> None:
    cluster = build_cluster(lab_spec(TOPOLOGY, service()), ADDRESSES)

    assert msgspec.json.decode(msgspec.json.encode([manifest.raw for manifest in cluster])) == [
        manifest.raw for manifest in cluster
    ]
