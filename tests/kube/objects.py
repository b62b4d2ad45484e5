"""Objects in one line each, and as manifests."""

import json

import msgspec

from nodeplane.kube.objects import (
    API_VERSIONS,
    SERVICE_NAME_LABEL,
    Endpoint,
    EndpointSlice,
    Metadata,
    Namespace,
    Object,
    ObjectKey,
    Service,
    ServicePort,
    ServiceSpec,
)


def service(name: str, port: int = 80, namespace: str = "default") -> Service:
    """Build a Service of one port."""
    return Service(Metadata(name, namespace), ServiceSpec(raw_ports=(ServicePort(port),)))


def endpoint_slice(name: str, of: str, *addresses: str, namespace: str = "default") -> EndpointSlice:
    """Build an IPv4 slice; without a Service it carries no label."""
    metadata = Metadata(name, namespace, labels={SERVICE_NAME_LABEL: of} if of else None)
    return EndpointSlice(metadata, "IPv4", tuple(Endpoint((address,)) for address in addresses) or None)


def namespace(name: str) -> Namespace:
    """Build a Namespace."""
    return Namespace(Metadata(name))


def keyed(*items: Object) -> dict[ObjectKey, Object]:
    """Return objects by key."""
    return {item.key: item for item in items}


def manifest(*items: Object) -> str:
    """Render objects as a file of one document each."""
    texts = (
        json.dumps(
            {
                "apiVersion": API_VERSIONS[type(item)],
                "kind": type(item).__name__,
                **msgspec.to_builtins(item),
            }
        )
        for item in items
    )
    return "".join(f"---\n{text}\n" for text in texts)
