"""Which addresses of Services a node announces by themselves."""

from ipaddress import ip_network
from typing import Any

import pytest

from cni.bgp.config import ServiceRanges
from cni.bgp.service_routes import ServiceRoutes, build_local_routes
from nodeplane.kube.objects import Endpoint, EndpointConditions, EndpointSlice, Metadata, Service
from nodeplane.kube.objects.endpoint_slice import SERVICE_NAME_LABEL
from nodeplane.kube.objects.service import (
    LoadBalancerIngress,
    LoadBalancerStatus,
    ServiceSpec,
    ServiceStatus,
)
from nodeplane.kube.source import Change

RANGES = ServiceRanges(
    cluster_ips=(ip_network("10.96.0.0/16"), ip_network("fd00:96::/112")),
    external_ips=(ip_network("203.0.113.0/24"),),
    load_balancer_ips=(ip_network("198.51.100.0/24"),),
)
ALL = {"10.96.0.9/32", "fd00:96::9/128", "203.0.113.7/32", "198.51.100.7/32"}
LOCAL = {"external_traffic_policy": "Local"}


def make_service(ip_mode: str | None = None, **spec: Any) -> Service:
    fields = {
        "cluster_ip": "10.96.0.9",
        "raw_cluster_ips": ("10.96.0.9", "fd00:96::9"),
        "raw_external_ips": ("203.0.113.7", "192.0.2.1"),
        **spec,
    }
    ingress = LoadBalancerIngress(ip="198.51.100.7", ip_mode=ip_mode)
    by_name = LoadBalancerIngress(hostname="lb.example.org")
    return Service(
        metadata=Metadata("web", "default"),
        spec=ServiceSpec(**fields),
        status=ServiceStatus(LoadBalancerStatus((by_name, ingress))),
    )


def make_slice(*endpoints: tuple[str, bool | None], name: str = "web-1") -> EndpointSlice:
    return EndpointSlice(
        metadata=Metadata(name, "default", labels={SERVICE_NAME_LABEL: "web"}),
        address_type="IPv4",
        raw_endpoints=tuple(
            Endpoint(("10.244.1.5",), EndpointConditions(ready=ready), node_name=node)
            for node, ready in endpoints
        ),
    )


HERE = make_slice(("n1", True))


@pytest.mark.parametrize(
    ("service", "slices", "wanted"),
    [
        pytest.param(make_service(), [HERE], set(), id="policy Cluster"),
        pytest.param(make_service(**LOCAL), [HERE], ALL, id="Local, ready here"),
        pytest.param(make_service(**LOCAL), [make_slice(("n1", None))], ALL, id="no condition is ready"),
        pytest.param(make_service(**LOCAL), [make_slice(("n1", False))], set(), id="not ready"),
        pytest.param(make_service(**LOCAL), [make_slice(("n2", True))], set(), id="elsewhere"),
        pytest.param(make_service(**LOCAL), [], set(), id="no slices"),
        pytest.param(make_service(**LOCAL), [make_slice(("n2", True)), HERE], ALL, id="in the second slice"),
        pytest.param(
            make_service(internal_traffic_policy="Local"),
            [HERE],
            {"10.96.0.9/32", "fd00:96::9/128"},
            id="internal policy: ClusterIPs",
        ),
        pytest.param(
            make_service(cluster_ip="None", raw_cluster_ips=("None",), **LOCAL),
            [HERE],
            {"203.0.113.7/32", "198.51.100.7/32"},
            id="headless",
        ),
        pytest.param(
            make_service(
                external_traffic_policy="Local", raw_external_ips=("203.0.113.007", "203.0.113.7", "x")
            ),
            [HERE],
            ALL,
            id="forms of addresses that an API server takes and Python does not",
        ),
        pytest.param(make_service("Proxy", **LOCAL), [HERE], ALL - {"198.51.100.7/32"}, id="ipMode Proxy"),
        pytest.param(make_service("VIP", **LOCAL), [HERE], ALL, id="ipMode VIP"),
    ],
)
def test_local_routes(service: Service, slices: list[EndpointSlice], wanted: set[str]) -> None:
    """Addresses inside the configured ranges, for policies that need a ready endpoint here."""
    assert {str(network) for network in build_local_routes(RANGES, service, slices, "n1")} == wanted


def test_changes() -> None:
    """Only what changes what is announced is a change; a Service that goes takes its addresses along."""
    routes = ServiceRoutes("n1", RANGES)
    web = make_service(**LOCAL)
    other = make_slice(("n2", True))
    steps = [
        ((Change(web.key, None, web),), True, set()),
        ((Change(other.key, None, other),), False, set()),
        ((Change(HERE.key, other, HERE),), True, ALL),
        ((Change(HERE.key, HERE, make_slice(("n1", True), ("n2", True))),), False, ALL),
        ((Change(web.key, web, None),), True, set()),
        ((Change(HERE.key, make_slice(("n1", True), ("n2", True)), None),), False, set()),
    ]
    assert not routes.is_complete
    for batch, has_changed, wanted in steps:
        assert routes.apply(batch) is has_changed
        assert {str(network) for network in routes.local} == wanted
    assert routes.is_complete
