"""Addresses and node ports: what a Service gets, keeps, and may not have."""

from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network
from typing import Any

import pytest

from netns_lab.apiserver.defaulting import apply_defaults
from netns_lab.apiserver.history import Event
from netns_lab.apiserver.resources import SERVICES
from netns_lab.apiserver.service_addresses import ServiceAddresses, ServiceRanges
from netns_lab.apiserver.status import StatusError
from netns_lab.apiserver.wire import build_item, encode_stored

V4 = ServiceRanges((IPv4Network("10.96.0.0/28"),), 30000, 30003)
DUAL = ServiceRanges((IPv4Network("10.96.0.0/28"), IPv6Network("fd00:96::/120")), 30000, 30003)


def service(name: str = "web", **spec: Any) -> Any:
    value = {"metadata": {"name": name, "namespace": "shop"}, "spec": {"ports": [{"port": 80}], **spec}}
    apply_defaults(SERVICES, value)
    return value


def write(addresses: ServiceAddresses, value: Any, old: Any = None) -> Any:
    """Assign and take in, as the registry does."""
    with addresses.assigned(value, old):
        pass
    item = build_item("shop", value["metadata"]["name"], 2, encode_stored(value))
    before = build_item("shop", old["metadata"]["name"], 1, encode_stored(old)) if old else None
    addresses.observe(Event(2, before, item))
    return value["spec"]


@pytest.mark.parametrize(
    ("ranges", "asked", "expected"),
    [
        pytest.param(V4, {}, {"ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"}, id="one family"),
        pytest.param(
            V4,
            {"clusterIP": "10.96.0.3"},
            {"clusterIPs": ["10.96.0.3"], "clusterIP": "10.96.0.3"},
            id="the address asked for",
        ),
        pytest.param(
            V4,
            {"ipFamilyPolicy": "PreferDualStack"},
            {"ipFamilies": ["IPv4"], "ipFamilyPolicy": "PreferDualStack"},
            id="preferring what there is not",
        ),
        pytest.param(
            DUAL,
            {"ipFamilyPolicy": "PreferDualStack"},
            {"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "PreferDualStack"},
            id="both",
        ),
        pytest.param(
            DUAL,
            {"ipFamilies": ["IPv6"]},
            {"ipFamilies": ["IPv6"], "ipFamilyPolicy": "SingleStack"},
            id="the other one",
        ),
        pytest.param(
            DUAL,
            {"clusterIPs": ["fd00:96::7", "10.96.0.7"]},
            {"ipFamilies": ["IPv6", "IPv4"], "ipFamilyPolicy": "RequireDualStack", "clusterIP": "fd00:96::7"},
            id="families from addresses",
        ),
        pytest.param(
            V4,
            {"clusterIP": "None", "selector": {"a": "b"}},
            {"clusterIPs": ["None"], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"},
            id="headless",
        ),
        pytest.param(
            V4,
            {"clusterIP": "None"},
            {"clusterIPs": ["None"], "ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "RequireDualStack"},
            id="headless without selector",
        ),
        pytest.param(
            V4,
            {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30002}]},
            {"ports": [{"port": 80, "nodePort": 30002, "protocol": "TCP", "targetPort": 80}]},
            id="the node port asked for",
        ),
        pytest.param(
            V4,
            {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": False},
            {"ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}]},
            id="no node ports for the load balancer",
        ),
    ],
)
def test_a_service_gets_addresses_and_ports_of_the_ranges(
    ranges: ServiceRanges, asked: Any, expected: Any
) -> None:
    spec = write(ServiceAddresses(ranges), service(**asked))

    assert {name: spec.get(name) for name in expected} == expected


def test_every_address_is_used_once() -> None:
    """Those of /28 but for the network's and the broadcast address."""
    addresses = ServiceAddresses(V4)
    found = [write(addresses, service(f"s{number}"))["clusterIP"] for number in range(14)]

    assert sorted(found) == sorted(f"10.96.0.{number}" for number in range(1, 15))
    with pytest.raises(StatusError, match="range is full"):
        write(addresses, service("more"))


def test_a_deleted_service_gives_back() -> None:
    addresses = ServiceAddresses(V4)
    value = service(type="NodePort", clusterIP="10.96.0.5", ports=[{"port": 80, "nodePort": 30001}])
    write(addresses, value)
    addresses.observe(Event(3, build_item("shop", "web", 2, encode_stored(value)), None))

    write(
        addresses,
        service("other", type="NodePort", clusterIP="10.96.0.5", ports=[{"port": 1, "nodePort": 30001}]),
    )


def test_what_is_not_written_is_let_go() -> None:
    addresses = ServiceAddresses(V4)
    asked: Any = {"type": "NodePort", "clusterIP": "10.96.0.5", "ports": [{"port": 80, "nodePort": 30001}]}

    with suppress(LookupError), addresses.assigned(service(**asked), None):
        with pytest.raises(StatusError, match="already allocated"):
            write(addresses, service("other", **asked))
        raise LookupError

    write(addresses, service("other", **asked))


def test_a_port_of_two_protocols_has_one_node_port() -> None:
    ports = [{"name": "u", "port": 53, "protocol": "UDP"}, {"name": "t", "port": 53}]
    spec = write(ServiceAddresses(V4), service(type="NodePort", ports=ports))

    assert len({port["nodePort"] for port in spec["ports"]}) == 1


TAKEN = {"clusterIP": "10.96.0.1", "type": "NodePort", "ports": [{"port": 80, "nodePort": 30000}]}


@pytest.mark.parametrize(
    ("asked", "field", "message"),
    [
        pytest.param(
            {"clusterIP": "10.96.0.1"},
            "spec.clusterIPs",
            'Invalid value: ["10.96.0.1"]: failed to allocate IP 10.96.0.1: provided IP is already allocated',
            id="taken",
        ),
        pytest.param(
            {"clusterIP": "10.1.1.1"},
            "spec.clusterIPs",
            'Invalid value: ["10.1.1.1"]: failed to allocate IP 10.1.1.1: the provided IP (10.1.1.1) '
            "is not in the valid range. The range of valid IPs is 10.96.0.0/28",
            id="out of range",
        ),
        pytest.param(
            {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30000}]},
            "spec.ports[0].nodePort",
            "Invalid value: 30000: provided port is already allocated",
            id="node port taken",
        ),
        pytest.param(
            {"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]},
            "spec.ports[0].nodePort",
            "Invalid value: 80: provided port is not in the valid range. "
            "The range of valid ports is 30000-30003",
            id="node port out of range",
        ),
        pytest.param(
            {"ports": [{"port": 80, "nodePort": 30001}]},
            "spec.ports[0].nodePort",
            "Forbidden: may not be used when `type` is 'ClusterIP'",
            id="node port of a ClusterIP Service",
        ),
        pytest.param(
            {"ipFamilies": ["IPv6"]},
            "spec.ipFamilies[0]",
            'Invalid value: "IPv6": not configured on this cluster',
            id="a family that is not there",
        ),
        pytest.param(
            {"ipFamilyPolicy": "RequireDualStack"},
            "spec.ipFamilyPolicy",
            'Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services',
            id="two families where there is one",
        ),
    ],
)
def test_a_wrong_address_or_port_is_refused_with_its_field(asked: Any, field: str, message: str) -> None:
    addresses = ServiceAddresses(V4)
    write(addresses, service("first", **TAKEN))

    with pytest.raises(StatusError) as refused:
        write(addresses, service(**asked))

    assert refused.value.code == 422
    assert [(cause["field"], cause["message"]) for cause in refused.value.body["details"]["causes"]] == [
        (field, message)
    ]


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        pytest.param({}, {}, ("clusterIP", "clusterIPs", "ipFamilies"), id="addresses"),
        pytest.param({"type": "NodePort"}, {"type": "NodePort"}, ("ports",), id="node ports"),
        pytest.param(
            {"type": "LoadBalancer", "externalTrafficPolicy": "Local"},
            {"type": "LoadBalancer", "externalTrafficPolicy": "Local"},
            ("healthCheckNodePort", "ports"),
            id="the health check's port",
        ),
        pytest.param(
            {"type": "NodePort"}, {"type": "ClusterIP"}, ("clusterIP",), id="the address with another type"
        ),
    ],
)
def test_what_is_left_out_stays(before: Any, after: Any, kept: tuple[str, ...]) -> None:
    addresses = ServiceAddresses(V4)
    old = service(**before)
    first = write(addresses, old)
    second = write(addresses, service(**after), old)

    assert {name: second.get(name) for name in kept} == {name: first.get(name) for name in kept}


def test_what_belongs_to_the_type_goes_with_it() -> None:
    addresses = ServiceAddresses(V4)
    old = service(type="NodePort")
    write(addresses, old)
    new = {**old, "spec": {**old["spec"], "type": "ClusterIP", "ports": [dict(old["spec"]["ports"][0])]}}
    spec = write(addresses, new, old)

    assert ("externalTrafficPolicy" in spec, "nodePort" in spec["ports"][0]) == (False, False)


def test_an_external_name_has_no_address() -> None:
    addresses = ServiceAddresses(V4)
    old = service()
    write(addresses, old)
    spec = write(addresses, service(type="ExternalName", externalName="example.org"), old)

    assert not {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"} & spec.keys()
