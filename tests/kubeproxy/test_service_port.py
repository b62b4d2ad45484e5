"""Which Services are published, and which endpoints are usable."""

from ipaddress import ip_address

import msgspec
import pytest

from kubeproxy.layout import Endpoint, Frontend
from kubeproxy.service_port import (
    HEADLESS_LABEL,
    PROXY_NAME_LABEL,
    PoolName,
    ServicePort,
    build_service_ports,
)
from nodeplane.kube import objects as kube
from tests.kubeproxy.objects import DRAINING, DYING, UNREADY, endpoint, endpoint_slice, service

WEB = PoolName("default", "web", "http", "TCP")
VIP = Frontend(ip_address("10.96.0.1"), "TCP", 80)
ONE, TWO, SIX = "10.244.0.1", "10.244.0.2", "fd00:1::1"


def at(address: str, port: int = 8080) -> Endpoint:
    return Endpoint(ip_address(address), port)


def published(*endpoints: Endpoint, local: tuple[str, ...] = ()) -> tuple[ServicePort, ...]:
    return (ServicePort(WEB, (VIP,), endpoints, frozenset(map(ip_address, local))),)


@pytest.mark.parametrize(
    ("slices", "expected"),
    [
        pytest.param([], published(), id="no slice"),
        pytest.param([endpoint_slice()], published(), id="empty slice"),
        pytest.param(
            [endpoint_slice(endpoint(TWO), endpoint(ONE, node="n2"))],
            published(at(ONE), at(TWO), local=(TWO,)),
            id="sorted, local by node name",
        ),
        pytest.param(
            [endpoint_slice(endpoint(ONE, node=None))],
            published(at(ONE), local=(ONE,)),
            id="no node name may be here",
        ),
        pytest.param(
            [endpoint_slice(endpoint(ONE), endpoint(TWO, UNREADY))],
            published(at(ONE), local=(ONE,)),
            id="unready is left out",
        ),
        pytest.param(
            [endpoint_slice(endpoint(ONE, DRAINING), endpoint(TWO))],
            published(at(TWO), local=(TWO,)),
            id="draining is left out while one is ready",
        ),
        pytest.param(
            [endpoint_slice(endpoint(ONE, DRAINING), endpoint(TWO, DYING))],
            published(at(ONE), local=(ONE,)),
            id="draining is used when none is ready",
        ),
        pytest.param(
            [endpoint_slice(endpoint(ONE, UNREADY), endpoint(TWO, DYING))], published(), id="none usable"
        ),
        pytest.param(
            [endpoint_slice(endpoint(ONE, DRAINING)), endpoint_slice(endpoint(ONE), name="web-2")],
            published(at(ONE), local=(ONE,)),
            id="twice: the one that stays wins",
        ),
        pytest.param(
            [endpoint_slice(endpoint(ONE)), endpoint_slice(endpoint(ONE, DRAINING), name="web-2")],
            published(at(ONE), local=(ONE,)),
            id="twice: in either order",
        ),
        pytest.param(
            [endpoint_slice(endpoint(ONE), ports=(kube.EndpointPort("metrics", "TCP", 9090),))],
            published(),
            id="another port",
        ),
        pytest.param(
            [endpoint_slice(endpoint(ONE), ports=(kube.EndpointPort("http", "UDP", 8080),))],
            published(),
            id="another protocol",
        ),
        pytest.param(
            [endpoint_slice(endpoint(ONE), ports=(kube.EndpointPort("http", "TCP", None),))],
            published(),
            id="port unknown",
        ),
        pytest.param(
            [endpoint_slice(endpoint(SIX), family="IPv6")], published(), id="slice of the other family"
        ),
        pytest.param(
            [endpoint_slice(endpoint(ONE), labels={HEADLESS_LABEL: ""})], published(), id="headless slice"
        ),
        pytest.param(
            [endpoint_slice(msgspec.structs.replace(endpoint(ONE), addresses=(ONE, TWO)))],
            published(at(ONE), local=(ONE,)),
            id="only the first address counts",
        ),
    ],
)
def test_endpoints(slices: list[kube.EndpointSlice], expected: tuple[ServicePort, ...]) -> None:
    """Endpoints of a port are those that can take a new connection."""
    assert build_service_ports(service(), slices, "n1", "ip") == expected


HEADLESS = service("web", "None")
EXTERNAL = kube.Service(
    kube.Metadata("web", "default"), kube.ServiceSpec(type="ExternalName", external_name="example.org")
)


@pytest.mark.parametrize(
    "item",
    [
        pytest.param(None, id="gone"),
        pytest.param(HEADLESS, id="headless"),
        pytest.param(EXTERNAL, id="ExternalName"),
        pytest.param(service(labels={PROXY_NAME_LABEL: "other"}), id="another proxy's"),
        pytest.param(service("web", "fd00::1"), id="other family only"),
    ],
)
def test_not_published(item: kube.Service | None) -> None:
    """Some Services are none of ours."""
    assert build_service_ports(item, [endpoint_slice(endpoint(ONE))], "n1", "ip") == ()


def test_dual_stack() -> None:
    """Each family sees its own addresses and endpoints."""
    item = service("web", "10.96.0.1", "fd00::1")
    slices = [endpoint_slice(endpoint(ONE)), endpoint_slice(endpoint(SIX), name="web-6", family="IPv6")]

    assert build_service_ports(item, slices, "n1", "ip") == published(at(ONE), local=(ONE,))
    assert build_service_ports(item, slices, "n1", "ip6") == (
        ServicePort(
            WEB, (Frontend(ip_address("fd00::1"), "TCP", 80),), (at(SIX),), frozenset({ip_address(SIX)})
        ),
    )


def test_several_ports() -> None:
    """One address serves TCP and UDP; each port has endpoints of its own."""
    ports = (kube.ServicePort(port=53, name="dns", protocol="UDP"), kube.ServicePort(port=53, name="dns-tcp"))
    backing = (kube.EndpointPort("dns", "UDP", 5353), kube.EndpointPort("dns-tcp", "TCP", 5354))
    built = build_service_ports(
        service("web", ports=ports), [endpoint_slice(endpoint(ONE), ports=backing)], "n2", "ip"
    )

    assert [(str(port.frontends[0]), *map(str, port.endpoints)) for port in built] == [
        ("UDP 10.96.0.1:53", "10.244.0.1:5353"),
        ("TCP 10.96.0.1:53", "10.244.0.1:5354"),
    ]
