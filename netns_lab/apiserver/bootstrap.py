"""What a cluster has from its first moment: the system's namespaces and the Service of the API itself."""

from netns_lab.apiserver.registry import Registry
from netns_lab.apiserver.resources import ENDPOINT_SLICES, NAMESPACES, SERVICES, Resource
from netns_lab.apiserver.wire import Json, decode_object
from nodeplane.kube.validation import is_endpoint_address

SYSTEM_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
_LABELS = {"component": "apiserver", "provider": "kubernetes"}


async def create_first_objects(registry: Registry, cluster_ip: str, address: str, port: int) -> None:
    """Make what is missing of it; a server that starts again at another port says so."""
    for name in SYSTEM_NAMESPACES:
        await _ensure(registry, NAMESPACES, "", name, {"metadata": {"name": name}})
    port_entry = {"name": "https", "protocol": "TCP", "port": 443, "targetPort": port}
    service = {
        "metadata": {"name": "kubernetes", "labels": _LABELS},
        "spec": {"clusterIP": cluster_ip, "ports": [port_entry]},
    }
    await _ensure(registry, SERVICES, "default", "kubernetes", service)
    if not is_endpoint_address(address):
        # As with kube-apiserver on a loopback address: it refuses its own endpoint, the Service has none.
        return
    endpoints = {
        "metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": "IPv6" if ":" in address else "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "protocol": "TCP", "port": port}],
    }
    await _ensure(registry, ENDPOINT_SLICES, "default", "kubernetes", endpoints)


async def _ensure(registry: Registry, resource: Resource, namespace: str, name: str, wanted: Json) -> None:
    item = registry.state.history(resource).get(namespace, name)
    if item is None:
        await registry.create(resource, namespace, wanted)
        return
    if resource is NAMESPACES:
        return
    # The address of the Service stays what it was made with; its ports follow the server.
    live = decode_object(resource, item)
    if resource is SERVICES:
        live["spec"]["ports"] = wanted["spec"]["ports"]
    else:
        live.update({field: wanted[field] for field in ("endpoints", "ports")})
    await registry.update(resource, namespace, name, lambda _: live)
