"""EndpointSlice: the backends of a Service, their conditions and who should use them."""

from typing import Literal

import msgspec

from nodeplane.kube.objects.base import Object, Port, Protocol, Value

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
"""The label that ties an EndpointSlice to its Service (discovery.k8s.io/v1)."""


class EndpointConditions(Value, frozen=True):
    """The raw conditions; absent and null are the same."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class ObjectReference(Value, frozen=True):
    """What stands behind an endpoint, usually a Pod."""

    kind: str = ""
    namespace: str = ""
    name: str = ""


class Hint(Value, frozen=True):
    """A zone or a node that should use an endpoint."""

    name: str


class EndpointHints(Value, frozen=True):
    """Who should use an endpoint (KEP-2433, KEP-3015)."""

    for_zones: tuple[Hint, ...] | None = None
    for_nodes: tuple[Hint, ...] | None = None


class Endpoint(Value, frozen=True):
    """One backend of a slice; only `addresses[0]` counts (k/k pkg/apis/discovery)."""

    addresses: tuple[str, ...]
    conditions: EndpointConditions = EndpointConditions()
    node_name: str | None = None
    hostname: str | None = None
    zone: str | None = None
    target_ref: ObjectReference | None = None
    hints: EndpointHints | None = None

    @property
    def is_ready(self) -> bool:
        """Ready: an absent condition means yes."""
        return self.conditions.ready is not False

    @property
    def is_serving(self) -> bool:
        """Serving: an absent condition means the same as ready."""
        return self.is_ready if self.conditions.serving is None else self.conditions.serving

    @property
    def is_terminating(self) -> bool:
        """Terminating: an absent condition means no."""
        return self.conditions.terminating is True


class EndpointPort(Value, frozen=True):
    """One port of all endpoints of a slice; a null port means none is known."""

    name: str | None = None
    protocol: Protocol = "TCP"
    port: Port | None = None


class EndpointSlice(Object, frozen=True):
    """Some of the backends of one Service, of one address family (discovery.k8s.io/v1)."""

    address_type: Literal["IPv4", "IPv6", "FQDN"]
    raw_endpoints: tuple[Endpoint, ...] | None = msgspec.field(name="endpoints", default=None)
    raw_ports: tuple[EndpointPort, ...] | None = msgspec.field(name="ports", default=None)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints; the API server writes null for none."""
        return self.raw_endpoints or ()

    @property
    def ports(self) -> tuple[EndpointPort, ...]:
        """The ports; the API server writes null for none."""
        return self.raw_ports or ()

    @property
    def service_name(self) -> str:
        """The Service in the same namespace that this slice belongs to; empty if to none."""
        return self.labels.get(SERVICE_NAME_LABEL, "")
