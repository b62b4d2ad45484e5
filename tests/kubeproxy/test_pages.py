"""The pages, as values: what stands in them."""

import json

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from kubeproxy.config.complete import complete
from kubeproxy.config.model import KubeProxyConfiguration
from kubeproxy.health.proxy_health import FamilyHealth, Health, ProxyHealth
from kubeproxy.metrics import Metrics
from kubeproxy.pages import (
    Moment,
    build_health_pages,
    build_metrics_pages,
    render_configz,
    render_flagz,
    render_health,
    render_statusz,
)
from nodeplane.runtime.http import Request

# 1,000 s on the steady clock is 2026-01-01T00:00:00Z.
NOW = Moment(1_767_225_600.0, 1000.0)
TODAY, BEFORE, NEVER = "2026-01-01T00:00:00Z", "2025-12-31T23:59:30Z", "0001-01-01T00:00:00Z"
UP, DOWN, NEW = FamilyHealth(True, 970.0), FamilyHealth(False, 970.0), FamilyHealth(True, None)


def family(time: str, healthy: bool) -> dict[str, object]:
    return {"lastUpdated": time, "healthy": healthy}


@pytest.mark.parametrize(
    ("health", "asks_for_node", "status", "expected"),
    [
        pytest.param(
            Health(True, {"ip": UP, "ip6": UP}),
            True,
            200,
            {"lastUpdated": TODAY, "healthy": True, "nodeEligible": True,
             "status": {"IPv4": family(BEFORE, True), "IPv6": family(BEFORE, True)}},
            id="healthz, well",
        ),
        pytest.param(
            Health(True, {"ip": UP}),
            False,
            200,
            {"lastUpdated": TODAY, "healthy": True, "status": {"IPv4": family(BEFORE, True)}},
            id="livez, well",
        ),
        pytest.param(
            Health(False, {"ip": UP}),
            True,
            503,
            {"lastUpdated": BEFORE, "healthy": False, "nodeEligible": False,
             "status": {"IPv4": family(BEFORE, True)}},
            id="healthz, node is going",
        ),
        pytest.param(
            Health(False, {"ip": UP}),
            False,
            200,
            {"lastUpdated": TODAY, "healthy": True, "status": {"IPv4": family(BEFORE, True)}},
            id="livez, node is going",
        ),
        pytest.param(
            Health(True, {"ip": UP, "ip6": DOWN}),
            False,
            503,
            {"lastUpdated": BEFORE, "healthy": False,
             "status": {"IPv4": family(BEFORE, True), "IPv6": family(BEFORE, False)}},
            id="livez, one family behind",
        ),
        pytest.param(
            Health(False, {"ip": NEW}),
            True,
            503,
            {"lastUpdated": NEVER, "healthy": False, "nodeEligible": False,
             "status": {"IPv4": family(NEVER, True)}},
            id="never synced",
        ),
    ],
)  # fmt: skip
def test_health(health: Health, asks_for_node: bool, status: int, expected: dict[str, object]) -> None:
    """Fields and codes are upstream's."""
    response = render_health(health, NOW, asks_for_node=asks_for_node)

    assert (response.status, response.content_type) == (status, "application/json")
    assert response.headers == (("X-Content-Type-Options", "nosniff"),)
    assert json.loads(response.body) == {"currentTime": TODAY} | expected


def test_configz() -> None:
    """The configuration under upstream's name, to be read back."""
    config = complete(KubeProxyConfiguration(cluster_cidr="10.0.0.0/8"))
    page = json.loads(render_configz(config))

    assert list(page) == ["kubeproxy.config.k8s.io"]
    assert msgspec.convert(page["kubeproxy.config.k8s.io"], KubeProxyConfiguration) == config


def test_text_pages() -> None:
    """Lines that a person can read."""
    statusz = render_statusz(1_767_225_600, 1_767_225_600 + 100 * 3600 + 61, ("/a", "/b"))
    flagz = render_flagz({"--node-name": "n1", "--cluster-cidr": "10.0.0.0/8"})

    assert "Started: Thu Jan  1 00:00:00 UTC 2026\nUp: 100 hr 01 min 01 sec\n" in statusz
    assert statusz.endswith("Paths: /a /b\n")
    assert flagz.startswith("\nkubeproxy flagz\nWarning: ")
    assert flagz.endswith("\n\ncluster-cidr=10.0.0.0/8\nnode-name=n1\n")


def test_pages() -> None:
    """All pages answer; what the health server answers is counted."""
    health, metrics = ProxyHealth(("ip", "ip6"), 60), Metrics()
    metrics.observe(lambda: ())
    served = build_health_pages(health, metrics)
    pages = build_metrics_pages(health, metrics, complete(KubeProxyConfiguration()), {})
    health.is_eligible = False
    codes = {path: handler(Request(path)).status for path, handler in (pages | served).items()}
    text = pages["/metrics"](Request("/metrics")).body.decode()
    counted = {
        (sample.name, sample.labels["code"]): sample.value
        for metric in text_string_to_metric_families(text)
        for sample in metric.samples
        if "code" in sample.labels
    }

    assert codes == dict.fromkeys(
        ("/configz", "/flagz", "/livez", "/metrics", "/proxyMode", "/statusz"), 200
    ) | {"/healthz": 503}
    assert pages["/proxyMode"](Request("/proxyMode")).body == b"nftables"
    assert counted == {
        ("kubeproxy_proxy_healthz_total", "200"): 0,
        ("kubeproxy_proxy_healthz_total", "503"): 1,
        ("kubeproxy_proxy_livez_total", "200"): 1,
        ("kubeproxy_proxy_livez_total", "503"): 0,
    }
