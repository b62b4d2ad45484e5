"""The agent's pages: ready or not, well or not, and the figures."""

from collections.abc import Callable

import pytest

from cni.agent.pages import AgentHealth, AgentMetrics, build_health_pages, build_metrics_pages
from cni.routing.kernel import StepReport
from cni.routing.route_table import SyncReport
from nodeplane.runtime.http import Request
from nodeplane.runtime.metrics import create_registry


def fail(*times_s: float) -> Callable[[AgentHealth], None]:
    def step(health: AgentHealth) -> None:
        for time_s in times_s:
            health.failed(time_s)

    return step


def recover(health: AgentHealth) -> None:
    health.failed(10.0)
    health.succeeded()


@pytest.mark.parametrize(
    ("step", "now_s", "status", "body"),
    [
        pytest.param(fail(), 1000.0, 200, b"ok\n", id="begins"),
        pytest.param(fail(10.0), 100.0, 200, b"ok\n", id="fails for a moment"),
        pytest.param(fail(10.0, 140.0), 150.0, 503, b"syncs have failed for 140 s\n", id="fails for long"),
        pytest.param(recover, 1000.0, 200, b"ok\n", id="is well again"),
    ],
)
def test_healthz(step: Callable[[AgentHealth], None], now_s: float, status: int, body: bytes) -> None:
    health = AgentHealth()
    step(health)

    pages = build_health_pages(health, lambda: now_s)

    for path in ("/healthz", "/livez"):
        response = pages[path](Request(path))
        assert (response.status, response.body) == (status, body)


def test_readyz() -> None:
    health = AgentHealth()
    page = build_health_pages(health, lambda: 0.0)["/readyz"]
    answers = []
    for step, name in (
        ("wait_for", "routes"),
        ("wait_for", "plugin"),
        ("done", "routes"),
        ("done", "plugin"),
    ):
        getattr(health, step)(name)
        response = page(Request("/readyz"))
        answers.append((response.status, response.body))

    assert answers == [
        (503, b"waiting for routes\n"),
        (503, b"waiting for plugin, routes\n"),
        (503, b"waiting for plugin\n"),
        (200, b"ok\n"),
    ]


def test_metrics() -> None:
    health = AgentHealth()
    health.wait_for("routes")
    metrics = AgentMetrics(create_registry(), health)
    page = build_metrics_pages(metrics, {})["/metrics"]

    def figures() -> dict[str, str]:
        lines = page(Request("/metrics")).body.decode().splitlines()
        return dict(line.rsplit(" ", 1) for line in lines if line.startswith("nodeplane_agent_"))

    assert figures()["nodeplane_agent_ready"] == "0.0"
    health.done("routes")
    report = StepReport(SyncReport(3, 1, frozenset({"x"})), SyncReport(4, 2))
    metrics.count_sync(report, 7, 0.002)
    metrics.count_failure()

    after = figures()
    assert {name: value for name, value in after.items() if "bucket" not in name and "sum" not in name} == {
        "nodeplane_agent_ready": "1.0",
        "nodeplane_agent_route_sync_duration_seconds_count": "1.0",
        "nodeplane_agent_route_sync_failures_total": "1.0",
        'nodeplane_agent_route_changes_total{verb="written"}': "3.0",
        'nodeplane_agent_route_changes_total{verb="deleted"}': "1.0",
        'nodeplane_agent_tunnel_changes_total{verb="written"}': "4.0",
        'nodeplane_agent_tunnel_changes_total{verb="deleted"}': "2.0",
        "nodeplane_agent_routes": "7.0",
        "nodeplane_agent_routes_refused": "1.0",
    }
