"""The metrics: upstream's names and labels, and what is counted."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kubeproxy.family_proxier import FamilyProxier
from kubeproxy.metrics import Metrics, count_without_local
from kubeproxy.proxier import Proxier, SyncReport
from kubeproxy.rules.layout import SLOTS
from nodeplane.datapath.nft.fake import FakeTable
from nodeplane.kube.objects import Service
from nodeplane.runtime.http import Request
from nodeplane.runtime.metrics import show_metrics
from tests.kubeproxy.objects import additions, endpoint, endpoint_slice, node, service

UPSTREAM = {
    "kubeproxy_sync_proxy_rules_duration_seconds": ("histogram", {"ip_family"}),
    "kubeproxy_sync_full_proxy_rules_duration_seconds": ("histogram", {"ip_family"}),
    "kubeproxy_sync_partial_proxy_rules_duration_seconds": ("histogram", {"ip_family"}),
    "kubeproxy_sync_proxy_rules_last_timestamp_seconds": ("gauge", {"ip_family"}),
    "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds": ("gauge", {"ip_family"}),
    "kubeproxy_network_programming_duration_seconds": ("histogram", {"ip_family"}),
    "kubeproxy_sync_proxy_rules_endpoint_changes_pending": ("gauge", set()),
    "kubeproxy_sync_proxy_rules_endpoint_changes": ("counter", set()),
    "kubeproxy_sync_proxy_rules_service_changes_pending": ("gauge", set()),
    "kubeproxy_sync_proxy_rules_service_changes": ("counter", set()),
    "kubeproxy_sync_proxy_rules_nftables_sync_failures": ("counter", {"ip_family"}),
    "kubeproxy_sync_proxy_rules_nftables_cleanup_failures": ("counter", {"ip_family"}),
    "kubeproxy_proxy_healthz": ("counter", {"code"}),
    "kubeproxy_proxy_livez": ("counter", {"code"}),
    "kubeproxy_sync_proxy_rules_no_local_endpoints_total": ("gauge", {"ip_family", "traffic_policy"}),
    "kubeproxy_conntrack_reconciler_sync_duration_seconds": ("histogram", {"ip_family"}),
    "kubeproxy_conntrack_reconciler_deleted_entries": ("counter", {"ip_family"}),
}

Sample = tuple[str, tuple[str, ...]]


def scrape(metrics: Metrics) -> dict[Sample, float]:
    text = show_metrics(metrics.registry, Request("/metrics")).body.decode()
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for metric in text_string_to_metric_families(text)
        for sample in metric.samples
    }


def proxier() -> Proxier:
    return Proxier("n1", [FamilyProxier("ip", FakeTable())])


def test_names_and_labels() -> None:
    """Dashboards that know upstream's find them."""
    metrics, found = Metrics(), proxier()
    metrics.observe(lambda: found.families)
    text = show_metrics(metrics.registry, Request("/metrics")).body.decode()
    shown = {
        metric.name: (
            metric.type,
            {label for sample in metric.samples for label in sample.labels} - {"le"},
        )
        for metric in text_string_to_metric_families(text)
        if metric.name.startswith("kubeproxy_")
    }

    assert shown == UPSTREAM


def test_buckets() -> None:
    """The bounds are upstream's."""
    metrics = Metrics()
    metrics.observe(lambda: ())
    name = "kubeproxy_network_programming_duration_seconds_bucket"
    bounds = [labels[1] for sample, labels in scrape(metrics) if sample == name and labels[0] == "IPv4"]

    assert bounds[:4] == ["0.25", "0.5", "1.0", "2.0"]
    assert bounds[57:63] == ["56.0", "57.0", "58.0", "59.0", "60.0", "65.0"]
    assert bounds[-4:] == ["240.0", "270.0", "300.0", "+Inf"]
    name = "kubeproxy_sync_proxy_rules_duration_seconds_bucket"
    sync = [labels[1] for sample, labels in scrape(metrics) if sample == name]
    assert sync[:3] + sync[14:16] == ["0.001", "0.002", "0.004", "16.384", "+Inf"]


def test_changes_and_syncs() -> None:
    """What is taken is pending until it is synced."""
    metrics = Metrics()
    metrics.observe(lambda: ())
    batch = additions(service(), service("other"), endpoint_slice(), node())
    metrics.taken(batch, 1000.0)
    before = scrape(metrics)
    metrics.synced(SyncReport(1, 5, {"ip": 0.003}), [("ip", 998.0)], 1001.0, full=False)
    after = scrape(metrics)
    name = "kubeproxy_sync_proxy_rules_"

    assert [before[name + "service_changes_pending", ()], before[name + "endpoint_changes_pending", ()]] == [
        2,
        1,
    ]
    assert [after[name + "service_changes_pending", ()], after[name + "endpoint_changes_pending", ()]] == [
        0,
        0,
    ]
    assert [after[name + "service_changes_total", ()], after[name + "endpoint_changes_total", ()]] == [2, 1]
    assert after[name + "last_queued_timestamp_seconds", ("IPv4",)] == 1000.0
    assert after[name + "last_timestamp_seconds", ("IPv4",)] == 1001.0
    assert after[name + "duration_seconds_sum", ("IPv4",)] == 0.003
    assert after["kubeproxy_sync_partial_proxy_rules_duration_seconds_count", ("IPv4",)] == 1
    assert after["kubeproxy_sync_full_proxy_rules_duration_seconds_count", ("IPv4",)] == 0
    assert after["kubeproxy_network_programming_duration_seconds_sum", ("IPv4",)] == 3.0
    assert after["nodeplane_kubeproxy_source_changes_total", ("Node",)] == 1


def test_conntrack() -> None:
    """What the look for stale flows did."""
    metrics = Metrics()
    metrics.observe(lambda: ())
    metrics.conntrack_cleaned("ip6", 0.5, 3)
    found = scrape(metrics)

    assert found["kubeproxy_conntrack_reconciler_deleted_entries_total", ("IPv6",)] == 3
    assert found["kubeproxy_conntrack_reconciler_sync_duration_seconds_sum", ("IPv6",)] == 0.5


@pytest.mark.parametrize(
    ("found", "nodes", "expected"),
    [
        pytest.param(service(internal_traffic_policy="Local"), ("n2",), (1, 0), id="internal"),
        pytest.param(service(internal_traffic_policy="Local"), ("n1",), (0, 0), id="one here"),
        pytest.param(service(internal_traffic_policy="Local"), (), (0, 0), id="none at all"),
        pytest.param(service(), ("n2",), (0, 0), id="policy Cluster"),
        pytest.param(
            service(ingress=("192.0.2.9",), external_traffic_policy="Local"), ("n2",), (0, 1), id="external"
        ),
    ],
)
def test_no_local_endpoints(found: Service, nodes: tuple[str, ...], expected: tuple[int, int]) -> None:
    """Ports that drop, as their endpoints are all elsewhere."""
    holder = proxier()
    entries = (endpoint(f"10.244.0.{index}", node=name) for index, name in enumerate(nodes))
    holder.take(additions(found, endpoint_slice(*entries)))

    numbers = count_without_local(holder.families[0].desired.ports.values())

    assert (numbers["internal"], numbers["external"]) == expected


def test_elements() -> None:
    """How many elements each map has."""
    metrics, holder = Metrics(), proxier()
    metrics.observe(lambda: holder.families)
    holder.take(additions(service(), endpoint_slice(endpoint("10.244.0.1"))))

    assert scrape(metrics)["nodeplane_kubeproxy_elements", ("IPv4", SLOTS)] == 1
