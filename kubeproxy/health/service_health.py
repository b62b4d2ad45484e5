"""Health checks of Services: whether a load balancer should send a Service's traffic to this node.

With `externalTrafficPolicy: Local` a node without a ready endpoint of its own drops it, so load balancers ask
each node on the Service's healthCheckNodePort (k/k pkg/proxy/healthcheck/service_health.go).
"""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import msgspec

from kubeproxy.desired.endpoints import DecodedSlice
from kubeproxy.desired.service_port import FamilyView, is_ours
from kubeproxy.health.proxy_health import FAMILY_NAMES
from nodeplane.datapath.nft.expr import ADDRESS_BYTES, Family
from nodeplane.kube.objects import Service

CheckKey: TypeAlias = tuple[str, str, Family]
"""Namespace and name of a Service, and the family: each counts its own endpoints."""


class HealthCheck(msgspec.Struct, frozen=True, gc=False):
    """A port to answer on, and how many ready endpoints of the Service are on this node."""

    port: int
    local_endpoints: int


class HealthChecks:
    """The health checks of all Services that have one; `version` grows with each change."""

    def __init__(self) -> None:
        self._checks: dict[CheckKey, HealthCheck] = {}
        self.version = 0

    @property
    def checks(self) -> Mapping[CheckKey, HealthCheck]:
        """The health checks now."""
        return self._checks

    def set_service(
        self, name: tuple[str, str], service: Service | None, slices: Iterable[DecodedSlice], view: FamilyView
    ) -> None:
        """Put a Service's health check of one family in place of the one before."""
        key = (*name, view.family)
        check = build_health_check(service, slices, view)
        if self._checks.get(key) == check:
            return
        self.version += 1
        if check is None:
            del self._checks[key]
        else:
            self._checks[key] = check


def build_health_check(
    service: Service | None, slices: Iterable[DecodedSlice], view: FamilyView
) -> HealthCheck | None:
    """Count the endpoints that are ready on this node, by address; None for a Service that has no check."""
    if service is None or not service.spec.health_check_node_port or not is_ours(service):
        return None
    spec = service.spec
    is_of_family = any((":" in address) == (view.family == "ip6") for address in spec.cluster_ips)
    if spec.type != "LoadBalancer" or spec.external_traffic_policy != "Local" or not is_of_family:
        return None
    length = ADDRESS_BYTES[view.family]
    ready = {
        endpoint[:length]
        for piece in slices
        if piece.address_type == FAMILY_NAMES[view.family]
        for backends in piece.backends.values()
        for endpoint, backend in backends.items()
        if backend.is_ready and backend.node == view.place.node
    }
    return HealthCheck(service.spec.health_check_node_port or 0, len(ready))
