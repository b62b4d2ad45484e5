"""Services as an API server sends them, and Kubernetes' defaults for what it leaves out."""

import re
from typing import Any

import msgspec
import pytest

from nodeplane.kube.objects import (
    CLUSTER_SCOPED,
    KINDS,
    Metadata,
    Service,
    ServiceCIDR,
    ServiceCIDRSpec,
    ServiceSpec,
)

NAME = Metadata("a", "b")


@pytest.mark.parametrize(
    ("spec", "addresses", "headless"),
    [
        pytest.param({}, (), False, id="not yet given one"),
        pytest.param({"clusterIP": "10.96.0.1"}, ("10.96.0.1",), False, id="clusterIP alone"),
        pytest.param(
            {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "fd00::1"]},
            ("10.96.0.1", "fd00::1"),
            False,
            id="dual stack",
        ),
        pytest.param({"clusterIP": "None", "clusterIPs": ["None"]}, (), True, id="headless"),
        pytest.param({"type": "ExternalName", "clusterIP": "None"}, (), False, id="ExternalName"),
        pytest.param({"clusterIP": "10.96.0.1", "ports": None}, ("10.96.0.1",), False, id="null ports"),
    ],
)
def test_cluster_ips(spec: dict[str, Any], addresses: tuple[str, ...], headless: bool) -> None:
    """A Service is published at its cluster IPs; headless and ExternalName have none."""
    service = Service(NAME, msgspec.convert(spec, ServiceSpec))

    assert (service.spec.cluster_ips, service.is_headless, service.spec.ports) == (addresses, headless, ())


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({}, 0, id="none"),
        pytest.param({"sessionAffinity": "None"}, 0, id="None"),
        pytest.param({"sessionAffinity": "ClientIP"}, 10800, id="default"),
        pytest.param({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {}}, 10800, id="empty"),
        pytest.param(
            {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": None}}},
            10800,
            id="null",
        ),
        pytest.param(
            {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 1}}},
            1,
            id="one second",
        ),
        pytest.param(
            {"sessionAffinity": "None", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 1}}},
            0,
            id="without affinity",
        ),
    ],
)
def test_affinity_timeout(spec: dict[str, Any], expected: int) -> None:
    """A client is remembered for three hours if nobody says otherwise."""
    assert msgspec.convert(spec, ServiceSpec).affinity_timeout_s == expected


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        *(
            pytest.param(
                {"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": number}}},
                "timeoutSeconds",
                id=str(number),
            )
            for number in (1.5,)
        ),
        pytest.param({"externalIPs": "192.0.2.1"}, "externalIPs", id="no list"),
        pytest.param({"loadBalancerSourceRanges": [1]}, "loadBalancerSourceRanges", id="no text"),
        pytest.param({"healthCheckNodePort": "1"}, "healthCheckNodePort", id="no number"),
    ],
)
def test_wrong_spec(spec: dict[str, Any], words: str) -> None:
    """What no API server sends is an error that names the field."""
    with pytest.raises(msgspec.ValidationError, match=words):
        msgspec.convert(spec, ServiceSpec)


def test_service_cidr() -> None:
    """A ServiceCIDR belongs to no namespace."""
    wire = {"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.96.0.0/16", "fd00:96::/108"]}}
    item = msgspec.convert(wire, KINDS["networking.k8s.io/v1", "ServiceCIDR"])

    assert item == ServiceCIDR(Metadata("kubernetes"), ServiceCIDRSpec(("10.96.0.0/16", "fd00:96::/108")))
    assert str(item.key) == "ServiceCIDR/kubernetes"
    assert ServiceCIDR in CLUSTER_SCOPED


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        *(
            pytest.param({"ports": [{"port": 80, "nodePort": number}]}, "ports[0].nodePort", id=f"{number}")
            for number in (99999, -1)
        ),
        pytest.param({"healthCheckNodePort": 65536}, "healthCheckNodePort", id="health check"),
    ],
)
def test_no_port(spec: dict[str, Any], field: str) -> None:
    """What is no port is no Service: whoever reads it could do nothing with it."""
    with pytest.raises(msgspec.ValidationError, match=rf"Expected `int` .* at `\$\.{re.escape(field)}`"):
        msgspec.convert(spec, ServiceSpec)
