"""What an API server would refuse of a Service and of a ServiceCIDR."""

from typing import Any

import msgspec
import pytest

from nodeplane.kube.objects import Service, ServiceCIDR
from nodeplane.kube.validation import problems
from nodeplane.yamldoc import Problem
from tests.kube.expectations import LABEL, NOWHERE, REACHABLE, port

ADDRESS = "expected an IP address or None"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({"ports": [port(80)]}, [], id="no address yet"),
        pytest.param({"ports": [port(80)], "clusterIP": "10.96.0.1"}, [], id="IPv4"),
        pytest.param(
            {"ports": [port(80)], "clusterIP": "fd00::1", "clusterIPs": ["fd00::1", "10.0.0.1"]},
            [],
            id="dual",
        ),
        pytest.param({"clusterIP": "None", "clusterIPs": ["None"]}, [], id="headless without ports"),
        pytest.param({"type": "ExternalName", "externalName": "Example.org."}, [], id="ExternalName"),
        pytest.param({}, [(("spec", "ports"), "expected at least one port")], id="no ports"),
        *(
            pytest.param(
                {"ports": [port(80)], "clusterIP": text}, [(("spec", "clusterIP"), ADDRESS)], id=text
            )
            for text in (
                *("10.96.0", "10.96.0.01", "10.96.0.256", "none", "fe80::1%eth0", " 10.96.0.1"),
                *(NOWHERE, "::", "127.0.0.1", "::1", "239.0.0.1", "ff0e::1", "::ffff:10.96.0.1"),
            )
        ),
        pytest.param(
            {"ports": [port(80)], "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "x"]},
            [(("spec", "clusterIPs", 1), ADDRESS)],
            id="second address",
        ),
        pytest.param(
            {"ports": [port(80)], "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "10.0.0.2"]},
            [(("spec", "clusterIPs", 1), "expected at most one address of each family")],
            id="one family twice",
        ),
        pytest.param(
            {"clusterIP": "None", "clusterIPs": ["None", "10.0.0.2"]},
            [(("spec", "clusterIPs", 1), "expected None alone")],
            id="None and an address",
        ),
        pytest.param(
            {"clusterIP": "None", "clusterIPs": ["None", "None"]},
            [(("spec", "clusterIPs", 1), "expected None alone")],
            id="None twice",
        ),
        pytest.param(
            {"ports": [port(80)], "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.2"]},
            [(("spec", "clusterIPs", 0), "expected the same address as in clusterIP")],
            id="two first addresses",
        ),
        pytest.param(
            {"type": "ExternalName", "externalName": "a_b"},
            [(("spec", "externalName"), "expected a DNS name")],
            id="no DNS name",
        ),
        pytest.param(
            {"type": "ExternalName"},
            [(("spec", "externalName"), "expected a DNS name")],
            id="ExternalName of none",
        ),
        pytest.param(
            {"ports": [port(53, "a"), port(53, "b", protocol="UDP")]}, [], id="one port, two protocols"
        ),
        pytest.param(
            {"ports": [port(80, "a"), port(80, "b")]},
            [(("spec", "ports", 1, "port"), "expected each protocol and port once")],
            id="port twice",
        ),
        pytest.param(
            {"ports": [port(80, "a"), port(81)]},
            [(("spec", "ports", 1, "name"), "expected a name, since there are several ports")],
            id="several ports, one without a name",
        ),
        pytest.param(
            {"ports": [port(80, "a"), port(81, "a")]},
            [(("spec", "ports", 1, "name"), "expected each port name once")],
            id="name twice",
        ),
        pytest.param({"ports": [port(80, "A")]}, [(("spec", "ports", 0, "name"), LABEL)], id="name"),
        pytest.param({"ports": [port(80, targetPort="http")]}, [], id="target by name"),
        pytest.param(
            {"ports": [port(80, targetPort=65536)]},
            [(("spec", "ports", 0, "targetPort"), "expected a port number from 1 to 65535")],
            id="target",
        ),
        pytest.param({"type": "NodePort", "ports": [port(80, nodePort=30080)]}, [], id="node port"),
        pytest.param({"ports": [port(80, nodePort=0)]}, [], id="node port 0 is none"),
        pytest.param(
            {"ports": [port(80, nodePort=30080)]},
            [(("spec", "ports", 0, "nodePort"), "expected only with type NodePort or LoadBalancer")],
            id="node port of a cluster IP",
        ),
        pytest.param(
            {
                "type": "LoadBalancer",
                "ports": [
                    port(80, "a", nodePort=30080),
                    port(80, "b", nodePort=30080, protocol="UDP"),
                    port(81, "c", nodePort=30080),
                ],
            },
            [(("spec", "ports", 2, "nodePort"), "expected each protocol and node port once")],
            id="node port twice",
        ),
        *(
            pytest.param(
                {"type": kind, "ports": [port(80)], "clusterIP": "None"},
                [(("spec", "clusterIP"), f"expected an address, since the type is {kind}")],
                id=f"headless {kind}",
            )
            for kind in ("NodePort", "LoadBalancer")
        ),
    ],
)
def test_service(spec: dict[str, Any], expected: list[Problem]) -> None:
    """Each problem has the path of its field."""
    item = msgspec.convert({"metadata": {"name": "web", "namespace": "a"}, "spec": spec}, Service)

    assert [*problems(item)] == expected


RANGES = ("spec", "loadBalancerSourceRanges")

NETWORK = "expected a network, e.g. 10.0.0.0/8"

EXTERNAL = "expected only with type NodePort or LoadBalancer, or with externalIPs"

HEALTH = "expected only with type LoadBalancer and externalTrafficPolicy Local"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({"externalIPs": ["192.0.2.1", "2001:db8::1"]}, [], id="external addresses"),
        *(
            pytest.param(
                {"externalIPs": ["192.0.2.1", text]}, [(("spec", "externalIPs", 1), REACHABLE)], id=text
            )
            for text in (
                NOWHERE,
                "127.0.0.1",
                "169.254.1.1",
                "::1",
                "fe80::1",
                "x",
                "192.0.2.01",
                "192.0.2.0/24",
            )
        ),
        pytest.param(
            {"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0/8", " 10.1.2.3/16 ", "::/0"]},
            [],
            id="source ranges",
        ),
        *(
            pytest.param(
                {"type": "LoadBalancer", "loadBalancerSourceRanges": [text]},
                [((*RANGES, 0), NETWORK)],
                id=f"range {text}",
            )
            for text in (
                "",
                "10.0.0.1",
                "10.0.0.0/33",
                "10.0.0.0/",
                "10.0.0.0/255.0.0.0",
                "x/8",
                "10.0.0.0/-1",
                "fd00::/129",
            )
        ),
        pytest.param(
            {"type": "NodePort", "loadBalancerSourceRanges": ["10.0.0.0/8"]},
            [(RANGES, "expected only with type LoadBalancer")],
            id="source ranges of a node port",
        ),
        pytest.param({"loadBalancerSourceRanges": []}, [], id="no source ranges"),
        pytest.param({"internalTrafficPolicy": "Local"}, [], id="internal policy"),
        *(
            pytest.param({**more, "externalTrafficPolicy": "Local"}, [], id=f"external policy {name}")
            for name, more in (
                ("NodePort", dict[str, Any](type="NodePort")),
                ("LoadBalancer", dict[str, Any](type="LoadBalancer")),
                ("external address", dict[str, Any](externalIPs=["192.0.2.1"])),
            )
        ),
        pytest.param(
            {"externalTrafficPolicy": "Cluster"},
            [(("spec", "externalTrafficPolicy"), EXTERNAL)],
            id="external policy of a cluster IP",
        ),
        pytest.param(
            {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30000},
            [],
            id="health check",
        ),
        pytest.param({"healthCheckNodePort": 0}, [], id="health check 0 is none"),
        pytest.param(
            {"type": "LoadBalancer", "healthCheckNodePort": 30000},
            [(("spec", "healthCheckNodePort"), HEALTH)],
            id="health check, policy Cluster",
        ),
        pytest.param(
            {"type": "NodePort", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30000},
            [(("spec", "healthCheckNodePort"), HEALTH)],
            id="health check of a node port",
        ),
        pytest.param(
            {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86400}}},
            [],
            id="affinity",
        ),
        pytest.param({"sessionAffinity": "ClientIP"}, [], id="affinity, default time-out"),
        pytest.param(
            {"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 1}}},
            [(("spec", "sessionAffinityConfig"), "expected only with sessionAffinity ClientIP")],
            id="time-out without affinity",
        ),
        *(
            pytest.param(
                {
                    "sessionAffinity": "ClientIP",
                    "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": number}},
                },
                [
                    (
                        ("spec", "sessionAffinityConfig", "clientIP", "timeoutSeconds"),
                        "expected seconds, from 1 to 86400",
                    )
                ],
                id=f"time-out {number}",
            )
            for number in (0, 86401)
        ),
        pytest.param(
            {"sessionAffinity": "Cookie"},
            [(("spec", "sessionAffinity"), "expected None or ClientIP")],
            id="unknown affinity",
        ),
        pytest.param(
            {"internalTrafficPolicy": "local"},
            [(("spec", "internalTrafficPolicy"), "expected Cluster or Local")],
            id="unknown policy",
        ),
    ],
)
def test_access(spec: dict[str, Any], expected: list[Problem]) -> None:
    """Who may come in, from where, and how they are led."""
    item = msgspec.convert(
        {"metadata": {"name": "web", "namespace": "a"}, "spec": {"ports": [port(80)], **spec}}, Service
    )

    assert [*problems(item)] == expected


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        pytest.param({"ip": "192.0.2.1", "ipMode": "Proxy"}, [], id="address"),
        pytest.param({"hostname": "lb.example.org"}, [], id="name"),
        pytest.param({"ip": "x"}, [("ip", "expected an IP address")], id="no address"),
        pytest.param(
            {"ip": "192.0.2.1", "ipMode": "vip"},
            [("ipMode", "expected VIP or Proxy, beside an ip")],
            id="mode",
        ),
        pytest.param(
            {"ipMode": "VIP"}, [("ipMode", "expected VIP or Proxy, beside an ip")], id="mode of nothing"
        ),
    ],
)
def test_ingress(entry: dict[str, str], expected: list[tuple[str, str]]) -> None:
    """Where a load balancer is reached."""
    status = {"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}, entry]}}
    spec = {"type": "LoadBalancer", "ports": [port(80)]}
    item = msgspec.convert(
        {"metadata": {"name": "web", "namespace": "a"}, "spec": spec, "status": status}, Service
    )

    assert [*problems(item)] == [
        (("status", "loadBalancer", "ingress", 1, field), words) for field, words in expected
    ]


CANONICAL = "expected a network without host bits, e.g. 10.96.0.0/16"


@pytest.mark.parametrize(
    ("cidrs", "expected"),
    [
        pytest.param(["10.96.0.0/16"], [], id="IPv4"),
        pytest.param(["fd00:96::/108", "10.96.0.0/16"], [], id="both"),
        *(
            pytest.param(
                cidrs, [(("spec", "cidrs"), "expected one network of one family or of each")], id=name
            )
            for name, cidrs in (("none", list[str]()), ("null", None))
        ),
        pytest.param(
            ["10.96.0.0/16", "10.97.0.0/16"],
            [(("spec", "cidrs", 1), "expected at most one network of each family")],
            id="one family twice",
        ),
        *(
            pytest.param([text], [(("spec", "cidrs", 0), CANONICAL)], id=text)
            for text in ("10.96.0.1/16", "10.96.0.0", "FD00::/64", "fd00:0::/64", "x", "10.96.0.0/016")
        ),
    ],
)
def test_service_cidr(cidrs: list[str] | None, expected: list[Problem]) -> None:
    """Networks of Services are written in one way, one of each family."""
    item = msgspec.convert({"metadata": {"name": "more"}, "spec": {"cidrs": cidrs}}, ServiceCIDR)

    assert [*problems(item)] == expected
