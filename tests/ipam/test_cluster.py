"""What is looked up in Kubernetes for one pod, and for all."""

import json
import ssl
from pathlib import Path

import httpx2
import pytest
import yaml

from ipam.cluster import Cluster, ClusterPod, PodFacts, read_cluster, read_pod_facts
from ipam.config import KubernetesConfig
from ipam.errors import PodUnknownError
from ipam.model import PodRef
from nodeplane.errors import ConfigError
from tests.netns_lab.apiserver.free_port import free_ports
from tests.netns_lab.apiserver.process import apiserver

OBJECTS = """
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {zone: a}}
---
apiVersion: v1
kind: Namespace
metadata: {name: team, labels: {kind: web}, annotations: {where: namespace}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: team, annotations: {who: pod}}
spec: {nodeName: n1, containers: [{name: a, image: a}]}
status: {phase: Running, podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, {ip: "fd00::1"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: bare}
spec: {containers: [{name: a, image: a}]}
---
apiVersion: v1
kind: Pod
metadata: {name: host}
spec: {nodeName: n1, hostNetwork: true, containers: [{name: a, image: a}]}
status: {podIP: 192.0.2.1}
---
apiVersion: v1
kind: Pod
metadata: {name: job}
spec: {nodeName: n1, containers: [{name: a, image: a}]}
status: {phase: Succeeded, podIP: 10.0.0.9}
"""


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    (tmp_path / "all.yaml").write_text(OBJECTS)
    return tmp_path


@pytest.mark.parametrize(
    ("pod", "node", "expected"),
    [
        pytest.param(
            PodRef("team", "web"),
            "n1",
            PodFacts(
                {"who": "pod"},
                {"where": "namespace"},
                {"kubernetes.io/metadata.name": "team", "kind": "web"},
                {"zone": "a"},
            ),
            id="all",
        ),
        pytest.param(
            PodRef("default", "bare"),
            "n9",
            PodFacts(namespace_labels={"kubernetes.io/metadata.name": "default"}),
            id="what is not there has no labels but a name",
        ),
        pytest.param(
            PodRef(),
            "n1",
            PodFacts(namespace_labels={"kubernetes.io/metadata.name": ""}, node_labels={"zone": "a"}),
            id="a container that is no pod",
        ),
    ],
)
def test_read_pod_facts(pod: PodRef, node: str, expected: PodFacts, manifests: Path) -> None:
    assert read_pod_facts(KubernetesConfig(str(manifests)), pod, node, "ipam.kubernetes") == expected


def test_a_pod_that_is_not_known(manifests: Path) -> None:
    with pytest.raises(PodUnknownError, match="pod team/other is not in the cluster"):
        read_pod_facts(KubernetesConfig(str(manifests)), PodRef("team", "other"), "n1", "ipam.kubernetes")


@pytest.mark.parametrize("config", [KubernetesConfig(), KubernetesConfig("a", "b")])
def test_one_source(config: KubernetesConfig) -> None:
    with pytest.raises(ConfigError) as caught:
        read_pod_facts(config, PodRef(), "n1", "ipam.kubernetes")
    assert (
        str(caught.value) == "network configuration: ipam.kubernetes: expected either manifests or kubeconfig"
    )


def test_read_cluster(manifests: Path) -> None:
    assert read_cluster(manifests, None, None) == Cluster(
        frozenset({"n1"}),
        {
            ("team", "web"): ClusterPod("n1", ("10.0.0.1", "fd00::1")),
            ("default", "bare"): ClusterPod(""),
            ("default", "host"): ClusterPod("n1"),
        },
    )


COLLECTIONS = {"Node": "nodes", "Namespace": "namespaces"}


def create(directory: Path, port: int) -> None:
    """Put all objects into a server, with what they report."""
    with httpx2.Client(
        base_url=f"https://127.0.0.1:{port}",
        verify=ssl.create_default_context(cafile=str(directory / "ca.crt")),
        headers={"authorization": f"Bearer {(directory / 'token').read_text().strip()}"},
        trust_env=False,
        timeout=60,
    ) as client:
        client.post("/api/v1/namespaces", json={"metadata": {"name": "default"}})
        for item in yaml.safe_load_all(OBJECTS):
            namespace = item["metadata"].get("namespace", "default")
            path = f"/api/v1/{COLLECTIONS.get(item['kind'], f'namespaces/{namespace}/pods')}"
            done = client.post(path, json=item)
            assert done.is_success, done.text
            if "status" in item:
                status = f"{path}/{item['metadata']['name']}/status"
                media_type = {"content-type": "application/merge-patch+json"}
                body = json.dumps({"status": item["status"]})
                done = client.patch(status, content=body, headers=media_type)
                assert done.is_success, done.text


def test_an_api_server(tmp_path: Path) -> None:
    """What a directory of manifests says, a server says too."""
    [port] = free_ports(1)
    kubeconfig = tmp_path / "kubeconfig"
    with apiserver(tmp_path, "--listen", f"127.0.0.1:{port}"):
        create(tmp_path, port)
        config = KubernetesConfig(kubeconfig=str(kubeconfig))

        facts = read_pod_facts(config, PodRef("team", "web"), "n1", "ipam.kubernetes")
        found = read_cluster(None, kubeconfig, None)
        with pytest.raises(PodUnknownError):
            read_pod_facts(config, PodRef("team", "other"), "n1", "ipam.kubernetes")

    assert (facts.annotations, facts.namespace_annotations) == ({"who": "pod"}, {"where": "namespace"})
    assert facts.namespace_labels["kind"] == "web"
    assert facts.node_labels["zone"] == "a"
    assert found.nodes == {"n1"}
    assert found.pods == {
        ("team", "web"): ClusterPod("n1", ("10.0.0.1", "fd00::1")),
        ("default", "bare"): ClusterPod(""),
        ("default", "host"): ClusterPod("n1"),
    }
