"""What Kubernetes fills in where an object says nothing (k8s.io/kubernetes/pkg/apis/*/v1/defaults.go).

Decides the defaults that need nothing but the object; addresses and node ports are `service_addresses`'.
"""

from collections.abc import Callable

from netns_lab.apiserver.resources import (
    CONFIG_MAPS,
    ENDPOINT_SLICES,
    EVENTS,
    NAMESPACES,
    NODES,
    PODS,
    SERVICE_CIDRS,
    SERVICES,
    Resource,
)
from netns_lab.apiserver.wire import Json

CLIENT_IP_TIMEOUT_S = 10800

_NODE_INFO = (
    *("machineID", "systemUUID", "bootID", "kernelVersion", "osImage", "containerRuntimeVersion"),
    *("kubeletVersion", "kubeProxyVersion", "operatingSystem", "architecture"),
)


def apply_defaults(resource: Resource, value: Json) -> None:
    """Fill in a whole object of the right shape, in place."""
    default = _BY_RESOURCE.get(resource.qualified)
    if default is not None:
        default(value)


def _namespace(value: Json) -> None:
    _child(value["metadata"], "labels")["kubernetes.io/metadata.name"] = value["metadata"]["name"]
    _child(value, "spec").setdefault("finalizers", ["kubernetes"])
    _child(value, "status").setdefault("phase", "Active")


def _node(value: Json) -> None:
    spec = _child(value, "spec")
    # The old and the new field say the same; whichever is set sets the other.
    if spec.get("podCIDRs"):
        spec["podCIDR"] = spec["podCIDRs"][0]
    elif spec.get("podCIDR"):
        spec["podCIDRs"] = [spec["podCIDR"]]
    status = _child(value, "status")
    status.setdefault("daemonEndpoints", {"kubeletEndpoint": {"Port": 0}})
    info = _child(status, "nodeInfo")
    for name in _NODE_INFO:
        info.setdefault(name, "")


def _pod(value: Json) -> None:
    spec = _child(value, "spec")
    for name, default in (
        ("restartPolicy", "Always"),
        ("terminationGracePeriodSeconds", 30),
        ("dnsPolicy", "ClusterFirst"),
        ("securityContext", {}),
        ("schedulerName", "default-scheduler"),
        ("enableServiceLinks", True),
    ):
        spec.setdefault(name, default)
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        image = container.get("image", "")
        tag = image.rpartition("/")[2].partition(":")[2] or "latest"
        newest = tag == "latest" and "@" not in image
        container.setdefault("imagePullPolicy", "Always" if newest else "IfNotPresent")
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("terminationMessagePolicy", "File")
        container.setdefault("resources", {})
        for port in container.get("ports") or ():
            port.setdefault("protocol", "TCP")
            if spec.get("hostNetwork"):
                port.setdefault("hostPort", port.get("containerPort"))
    status = _child(value, "status")
    status.setdefault("phase", "Pending")
    status.setdefault("qosClass", "BestEffort")
    if status.get("podIP") and not status.get("podIPs"):
        status["podIPs"] = [{"ip": status["podIP"]}]
    elif status.get("podIPs") and not status.get("podIP"):
        status["podIP"] = status["podIPs"][0].get("ip", "")


def _service(value: Json) -> None:
    spec = _child(value, "spec")
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    if spec["sessionAffinity"] == "ClientIP":
        client_ip = _child(_child(spec, "sessionAffinityConfig"), "clientIP")
        client_ip.setdefault("timeoutSeconds", CLIENT_IP_TIMEOUT_S)
    else:
        spec.pop("sessionAffinityConfig", None)
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        if port.get("targetPort") in (None, "", 0):
            port["targetPort"] = port.get("port")
    if spec["type"] != "ExternalName":
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if spec["type"] in {"NodePort", "LoadBalancer"}:
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    _child(_child(value, "status"), "loadBalancer")


def _endpoint_slice(value: Json) -> None:
    value.setdefault("endpoints", None)
    value.setdefault("ports", None)
    for port in value["ports"] or ():
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")


def _event(value: Json) -> None:
    for name in ("involvedObject", "source"):
        _child(value, name)
    for name in ("firstTimestamp", "lastTimestamp", "eventTime"):
        value.setdefault(name, None)
    for name in ("reportingComponent", "reportingInstance"):
        value.setdefault(name, "")


def _config_map(value: Json) -> None:
    for name in ("data", "binaryData"):
        if value.get(name) is None:
            value.pop(name, None)


def _service_cidr(value: Json) -> None:
    _child(value, "spec")
    status = _child(value, "status")
    if not status.get("conditions"):
        # The controller's part (servicecidrs_controller.go): here a range is ready from its first moment.
        status["conditions"] = [
            {
                "type": "Ready",
                "status": "True",
                "lastTransitionTime": value["metadata"].get("creationTimestamp"),
                "reason": "",
                "message": "Kubernetes Service CIDR is ready",
            }
        ]


def _child(value: Json, name: str) -> Json:
    """Return a mapping inside another, made when there is none."""
    if value.get(name) is None:
        value[name] = {}
    child: Json = value[name]
    return child


_BY_RESOURCE: dict[str, Callable[[Json], None]] = {
    NAMESPACES.qualified: _namespace,
    NODES.qualified: _node,
    PODS.qualified: _pod,
    SERVICES.qualified: _service,
    ENDPOINT_SLICES.qualified: _endpoint_slice,
    EVENTS.qualified: _event,
    CONFIG_MAPS.qualified: _config_map,
    SERVICE_CIDRS.qualified: _service_cidr,
}
