"""What a Pod becomes as an endpoint, by upstream's rules."""

from typing import Any

import msgspec
import pytest

from netns_lab.apiserver.controllers.pod_backends import (
    BackedService,
    BackingPod,
    NodeFacts,
    build_backends,
)

SERVICE = {
    "metadata": {"name": "web", "namespace": "shop", "uid": "s"},
    "spec": {
        "selector": {"app": "web"},
        "ports": [{"name": "http", "port": 80, "targetPort": "web"}],
        "ipFamilies": ["IPv4"],
    },
}
POD = {
    "metadata": {"name": "web-1", "namespace": "shop", "uid": "u1", "labels": {"app": "web"}},
    "spec": {
        "nodeName": "n1",
        "containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}],
    },
    "status": {
        "phase": "Running",
        "podIP": "10.244.0.5",
        "podIPs": [{"ip": "10.244.0.5"}, {"ip": "fd00::5"}],
        "conditions": [{"type": "Ready", "status": "True"}],
    },
}
NODES = {"n1": NodeFacts("z1")}
READY = {"ready": True, "serving": True, "terminating": False}
UNREADY = {"ready": False, "serving": False, "terminating": False}
ENDPOINT = {
    "addresses": ["10.244.0.5"],
    "conditions": READY,
    "nodeName": "n1",
    "zone": "z1",
    "targetRef": {"kind": "Pod", "namespace": "shop", "name": "web-1", "uid": "u1"},
}
HTTP = [{"name": "http", "port": 8080}]


def having(value: Any, **parts: Any) -> Any:
    """Return a copy with some fields of its metadata, spec and status replaced."""
    return {name: {**entry, **parts.get(name, {})} for name, entry in value.items()}


def found(service: Any, pod: Any, nodes: Any) -> list[Any]:
    backends = build_backends(
        msgspec.convert(service, BackedService), [msgspec.convert(pod, BackingPod)], nodes
    )
    return [(group.family, as_json(group.ports), as_json(entries)) for group, entries in backends.items()]


def as_json(value: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))


@pytest.mark.parametrize(
    ("service", "pod", "nodes", "expected"),
    [
        pytest.param(SERVICE, POD, NODES, ENDPOINT, id="ready"),
        pytest.param(
            SERVICE,
            having(POD, status={"conditions": []}),
            NODES,
            {**ENDPOINT, "conditions": UNREADY},
            id="not ready",
        ),
        pytest.param(
            SERVICE,
            having(POD, metadata={"deletionTimestamp": "2026-11-21T00:00:00Z"}),
            NODES,
            {**ENDPOINT, "conditions": {"ready": False, "serving": True, "terminating": True}},
            id="terminating, still serving",
        ),
        pytest.param(
            having(SERVICE, spec={"publishNotReadyAddresses": True}),
            having(POD, status={"conditions": []}),
            NODES,
            {**ENDPOINT, "conditions": {"ready": True, "serving": False, "terminating": False}},
            id="published although not ready",
        ),
        pytest.param(
            SERVICE,
            POD,
            {"n1": NodeFacts("z1", is_ready=False)},
            {**ENDPOINT, "conditions": UNREADY},
            id="its node is not ready",
        ),
        pytest.param(
            SERVICE,
            having(POD, spec={"hostname": "web-1", "subdomain": "web"}),
            NODES,
            {**ENDPOINT, "hostname": "web-1"},
            id="a hostname below this Service",
        ),
        pytest.param(
            SERVICE,
            having(POD, spec={"hostname": "web-1", "subdomain": "db"}),
            NODES,
            ENDPOINT,
            id="a hostname elsewhere",
        ),
        pytest.param(
            having(SERVICE, spec={"trafficDistribution": "PreferClose"}),
            POD,
            NODES,
            {**ENDPOINT, "hints": {"forZones": [{"name": "z1"}]}},
            id="hinted to its zone",
        ),
        pytest.param(
            having(SERVICE, spec={"trafficDistribution": "PreferSameNode"}),
            POD,
            NODES,
            {**ENDPOINT, "hints": {"forZones": [{"name": "z1"}], "forNodes": [{"name": "n1"}]}},
            id="hinted to its node",
        ),
        pytest.param(
            having(SERVICE, spec={"trafficDistribution": "PreferClose"}),
            having(POD, status={"conditions": []}),
            NODES,
            {**ENDPOINT, "conditions": UNREADY},
            id="no hint while not ready",
        ),
    ],
)
def test_endpoint(service: Any, pod: Any, nodes: Any, expected: Any) -> None:
    assert found(service, pod, nodes) == [("IPv4", HTTP, [expected])]


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param(having(POD, metadata={"labels": {"app": "db"}}), id="not selected"),
        pytest.param(having(POD, status={"phase": "Succeeded"}), id="ended"),
        pytest.param(having(POD, status={"podIP": "", "podIPs": None}), id="no address"),
        pytest.param(having(POD, status={"podIP": "fd00::5", "podIPs": None}), id="of the other family"),
    ],
)
def test_no_endpoint(pod: Any) -> None:
    assert found(SERVICE, pod, NODES) == []


def test_each_family_has_its_own() -> None:
    service = having(SERVICE, spec={"ipFamilies": ["IPv4", "IPv6"]})

    assert found(service, POD, NODES) == [
        ("IPv4", HTTP, [ENDPOINT]),
        ("IPv6", HTTP, [{**ENDPOINT, "addresses": ["fd00::5"]}]),
    ]


def test_a_named_port_that_the_pod_lacks_is_left_out() -> None:
    ports = [
        {"name": "http", "port": 80, "targetPort": 8080},
        {"name": "m", "port": 9, "targetPort": "metrics"},
    ]

    assert found(having(SERVICE, spec={"ports": ports}), POD, NODES) == [("IPv4", HTTP, [ENDPOINT])]
