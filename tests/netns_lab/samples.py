"""Values that the lab's tests share."""

from typing import Any

from netns_lab.loader import LabSpec, Manifest
from netns_lab.topology import NodeSpec, PodSpec, PortSpec, Topology
from nodeplane.kube.manifest_file import decode_objects
from nodeplane.yamldoc import YamlDocument

WEB_1 = PodSpec("web-1", "n1", labels={"app": "web"}, ports=(PortSpec(8080, "http"),))
WEB_2 = PodSpec("web-2", "n2", labels={"app": "web"}, ports=(PortSpec(8080, "http"),))
CLIENT = PodSpec("client", "n1", namespace="clients")

TOPOLOGY = Topology("lab", (NodeSpec("n1", zone="a"), NodeSpec("n2")), (CLIENT, WEB_1, WEB_2))


def service(name: str = "web", namespace: str = "default", **spec: Any) -> dict[str, Any]:
    """Return a Service as its author writes it; without a spec, one that selects the web pods."""
    given = spec or {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": given,
    }


def lab_spec(topology: Topology, *raw: dict[str, Any]) -> LabSpec:
    """Return what the loader makes of a topology and these objects."""
    manifests = []
    for value in raw:
        document = YamlDocument("test.yaml", 0, value, "")
        manifests += [Manifest(value, item) for _, item in decode_objects(document)]
    return LabSpec(topology, tuple(manifests))
