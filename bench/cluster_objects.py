"""The clusters that are measured: objects as Kubernetes 1.36 writes them, as JSON values.

Service number N has a cluster IP of its own and, unless told otherwise, four endpoints of its own.
"""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, ip_address
from typing import Any, NamedTuple

ENDPOINTS = 4
SLICE_ENDPOINTS = 100
"""What the endpoint slice controller puts into one slice at most (--max-endpoints-per-slice)."""
PORT, TARGET_PORT = 80, 8080
STAMP = "bench/sent-at"
"""The annotation in which a slice says when it was sent."""

# The first addresses of the range are the API server's own.
_FIRST_CLUSTER_IP = IPv4Address("10.96.1.0")
_FIRST_ENDPOINT = IPv4Address("10.128.0.0")
_LARGE_FIRST_ENDPOINT = IPv4Address("10.192.0.0")

Json = dict[str, Any]


def cluster_ip(number: int) -> str:
    """Return the address of the Service of that number."""
    return str(_FIRST_CLUSTER_IP + number)


def endpoint_ips(number: int, count: int = ENDPOINTS) -> list[str]:
    """Return the addresses of its endpoints: eight belong to each Service."""
    first = _FIRST_ENDPOINT + number * 8 if count <= 8 else _LARGE_FIRST_ENDPOINT
    return [str(first + index) for index in range(count)]


def namespace_name(number: int) -> str:
    """Return the namespace of the Service of that number."""
    return f"team-{number % 50}"


def managed_fields(manager: str, fields: Json) -> list[Json]:
    """Build the bookkeeping that an API server adds to each object."""
    return [
        {
            "manager": manager,
            "operation": "Update",
            "apiVersion": "v1",
            "time": "2026-11-21T00:56:01Z",
            "fieldsType": "FieldsV1",
            "fieldsV1": fields,
        }
    ]


def service(number: int, address: str = "") -> Json:
    """Build the Service of that number, as a list holds it."""
    address = address or cluster_ip(number)
    ports: Json = {
        ".": {},
        'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:name": {}, "f:port": {}, "f:protocol": {}},
    }
    spec = {"f:internalTrafficPolicy": {}, "f:ports": ports, "f:selector": {}, "f:type": {}}
    return {
        "metadata": {
            "name": f"service-{number}",
            "namespace": namespace_name(number),
            "uid": f"0b68f3a6-073b-4152-9dcb-{number:012d}",
            "resourceVersion": str(100_000 + number),
            "creationTimestamp": "2026-11-21T00:56:01Z",
            "labels": {"app": f"service-{number}", "app.kubernetes.io/managed-by": "Helm"},
            "managedFields": managed_fields("helm", {"f:metadata": {"f:labels": {".": {}}}, "f:spec": spec}),
        },
        "spec": {
            "ports": [{"name": "http", "protocol": "TCP", "port": PORT, "targetPort": TARGET_PORT}],
            "selector": {"app": f"service-{number}"},
            "clusterIP": address,
            "clusterIPs": [address],
            "type": "ClusterIP",
            "sessionAffinity": "None",
            "ipFamilies": [f"IPv{ip_address(address).version}"],
            "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster",
        },
        "status": {"loadBalancer": {}},
    }


def endpoint(number: int, index: int, address: str) -> Json:
    """Build one endpoint of the Service of that number."""
    return {
        "addresses": [address],
        "conditions": {"ready": True, "serving": True, "terminating": False},
        "targetRef": {
            "kind": "Pod",
            "namespace": namespace_name(number),
            "name": f"service-{number}-7d9c6b5f4-{index:05d}",
            "uid": f"5c8d0f3e-1111-4d83-{index:04d}-{number:012d}",
        },
        "nodeName": f"node-{(number + index) % 100}",
        "zone": f"zone-{index % 3}",
    }


def endpoint_slice(
    number: int, addresses: Sequence[str] | None = None, *, part: int = 0, stamp: str = "never"
) -> Json:
    """Build a slice of the Service of that number; `part` tells its slices apart."""
    name = f"service-{number}"
    chosen = endpoint_ips(number) if addresses is None else addresses
    family = ip_address(chosen[0]).version if chosen else 4
    owner = {
        "apiVersion": "v1",
        "kind": "Service",
        "name": name,
        "uid": f"0b68f3a6-073b-4152-9dcb-{number:012d}",
    }
    return {
        "metadata": {
            "name": slice_name(number, part),
            "generateName": f"{name}-",
            "namespace": namespace_name(number),
            "uid": f"70dfc3ed-9a58-4d83-{9620 + part:04d}-{number:012d}",
            "resourceVersion": str(200_000 + number),
            "generation": 3,
            "creationTimestamp": "2026-11-21T00:56:56Z",
            "labels": {
                "app": name,
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                "kubernetes.io/service-name": name,
            },
            "annotations": {STAMP: stamp},
            "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
            "managedFields": managed_fields(
                "kube-controller-manager",
                {
                    "f:addressType": {},
                    "f:endpoints": {},
                    "f:metadata": {"f:labels": {".": {}}},
                    "f:ports": {},
                },
            ),
        },
        "addressType": f"IPv{family}",
        "endpoints": [
            endpoint(number, part * SLICE_ENDPOINTS + index, each) for index, each in enumerate(chosen)
        ],
        "ports": [{"name": "http", "protocol": "TCP", "port": TARGET_PORT}],
    }


def slice_name(number: int, part: int = 0) -> str:
    """Return the name of a slice of the Service of that number."""
    return f"service-{number}-jbhv{part}"


def endpoint_slices(number: int, count: int) -> Iterator[Json]:
    """Yield the slices of a Service with so many endpoints."""
    addresses = endpoint_ips(number, count)
    for part, start in enumerate(range(0, count, SLICE_ENDPOINTS)):
        yield endpoint_slice(number, addresses[start : start + SLICE_ENDPOINTS], part=part)


class Cluster(NamedTuple):
    """Services and slices as JSON values."""

    services: list[Json]
    slices: list[Json]


def build_cluster(services: int, endpoints: int = ENDPOINTS) -> Cluster:
    """Build a cluster of so many services, each with so many endpoints."""
    numbers = range(services)
    return Cluster(
        [service(number) for number in numbers],
        [piece for number in numbers for piece in endpoint_slices(number, endpoints)],
    )
