"""What kubeproxy tells people through the API server: upstream's events, under upstream's names."""

from collections.abc import Callable

from kubeproxy.health.service_health import CheckKey
from nodeplane.kube.event import EventAbout

Tell = Callable[[EventAbout], None]


def nobody(_event: EventAbout) -> None:
    """Tell nobody: the source is no API server."""


def refused_health_check(node_name: str, key: CheckKey, port: int, error: str) -> EventAbout:
    """Say that a Service's healthCheckNodePort can't be listened on (upstream: pkg/proxy/healthcheck)."""
    namespace, name, _ = key
    message = f'node {node_name} failed to start healthcheck "{namespace}/{name}" on port {port}: {error}'
    return EventAbout("Service", namespace, name, "Warning", "FailedToStartServiceHealthcheck", message)


def starting(node_name: str) -> EventAbout:
    """Say that the program begins (upstream: cmd/kube-proxy)."""
    return EventAbout("Node", "", node_name, "Normal", "Starting", "Starting kubeproxy.")
