"""What `kubectl get` prints: metav1.Table, with the columns of Kubernetes' own printers.

(k8s.io/kubernetes/pkg/printers/internalversion.)
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec

from netns_lab.apiserver.human_duration import human_duration
from netns_lab.apiserver.resources import (
    CONFIG_MAPS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    EVENTS,
    LEASES,
    NAMESPACES,
    NODES,
    PODS,
    SERVICE_CIDRS,
    SERVICES,
    Resource,
)
from netns_lab.apiserver.wire import Item, Json, decode_object

_NONE = "<none>"
_UNKNOWN = "<unknown>"
_MANY_ENDPOINTS = 3
_ROLE_LABEL = "node-role.kubernetes.io/"

Row = list[Any]


class Column(msgspec.Struct, frozen=True):
    """One column; a priority above 0 is shown with `-o wide` only."""

    name: str
    priority: int = 0
    type: str = "string"

    def definition(self) -> Json:
        """Return the column as metav1.TableColumnDefinition."""
        return {
            "name": self.name,
            "type": self.type,
            "format": "name" if self.name == "Name" else "",
            "description": "",
            "priority": self.priority,
        }


def _columns(*names: str, wide: tuple[str, ...] = ()) -> tuple[Column, ...]:
    return (*(Column(name) for name in names), *(Column(name, 1) for name in wide))


def build_table(
    resource: Resource,
    items: Iterable[Item],
    metadata: Json,
    *,
    version: str = "v1",
    include: str = "Metadata",
    now: datetime | None = None,
) -> Json:
    """Return objects as a table; `include` says how much of each object comes along."""
    columns, render = _PRINTERS[resource.qualified]
    moment = now or datetime.now(UTC)
    api_version = f"meta.k8s.io/{version}"
    rows = []
    for item in items:
        value = decode_object(resource, item)
        row: Json = {"cells": render(value, moment)}
        if include == "Object":
            row["object"] = value
        elif include != "None":
            row["object"] = partial_metadata(value, version)
        rows.append(row)
    return {
        "kind": "Table",
        "apiVersion": api_version,
        "metadata": metadata,
        "columnDefinitions": [column.definition() for column in columns],
        "rows": rows,
    }


def partial_metadata(value: Json, version: str = "v1") -> Json:
    """Return an object's identity and nothing else."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": value["metadata"],
    }


def _age(text: str | None, now: datetime) -> str:
    if not text:
        return _UNKNOWN
    return human_duration(now - datetime.fromisoformat(text.replace("Z", "+00:00")))


def _created(value: Json, now: datetime) -> str:
    return _age(value["metadata"].get("creationTimestamp"), now)


def _service_row(value: Json, now: datetime) -> Row:
    spec = value["spec"]
    ports = [_service_port(port) for port in spec.get("ports") or ()]
    selector = ",".join(f"{name}={text}" for name, text in sorted((spec.get("selector") or {}).items()))
    return [
        value["metadata"]["name"],
        spec["type"],
        spec.get("clusterIP") or _NONE,
        _external_ip(value),
        ",".join(ports) or _NONE,
        _created(value, now),
        selector or _NONE,
    ]


def _service_port(port: Json) -> str:
    node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port['port']}{node_port}/{port['protocol']}"


def _external_ip(value: Json) -> str:
    spec = value["spec"]
    addresses = list(spec.get("externalIPs") or ())
    if spec["type"] == "ExternalName":
        return str(spec.get("externalName") or _NONE)
    if spec["type"] == "LoadBalancer":
        ingress = (value.get("status", {}).get("loadBalancer") or {}).get("ingress") or ()
        found = [entry.get("ip") or entry.get("hostname") or "" for entry in ingress]
        return ",".join([*found, *addresses]) or "<pending>"
    return ",".join(addresses) or _NONE


def _pod_row(value: Json, now: datetime) -> Row:
    spec, status = value["spec"], value.get("status") or {}
    containers = spec.get("containers") or ()
    conditions = {entry["type"]: entry["status"] for entry in status.get("conditions") or ()}
    states = status.get("containerStatuses") or ()
    ready = sum(1 for state in states if state.get("ready"))
    if not states and conditions.get("Ready") == "True":
        # Pods without an agent that reports containers: the lab's.
        ready = len(containers)
    reason = status.get("reason") or status.get("phase") or _UNKNOWN
    if value["metadata"].get("deletionTimestamp"):
        reason = "Terminating"
    gates = spec.get("readinessGates") or ()
    passed = sum(1 for gate in gates if conditions.get(gate.get("conditionType")) == "True")
    return [
        value["metadata"]["name"],
        f"{ready}/{len(containers)}",
        reason,
        str(sum(state.get("restartCount") or 0 for state in states)),
        _created(value, now),
        status.get("podIP") or _NONE,
        spec.get("nodeName") or _NONE,
        status.get("nominatedNodeName") or _NONE,
        f"{passed}/{len(gates)}" if gates else _NONE,
    ]


def _node_row(value: Json, now: datetime) -> Row:
    metadata, spec, status = value["metadata"], value.get("spec") or {}, value.get("status") or {}
    conditions = {entry["type"]: entry["status"] for entry in status.get("conditions") or ()}
    words = (
        ["Ready" if conditions["Ready"] == "True" else "NotReady"] if "Ready" in conditions else ["Unknown"]
    )
    if spec.get("unschedulable"):
        words.append("SchedulingDisabled")
    labels = metadata.get("labels") or {}
    roles = sorted(name.removeprefix(_ROLE_LABEL) for name in labels if name.startswith(_ROLE_LABEL))
    addresses = {entry["type"]: entry["address"] for entry in reversed(status.get("addresses") or ())}
    info = status.get("nodeInfo") or {}
    return [
        metadata["name"],
        ",".join(words),
        ",".join(filter(None, roles)) or _NONE,
        _created(value, now),
        info.get("kubeletVersion", ""),
        addresses.get("InternalIP", _NONE),
        addresses.get("ExternalIP", _NONE),
        info.get("osImage") or _UNKNOWN,
        info.get("kernelVersion") or _UNKNOWN,
        info.get("containerRuntimeVersion") or _UNKNOWN,
    ]


def _namespace_row(value: Json, now: datetime) -> Row:
    return [value["metadata"]["name"], value["status"]["phase"], _created(value, now)]


def _slice_row(value: Json, now: datetime) -> Row:
    ports = [str(port.get("port") or "*") for port in value.get("ports") or ()]
    addresses = [text for entry in value.get("endpoints") or () for text in entry.get("addresses") or ()]
    return [
        value["metadata"]["name"],
        value.get("addressType", ""),
        _some(ports) if value.get("ports") else "<unset>",
        _some(addresses) if addresses else "<unset>",
        _created(value, now),
    ]


def _endpoints_row(value: Json, now: datetime) -> Row:
    found = [
        _endpoint(address["ip"], port)
        for subset in value.get("subsets") or ()
        for port in subset.get("ports") or (None,)
        for address in subset.get("addresses") or ()
    ]
    return [value["metadata"]["name"], _some(found) if found else _NONE, _created(value, now)]


def _endpoint(ip: str, port: Json | None) -> str:
    # A headless Service may have no ports.
    if port is None:
        return ip
    return f"[{ip}]:{port['port']}" if ":" in ip else f"{ip}:{port['port']}"


def _some(texts: list[str]) -> str:
    more = len(texts) - _MANY_ENDPOINTS
    return ",".join(texts[:_MANY_ENDPOINTS]) + (f" + {more} more..." if more > 0 else "")


def _lease_row(value: Json, now: datetime) -> Row:
    holder = (value.get("spec") or {}).get("holderIdentity") or ""
    return [value["metadata"]["name"], holder, _created(value, now)]


def _config_map_row(value: Json, now: datetime) -> Row:
    count = len(value.get("data") or {}) + len(value.get("binaryData") or {})
    return [value["metadata"]["name"], str(count), _created(value, now)]


def _service_cidr_row(value: Json, now: datetime) -> Row:
    cidrs = (value.get("spec") or {}).get("cidrs") or ()
    return [value["metadata"]["name"], ",".join(cidrs), _created(value, now)]


def _event_row(value: Json, now: datetime) -> Row:
    about, source = value.get("involvedObject") or {}, value.get("source") or {}
    first = value.get("firstTimestamp") or value.get("eventTime")
    last = value.get("lastTimestamp") or first
    component = source.get("component") or value.get("reportingComponent") or ""
    host = source.get("host") or value.get("reportingInstance") or ""
    return [
        _age(last, now),
        value.get("type", ""),
        value.get("reason", ""),
        f"{about.get('kind', '').lower()}/{about.get('name', '')}",
        str(value.get("message", "")).strip(),
        about.get("fieldPath", ""),
        ", ".join(filter(None, (component, host))),
        _age(first, now),
        str(value.get("count") or 1),
        value["metadata"]["name"],
    ]


_PRINTERS: dict[str, tuple[tuple[Column, ...], Callable[[Json, datetime], Row]]] = {
    SERVICES.qualified: (
        _columns("Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", wide=("Selector",)),
        _service_row,
    ),
    PODS.qualified: (
        _columns(
            *("Name", "Ready", "Status", "Restarts", "Age"),
            wide=("IP", "Node", "Nominated Node", "Readiness Gates"),
        ),
        _pod_row,
    ),
    NODES.qualified: (
        _columns(
            *("Name", "Status", "Roles", "Age", "Version"),
            wide=("Internal-IP", "External-IP", "OS-Image", "Kernel-Version", "Container-Runtime"),
        ),
        _node_row,
    ),
    NAMESPACES.qualified: (_columns("Name", "Status", "Age"), _namespace_row),
    ENDPOINT_SLICES.qualified: (_columns("Name", "AddressType", "Ports", "Endpoints", "Age"), _slice_row),
    ENDPOINTS.qualified: (_columns("Name", "Endpoints", "Age"), _endpoints_row),
    LEASES.qualified: (_columns("Name", "Holder", "Age"), _lease_row),
    CONFIG_MAPS.qualified: (_columns("Name", "Data", "Age"), _config_map_row),
    SERVICE_CIDRS.qualified: (_columns("Name", "CIDRs", "Age"), _service_cidr_row),
    EVENTS.qualified: (
        _columns(
            *("Last Seen", "Type", "Reason", "Object", "Message"),
            wide=("Subobject", "Source", "First Seen", "Count", "Name"),
        ),
        _event_row,
    ),
}
