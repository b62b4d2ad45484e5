"""The kinds that the server knows, and what distinguishes them: one table that everything else reads."""

from typing import Any

import msgspec


class Resource(msgspec.Struct, frozen=True):
    """One kind as the API offers it.

    Attributes:
        plural: The word in URLs, e.g. `services`.
        has_status: Status is written through `/status` alone.
        has_generation: `metadata.generation` counts changes of what is neither metadata nor status.
        fields: Field selectors besides name and namespace: the field's path, and what its absence means.
        is_view: Computed from other kinds, never written: it can be read and listed.
        zero: What an empty object of the kind looks like on the wire (bookmarks), beyond its metadata.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    has_status: bool = False
    has_generation: bool = False
    has_collection_delete: bool = True
    is_view: bool = False
    fields: dict[str, str] = {}
    zero: dict[str, Any] = {}

    @property
    def api_version(self) -> str:
        """The `apiVersion` of the kind."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """The plural with its group, as messages and keys name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def head(self) -> bytes:
        """The beginning of every object on the wire: its type."""
        return f'{{"kind":"{self.kind}","apiVersion":"{self.api_version}",'.encode()


NAMESPACES = Resource(
    "",
    "v1",
    "namespaces",
    "Namespace",
    namespaced=False,
    short_names=("ns",),
    has_status=True,
    has_collection_delete=False,
    fields={"status.phase": ""},
    zero={"spec": {}, "status": {}},
)
NODES = Resource(
    "",
    "v1",
    "nodes",
    "Node",
    namespaced=False,
    short_names=("no",),
    has_status=True,
    fields={"spec.unschedulable": "false"},
    zero={"spec": {}, "status": {}},
)
PODS = Resource(
    "",
    "v1",
    "pods",
    "Pod",
    short_names=("po",),
    categories=("all",),
    has_status=True,
    has_generation=True,
    fields={
        "spec.nodeName": "",
        "spec.restartPolicy": "",
        "spec.schedulerName": "",
        "spec.serviceAccountName": "",
        "spec.hostNetwork": "false",
        "status.phase": "",
        "status.podIP": "",
        "status.nominatedNodeName": "",
    },
    zero={"spec": {"containers": None}, "status": {}},
)
SERVICES = Resource(
    "",
    "v1",
    "services",
    "Service",
    short_names=("svc",),
    categories=("all",),
    has_status=True,
    fields={"spec.clusterIP": "", "spec.type": ""},
    zero={"spec": {}, "status": {"loadBalancer": {}}},
)
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap", short_names=("cm",))
EVENTS = Resource(
    "",
    "v1",
    "events",
    "Event",
    short_names=("ev",),
    fields={
        **{
            f"involvedObject.{name}": ""
            for name in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
        },
        "reason": "",
        "type": "",
        "reportingComponent": "",
    },
    zero={"involvedObject": {}, "source": {}},
)
ENDPOINT_SLICES = Resource(
    "discovery.k8s.io",
    "v1",
    "endpointslices",
    "EndpointSlice",
    has_generation=True,
    zero={"addressType": "", "endpoints": None, "ports": None},
)
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease", zero={"spec": {}})
SERVICE_CIDRS = Resource(
    "networking.k8s.io",
    "v1",
    "servicecidrs",
    "ServiceCIDR",
    namespaced=False,
    has_status=True,
    zero={"spec": {}, "status": {}},
)

RESOURCES = (NAMESPACES, NODES, PODS, SERVICES, CONFIG_MAPS, EVENTS, ENDPOINT_SLICES, LEASES, SERVICE_CIDRS)
"""The kinds that are stored."""

ENDPOINTS = Resource("", "v1", "endpoints", "Endpoints", short_names=("ep",), is_view=True)
SERVED = (*RESOURCES, ENDPOINTS)

BY_PATH = {(resource.group, resource.version, resource.plural): resource for resource in SERVED}
BY_NAME = {resource.qualified: resource for resource in RESOURCES}
