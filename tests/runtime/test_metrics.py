"""The metrics page, read as Prometheus does."""

import os
from importlib.metadata import version

import pytest
from prometheus_client import Counter
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse_text

from nodeplane.runtime.http import Request
from nodeplane.runtime.metrics import create_registry, show_metrics
from nodeplane.runtime.version import NODEPLANE_VERSION


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        pytest.param("", "text/plain; version=1.0.0", id="any"),
        pytest.param(
            "application/openmetrics-text; version=1.0.0", "application/openmetrics-text", id="OpenMetrics"
        ),
    ],
)
def test_formats(accept: str, content_type: str) -> None:
    """Both of Prometheus' formats; no series beside the metric itself."""
    registry = create_registry()
    Counter("things_total", "Things", registry=registry).inc(3)
    response = show_metrics(registry, Request("/metrics", headers={"accept": accept}))
    parse = parse_open if "openmetrics" in response.content_type else parse_text
    samples = {sample.name: sample for family in parse(response.body.decode()) for sample in family.samples}

    assert response.content_type.partition(";")[0] == content_type.partition(";")[0]
    assert (samples["things_total"].value, "things_created" in samples) == (3, False)
    assert samples["nodeplane_build_info"].labels["version"] == NODEPLANE_VERSION
    assert samples["process_open_fds"].value <= os.sysconf("SC_OPEN_MAX")


def test_version_is_that_of_the_package() -> None:
    """It stands in two places."""
    assert version("nodeplane") == NODEPLANE_VERSION
