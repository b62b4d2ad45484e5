"""What is refused, field by field, and what may not change."""

from typing import Any

import pytest

from netns_lab.apiserver.defaulting import apply_defaults
from netns_lab.apiserver.resources import ENDPOINT_SLICES, PODS, SERVICES, Resource
from netns_lab.apiserver.status import StatusError
from netns_lab.apiserver.validation import check_object


def build(resource: Resource, **parts: Any) -> Any:
    value = {"metadata": {"name": "x", "namespace": "shop"}, **parts}
    apply_defaults(resource, value)
    return value


def service(**spec: Any) -> Any:
    return build(SERVICES, spec={"ports": [{"port": 80}], **spec})


def pod(image: str = "i:1", **spec: Any) -> Any:
    return build(PODS, spec={"containers": [{"name": "c", "image": image}], **spec})


def causes(resource: Resource, new: Any, old: Any = None) -> list[tuple[str, str]]:
    try:
        check_object(resource, new, old)
    except StatusError as exc:
        return [(cause["field"], cause["reason"]) for cause in exc.body["details"]["causes"]]
    return []


@pytest.mark.parametrize(
    ("resource", "value", "expected"),
    [
        pytest.param(SERVICES, service(), [], id="service"),
        pytest.param(
            SERVICES,
            service(ports=[{"port": 80}, {"port": 81}]),
            [("spec.ports[0].name", "FieldValueRequired"), ("spec.ports[1].name", "FieldValueRequired")],
            id="ports without names",
        ),
        pytest.param(
            SERVICES,
            service(sessionAffinity="Always"),
            [("spec.sessionAffinity", "FieldValueNotSupported")],
            id="affinity",
        ),
        pytest.param(
            SERVICES,
            service(
                sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 86401}}
            ),
            [("spec.sessionAffinityConfig.clientIP.timeoutSeconds", "FieldValueInvalid")],
            id="affinity for more than a day",
        ),
        pytest.param(
            SERVICES,
            service(externalTrafficPolicy="Local"),
            [("spec.externalTrafficPolicy", "FieldValueInvalid")],
            id="a policy for what is not there",
        ),
        pytest.param(PODS, pod(), [], id="pod"),
        pytest.param(
            PODS,
            build(PODS, spec={}),
            [("spec.containers", "FieldValueRequired")],
            id="pod without containers",
        ),
        pytest.param(
            PODS,
            pod(image=""),
            [("spec.containers[0].image", "FieldValueRequired")],
            id="container without image",
        ),
        pytest.param(
            ENDPOINT_SLICES,
            build(ENDPOINT_SLICES, addressType="IPv4", endpoints=[{"addresses": ["::1"]}]),
            [("endpoints[0].addresses[0]", "FieldValueInvalid")],
            id="an address of the other family",
        ),
    ],
)
def test_objects(resource: Resource, value: Any, expected: list[tuple[str, str]]) -> None:
    assert causes(resource, value) == expected


@pytest.mark.parametrize(
    ("resource", "old", "new", "expected"),
    [
        pytest.param(PODS, pod(), pod(image="i:2"), [], id="an image may change"),
        pytest.param(PODS, pod(), pod(nodeName="n1"), [], id="a pod gets its node"),
        pytest.param(
            PODS,
            pod(nodeName="n1"),
            pod(nodeName="n2"),
            [("spec.nodeName", "FieldValueForbidden")],
            id="and keeps it",
        ),
        pytest.param(
            PODS, pod(), pod(hostname="h"), [("spec", "FieldValueForbidden")], id="other fields of a pod"
        ),
        pytest.param(
            ENDPOINT_SLICES,
            build(ENDPOINT_SLICES, addressType="IPv4"),
            build(ENDPOINT_SLICES, addressType="IPv6"),
            [("addressType", "FieldValueInvalid")],
            id="a slice's family",
        ),
        pytest.param(
            SERVICES,
            service(clusterIP="10.96.0.8", clusterIPs=["10.96.0.8"]),
            service(clusterIP="10.96.0.9", clusterIPs=["10.96.0.9"]),
            [("spec.clusterIPs[0]", "FieldValueInvalid")],
            id="a service's address",
        ),
    ],
)
def test_changes(resource: Resource, old: Any, new: Any, expected: list[tuple[str, str]]) -> None:
    assert causes(resource, new, old) == expected
