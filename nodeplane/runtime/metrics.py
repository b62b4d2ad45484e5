"""Metrics as Prometheus reads them: a program's registry, and the page that it is read from."""

from prometheus_client import (
    CollectorRegistry,
    Gauge,
    ProcessCollector,
    disable_created_metrics,
    exposition,
)

from nodeplane.runtime.page import Request, Response
from nodeplane.runtime.version import build_labels


def create_registry() -> CollectorRegistry:
    """Return a registry that has the process's own figures and the build in it."""
    # Twice the series for the time that each began, which upstream has not.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry(auto_describe=True)
    ProcessCollector(registry=registry)
    labels = build_labels()
    build = Gauge("nodeplane_build_info", "The build, always 1", list(labels), registry=registry)
    build.labels(**labels).set(1)
    return registry


def show_metrics(registry: CollectorRegistry, request: Request) -> Response:
    """Answer a scrape in the format that the scraper prefers."""
    encode, content_type = exposition.choose_encoder(request.headers.get("accept", ""))
    return Response(encode(registry), content_type=content_type)
