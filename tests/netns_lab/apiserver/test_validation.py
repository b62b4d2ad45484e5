"""What is refused, field by field, and what may not change."""

from typing import Any

import pytest

from netns_lab.apiserver.defaulting import apply_defaults
from netns_lab.apiserver.resources import (
    CONFIG_MAPS,
    ENDPOINT_SLICES,
    PODS,
    SERVICE_CIDRS,
    SERVICES,
    Resource,
)
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


def labelled(**metadata: Any) -> Any:
    value = build(CONFIG_MAPS)
    return {**value, "metadata": {**value["metadata"], **metadata}}


def cidrs(*found: str) -> Any:
    return build(SERVICE_CIDRS, spec={"cidrs": list(found)})


LONG = "x" * 64
INVALID = "FieldValueInvalid"


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
        *(
            pytest.param(
                CONFIG_MAPS,
                labelled(labels={name: text}),
                [("metadata.labels", INVALID)] * wrong,
                id=f"label {name[:30]!r}: {text[:30]!r}",
            )
            for name, text, wrong in (
                ("a", "", 0),
                ("A.b_c-1", "A.b_c-1", 0),
                ("example.org/a", "x" * 63, 0),
                ("a", LONG, 1),
                ("a", "b c", 1),
                ("a", "-b", 1),
                ("a", "b\n", 1),
                ("a", "\u00e9", 1),
                ("", "b", 2),
                (LONG, "b", 1),
                ("a b", "c d", 2),
                ("/a", "b", 1),
                ("Example.org/a", "b", 1),
                ("a..b/a", "b", 1),
                (f"{LONG * 4}/a", "b", 1),
                ("a/b/c", "d", 1),
                ("a/", "b", 2),
            )
        ),
        pytest.param(
            CONFIG_MAPS,
            labelled(annotations={"Example.org/a": "any text\n", "a b": "", "a/b/c": ""}),
            [("metadata.annotations", INVALID)] * 2,
            id="annotations",
        ),
        pytest.param(
            CONFIG_MAPS,
            labelled(annotations={"a": "x" * (256 << 10)}),
            [("metadata.annotations", "FieldValueTooLong")],
            id="annotations that are too long",
        ),
        pytest.param(
            CONFIG_MAPS,
            build(
                CONFIG_MAPS,
                data={
                    "a.b_C-1": "",
                    ".a": "",
                    "a/b": "",
                    "": "",
                    "..": "",
                    "..a": "",
                    "x" * 254: "",
                    "d": "",
                },
                binaryData={"d": ""},
            ),
            [(f"data[{key}]", INVALID) for key in ("a/b", "", "..", "..a", "x" * 254, "d")],
            id="keys of a config map",
        ),
        pytest.param(SERVICE_CIDRS, cidrs("10.96.0.0/16", "fd00::/112"), [], id="ranges"),
        pytest.param(SERVICE_CIDRS, cidrs(), [("spec.cidrs", "FieldValueRequired")], id="no ranges"),
        pytest.param(
            SERVICE_CIDRS,
            cidrs("10.96.0.1/16", "here"),
            [("spec.cidrs[0]", INVALID), ("spec.cidrs[1]", INVALID)],
            id="wrong ranges",
        ),
        pytest.param(
            SERVICE_CIDRS,
            cidrs("10.0.0.0/16", "10.1.0.0/16"),
            [("spec.cidrs", INVALID)],
            id="two of a family",
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
        pytest.param(
            SERVICE_CIDRS, cidrs("10.0.0.0/16"), cidrs("10.0.0.0/16", "fd00::/112"), [], id="a second family"
        ),
        pytest.param(
            SERVICE_CIDRS,
            cidrs("10.0.0.0/16"),
            cidrs("10.1.0.0/16"),
            [("spec.cidrs", INVALID)],
            id="another range",
        ),
    ],
)
def test_changes(resource: Resource, old: Any, new: Any, expected: list[tuple[str, str]]) -> None:
    assert causes(resource, new, old) == expected
