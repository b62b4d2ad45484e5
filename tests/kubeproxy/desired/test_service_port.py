"""Which Services are published, where, as what, and for whom."""

from ipaddress import ip_network
from typing import Any

import pytest

from kubeproxy.desired.annotations import Balancing
from kubeproxy.desired.endpoints import Place, Usable, decode_slice
from kubeproxy.desired.service_port import (
    PROXY_NAME_LABEL,
    FamilyView,
    PortName,
    ServicePort,
    build_service_ports,
)
from kubeproxy.rules.addresses import pack_address
from kubeproxy.rules.layout import decode_frontend, encode_frontend
from kubeproxy.rules.pool_value import Kind
from nodeplane.datapath.nft.expr import Family
from nodeplane.kube import objects as kube
from tests.kubeproxy.objects import DRAINING, at, endpoint, endpoint_slice, service

ONE, TWO, SIX = "10.244.0.1", "10.244.0.2", "fd00:1::1"
LB, LB6, EXTERNAL_IP = "192.0.2.1", "2001:db8::1", "203.0.113.1"
NODE_IP = "172.30.0.1"
NODE_PORT = (kube.ServicePort(port=80, name="http", node_port=30080),)
PLACE = Place("n1")


def build(
    item: kube.Service | None, *slices: kube.EndpointSlice, family: Family = "ip"
) -> tuple[ServicePort, ...]:
    node_ips = (pack_address(NODE_IP),) if family == "ip" else ()
    return build_service_ports(
        item, [decode_slice(each) for each in slices], FamilyView(family, PLACE, node_ips)
    )


def published(item: kube.Service, family: Family = "ip") -> dict[str, str]:
    (port,) = build(item, family=family)
    return {str(decode_frontend(each.key)): each.kind.name for each in port.publications}


@pytest.mark.parametrize(
    "item",
    [
        pytest.param(None, id="gone"),
        pytest.param(service("web", "None"), id="headless"),
        pytest.param(
            kube.Service(
                kube.Metadata("web", "default"), kube.ServiceSpec(type="ExternalName", external_name="x.y")
            ),
            id="ExternalName",
        ),
        pytest.param(kube.Service(kube.Metadata("web", "default")), id="no address yet"),
        pytest.param(service(labels={PROXY_NAME_LABEL: "other"}), id="another proxy's"),
        pytest.param(service(labels={PROXY_NAME_LABEL: ""}), id="another proxy's, whose name is empty"),
        pytest.param(service("web", "fd00::1"), id="other family only"),
    ],
)
def test_not_published(item: kube.Service | None) -> None:
    """Some Services are none of ours."""
    assert build(item, endpoint_slice(endpoint(ONE))) == ()


VIP, NODE = "TCP 10.96.0.1:80", "TCP node port 30080"


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        pytest.param(service(), {VIP: "CLUSTER_IP"}, id="ClusterIP"),
        pytest.param(
            service(type="NodePort", ports=NODE_PORT), {VIP: "CLUSTER_IP", NODE: "EXTERNAL"}, id="NodePort"
        ),
        pytest.param(
            service(type="NodePort", ports=NODE_PORT, external_traffic_policy="Local"),
            {VIP: "CLUSTER_IP", NODE: "EXTERNAL_LOCAL"},
            id="NodePort, Local",
        ),
        pytest.param(
            service(ports=NODE_PORT, ingress=(LB, LB6)),
            {VIP: "CLUSTER_IP", f"TCP {LB}:80": "EXTERNAL", NODE: "EXTERNAL"},
            id="LoadBalancer",
        ),
        pytest.param(service(ingress=(LB,), type="ClusterIP"), {VIP: "CLUSTER_IP"}, id="was a load balancer"),
        pytest.param(
            service(raw_external_ips=(EXTERNAL_IP, "2001:db8::2"), external_traffic_policy="Local"),
            {VIP: "CLUSTER_IP", f"TCP {EXTERNAL_IP}:80": "EXTERNAL_LOCAL"},
            id="external address",
        ),
        pytest.param(
            service(
                ports=NODE_PORT,
                ingress=(LB,),
                raw_external_ips=(EXTERNAL_IP,),
                load_balancer_source_ranges=("10.0.0.0/8",),
                external_traffic_policy="Local",
            ),
            {
                VIP: "CLUSTER_IP",
                f"TCP {LB}:80": "RESTRICTED_LOCAL",
                f"TCP {EXTERNAL_IP}:80": "EXTERNAL_LOCAL",
                NODE: "EXTERNAL_LOCAL",
            },
            id="ranges bind the load balancer alone",
        ),
        pytest.param(
            service(ingress=(LB,), raw_external_ips=(LB,), load_balancer_source_ranges=("10.0.0.0/8",)),
            {VIP: "CLUSTER_IP", f"TCP {LB}:80": "RESTRICTED"},
            id="an external address that is the load balancer's is bound too",
        ),
        pytest.param(
            service(raw_external_ips=("10.96.0.1", EXTERNAL_IP, EXTERNAL_IP)),
            {VIP: "CLUSTER_IP", f"TCP {EXTERNAL_IP}:80": "EXTERNAL"},
            id="twice: first by name of the kind",
        ),
        *(
            pytest.param(service(ingress=(entry,)), expected, id=name)
            for name, entry, expected in (
                (
                    "VIP",
                    kube.LoadBalancerIngress(LB, ip_mode="VIP"),
                    {VIP: "CLUSTER_IP", f"TCP {LB}:80": "EXTERNAL"},
                ),
                ("Proxy", kube.LoadBalancerIngress(LB, ip_mode="Proxy"), {VIP: "CLUSTER_IP"}),
                ("hostname", kube.LoadBalancerIngress(hostname="lb.example.org"), {VIP: "CLUSTER_IP"}),
            )
        ),
    ],
)
def test_publications(item: kube.Service, expected: dict[str, str]) -> None:
    """Each type includes the former, and each place has its kind."""
    assert published(item) == expected


def test_without_external_ips() -> None:
    """The feature gate AllowServiceExternalIPs, turned off, leaves them out and the rest as it is."""
    item = service(ingress=(LB,), raw_external_ips=(EXTERNAL_IP,))
    (with_them,) = build_service_ports(item, (), FamilyView("ip", PLACE))
    (without,) = build_service_ports(item, (), FamilyView("ip", PLACE, allows_external_ips=False))

    gone = {key[1] for key in with_them.frontends} - {key[1] for key in without.frontends}
    assert gone == {encode_frontend(pack_address(EXTERNAL_IP), "TCP", 80)}


@pytest.mark.parametrize(
    ("ranges", "family", "expected"),
    [
        pytest.param(None, "ip", None, id="null"),
        pytest.param((), "ip", None, id="none"),
        pytest.param((" ",), "ip", None, id="blank"),
        pytest.param((" 10.1.2.3/8 ", "10.0.0.0/16"), "ip", ("10.0.0.0/8",), id="spaces, host bits, overlap"),
        pytest.param(("010.0.0.0/8",), "ip", ("10.0.0.0/8",), id="leading zeros"),
        pytest.param(("10.0.0.0/9", "10.128.0.0/9"), "ip", ("10.0.0.0/8",), id="side by side"),
        pytest.param(("0.0.0.0/0", "10.0.0.0/8"), "ip", None, id="anybody"),
        pytest.param(("10.0.0.0/8",), "ip6", (), id="other family: nobody"),
        pytest.param(("10.0.0.0/8", "fd00::/8"), "ip6", ("fd00::/8",), id="each family its own"),
        pytest.param(("10.0.0.0/8", "::/0"), "ip6", None, id="anybody of one family"),
        pytest.param(("10.0.0.0/8", "::/0"), "ip", ("10.0.0.0/8",), id="anybody of the other family alone"),
        pytest.param(("0.0.0.0/0", "fd00::/8"), "ip6", ("fd00::/8",), id="of the other alone, in IPv6"),
        pytest.param(("0.0.0.0/0",), "ip6", None, id="anybody, and nothing said of this family"),
        pytest.param(
            ("172.30.0.0/16",),
            "ip",
            ("172.30.0.0/16", f"{LB}/32"),
            id="the node: by the balancer's address too",
        ),
    ],
)
def test_source_ranges(
    ranges: tuple[str, ...] | None, family: Family, expected: tuple[str, ...] | None
) -> None:
    """Ranges of one's own family bind, and ranges of the other alone close this one."""
    item = service("web", "10.96.0.1", "fd00::1", ingress=(LB, LB6), load_balancer_source_ranges=ranges)
    (port,) = build(item, family=family)

    assert port.sources == tuple(map(ip_network, expected or ()))
    assert [each.kind for each in port.publications] == [
        Kind.CLUSTER_IP,
        Kind.EXTERNAL if expected is None else Kind.RESTRICTED,
    ]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({}, (True, False), id="Cluster"),
        pytest.param({"internal_traffic_policy": "Local"}, (False, True), id="internal Local"),
        pytest.param(
            {"external_traffic_policy": "Local", "ports": NODE_PORT}, (True, True), id="external Local"
        ),
        pytest.param(
            {"external_traffic_policy": "Local"}, (True, False), id="external Local, nothing external"
        ),
        pytest.param(
            {"internal_traffic_policy": "Local", "ports": NODE_PORT},
            (True, True),
            id="internal Local, node port",
        ),
        pytest.param(
            {"internal_traffic_policy": "Local", "external_traffic_policy": "Local", "ports": NODE_PORT},
            (True, True),
            id="both Local: pods and the node use all by the node port",
        ),
    ],
)
def test_pools_in_use(spec: dict[str, Any], expected: tuple[bool, bool]) -> None:
    """Policies say whether anybody is led to all endpoints, and to those here."""
    (port,) = build(service(**spec), endpoint_slice(endpoint(ONE)))

    assert (port.uses_cluster, port.uses_local) == expected


def test_dual_stack() -> None:
    """Each family sees its own addresses and endpoints."""
    item = service("web", "10.96.0.1", "fd00::1")
    slices = [endpoint_slice(endpoint(ONE)), endpoint_slice(endpoint(SIX), name="web-6", family="IPv6")]

    found = {family: build(item, *slices, family=family) for family in ("ip", "ip6")}

    assert [(str(decode_frontend(port.publications[0].key)), port.usable) for (port,) in found.values()] == [
        (VIP, Usable((at(ONE),), (at(ONE),))),
        ("TCP [fd00::1]:80", Usable((at(SIX),), (at(SIX),))),
    ]
    assert [port.cluster_ips for (port,) in found.values()] == [
        (pack_address("10.96.0.1"),),
        (pack_address("fd00::1"),),
    ]


def test_several_ports() -> None:
    """One address serves TCP and UDP; each port has endpoints of its own."""
    ports = (kube.ServicePort(port=53, name="dns", protocol="UDP"), kube.ServicePort(port=53, name="dns-tcp"))
    backing = (kube.EndpointPort("dns", "UDP", 5353), kube.EndpointPort("dns-tcp", "TCP", 5354))
    built = build(service("web", ports=ports), endpoint_slice(endpoint(ONE), ports=backing))

    assert [(port.name, port.usable.cluster) for port in built] == [
        (PortName("default", "web", "dns", "UDP"), (at(ONE, 5353),)),
        (PortName("default", "web", "dns-tcp", "TCP"), (at(ONE, 5354),)),
    ]


@pytest.mark.parametrize(
    ("endpoints", "expected"),
    [
        pytest.param([endpoint(ONE)], {ONE}, id="here"),
        pytest.param([endpoint(ONE, node="n2")], set(), id="elsewhere"),
        pytest.param([endpoint(ONE, node=None)], {ONE}, id="nobody knows: perhaps here"),
        pytest.param(
            [endpoint(ONE, DRAINING), endpoint(TWO, node="n2")], {ONE}, id="drains here, for policy Local"
        ),
    ],
)
def test_hairpins(endpoints: list[kube.Endpoint], expected: set[str]) -> None:
    """Endpoints of this node can be led to themselves."""
    (port,) = build(service(), endpoint_slice(*endpoints))

    assert port.hairpins == set(map(pack_address, expected))


def test_terms() -> None:
    """Affinity, policy and annotations are the Service's; pods are known only where weights may name them."""
    item = service(
        annotations={"nodeplane.io/weights": "web-1=2"},
        session_affinity="ClientIP",
        internal_traffic_policy="Local",
    )
    (port,) = build(item, endpoint_slice(endpoint(ONE, pod="web-1")))
    (plain,) = build(service(), endpoint_slice(endpoint(ONE, pod="web-1")))

    assert (port.affinity_timeout_s, port.is_internal_local, port.balancing, port.pods) == (
        10800,
        True,
        Balancing(weights=(("web-1", 2),)),
        ((at(ONE), "web-1"),),
    )
    assert (plain.affinity_timeout_s, plain.is_internal_local, plain.balancing, plain.pods) == (
        0,
        False,
        Balancing(),
        (),
    )


def test_names() -> None:
    """A port in words."""
    assert [str(PortName("a", "web", name, "TCP")) for name in ("", "http")] == ["a/web", "a/web:http"]
