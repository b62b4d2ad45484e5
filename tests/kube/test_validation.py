"""What an API server would refuse, and that it refuses nothing that one has sent."""

from ipaddress import IPv4Address
from typing import Any

import msgspec
import pytest

from nodeplane.kube.objects import EndpointSlice, Namespace, Node, Object, Pod, Service, ServiceCIDR
from nodeplane.kube.validation import Problem, label_problems, problems
from tests.kube.recordings import recorded_items

LABEL = "expected a DNS label (lower case, digits, '-')"
SUBDOMAIN = "expected a DNS subdomain name (lower case, digits, '-')"
NOWHERE = str(IPv4Address(0))
REACHABLE = "expected an address that other nodes can reach, not unspecified, loopback or link-local"
ADDRESS = "expected an IP address or None"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param("list-endpointslices.json", EndpointSlice, id="EndpointSlice"),
        pytest.param("list-services.json", Service, id="Service"),
        pytest.param("list-namespaces.json", Namespace, id="Namespace"),
        pytest.param("list-nodes.json", Node, id="Node"),
        pytest.param("list-pods.json", Pod, id="Pod"),
    ],
)
def test_recorded_objects_are_valid(name: str, kind: type[Object]) -> None:
    """What a real API server holds has no problem."""
    items = [msgspec.convert(item, kind) for item in recorded_items(name)]

    assert items
    assert [problem for item in items for problem in problems(item)] == []


@pytest.mark.parametrize(
    ("kind", "name", "namespace", "expected"),
    [
        pytest.param(Service, "web-1", "default", [], id="service"),
        pytest.param(Service, "a" * 63, "a", [], id="longest label"),
        pytest.param(Service, "a" * 64, "a", [(("metadata", "name"), LABEL)], id="label too long"),
        pytest.param(Service, "a.b", "a", [(("metadata", "name"), LABEL)], id="service with a dot"),
        pytest.param(Service, "Web", "a", [(("metadata", "name"), LABEL)], id="upper case"),
        pytest.param(Service, "-a", "a", [(("metadata", "name"), LABEL)], id="dash first"),
        pytest.param(Service, "a-", "a", [(("metadata", "name"), LABEL)], id="dash last"),
        pytest.param(Service, "a\n", "a", [(("metadata", "name"), LABEL)], id="line end"),
        pytest.param(Service, "", "a", [(("metadata", "name"), LABEL)], id="empty"),
        pytest.param(Service, "ä", "a", [(("metadata", "name"), LABEL)], id="not ASCII"),
        pytest.param(Service, "a", "a.b", [(("metadata", "namespace"), LABEL)], id="namespace with a dot"),
        pytest.param(Service, "a", "", [(("metadata", "namespace"), LABEL)], id="no namespace"),
        pytest.param(Pod, "a.b", "a", [], id="pod with a dot"),
        pytest.param(Pod, "a..b", "a", [(("metadata", "name"), SUBDOMAIN)], id="empty label"),
        pytest.param(Pod, ".".join(["a" * 49] * 5) + ".bcd", "a", [], id="longest name"),
        pytest.param(
            Pod, ".".join(["a" * 49] * 5) + ".bcde", "a", [(("metadata", "name"), SUBDOMAIN)], id="too long"
        ),
        pytest.param(Node, "n1.example.org", "", [], id="node has no namespace"),
        pytest.param(Namespace, "a.b", "", [(("metadata", "name"), LABEL)], id="name of a namespace"),
    ],
)
def test_metadata(kind: type[Object], name: str, namespace: str, expected: list[Problem]) -> None:
    """Names are DNS names (RFC 1123), those that become one DNS label are labels."""
    item = msgspec.convert({"metadata": {"name": name, "namespace": namespace}, "addressType": "IPv4"}, kind)
    found = [problem for problem in problems(item) if problem[0][0] == "metadata"]

    assert found == expected


def port(number: int, name: str = "", **fields: Any) -> dict[str, Any]:
    """Build a Service's port as it is on the wire."""
    return {"port": number, "name": name, **fields}


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
        *(
            pytest.param(
                {"type": "NodePort", "ports": [port(80, nodePort=number)]},
                [(("spec", "ports", 0, "nodePort"), "expected a port number from 1 to 65535")],
                id=f"node port {number}",
            )
            for number in (99999, -1)
        ),
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
        pytest.param(
            {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 65536},
            [(("spec", "healthCheckNodePort"), "expected a port number from 1 to 65535")],
            id="health check out of range",
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


@pytest.mark.parametrize(
    ("hints", "expected"),
    [
        pytest.param({"forZones": [{"name": "eu-1a"}, {"name": "eu-1b"}]}, [], id="zones"),
        pytest.param({"forNodes": [{"name": "n1.example.org"}]}, [], id="node"),
        pytest.param({"forZones": None, "forNodes": None}, [], id="nulls"),
        pytest.param(
            {"forZones": [{"name": "a b"}]},
            [(("forZones", 0, "name"), "expected the name of a zone")],
            id="no zone",
        ),
        pytest.param(
            {"forZones": [{"name": "a" * 64}]},
            [(("forZones", 0, "name"), "expected the name of a zone")],
            id="zone too long",
        ),
        pytest.param(
            {"forNodes": [{"name": "A"}]},
            [(("forNodes", 0, "name"), "expected the name of a node")],
            id="no node",
        ),
        pytest.param(
            {"forZones": [{"name": "a"}, {"name": "a"}]},
            [(("forZones", 1, "name"), "expected each name once")],
            id="zone twice",
        ),
        pytest.param(
            {"forNodes": [{"name": f"n{number}"} for number in range(9)]},
            [(("forNodes",), "expected at most 8")],
            id="too many",
        ),
    ],
)
def test_hints(hints: dict[str, Any], expected: list[Problem]) -> None:
    """Hints name zones and nodes."""
    item = msgspec.convert(
        {
            "metadata": {"name": "web-1", "namespace": "a"},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.0.0.1"], "hints": hints}],
        },
        EndpointSlice,
    )

    assert [*problems(item)] == [(("endpoints", 0, "hints", *path), words) for path, words in expected]


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


@pytest.mark.parametrize(
    ("family", "addresses", "expected"),
    [
        pytest.param("IPv4", [["10.0.0.1"], ["10.0.0.2"]], [], id="IPv4"),
        pytest.param("IPv6", [["fd00::1"]], [], id="IPv6"),
        pytest.param("FQDN", [["example.org"]], [], id="names are not looked at"),
        pytest.param("IPv4", [], [], id="no endpoints"),
        pytest.param(
            "IPv4",
            [["10.0.0.1"], []],
            [(("endpoints", 1, "addresses"), "expected at least one address")],
            id="no address",
        ),
        pytest.param(
            "IPv4",
            [["10.0.0.1", "fd00::1"]],
            [(("endpoints", 0, "addresses", 1), "expected an IPv4 address")],
            id="another family",
        ),
        pytest.param(
            "IPv6",
            [["fe80::1%eth0"]],
            [(("endpoints", 0, "addresses", 0), "expected an IPv6 address")],
            id="with an interface",
        ),
        pytest.param(
            "IPv6",
            [["::ffff:10.0.0.1"]],
            [(("endpoints", 0, "addresses", 0), "expected an IPv6 address")],
            id="IPv4-mapped",
        ),
        *(
            pytest.param(family, [[text]], [(("endpoints", 0, "addresses", 0), REACHABLE)], id=text)
            for family, text in (
                *(("IPv4", each) for each in (NOWHERE, "127.0.0.1", "169.254.1.1", "224.0.0.1")),
                *(("IPv6", each) for each in ("::", "::1", "fe80::1", "ff02::1")),
            )
        ),
    ],
)
def test_slice(family: str, addresses: list[list[str]], expected: list[Problem]) -> None:
    """The addresses of a slice are of its type."""
    item = msgspec.convert(
        {
            "metadata": {"name": "web-1", "namespace": "a"},
            "addressType": family,
            "endpoints": [{"addresses": each} for each in addresses],
        },
        EndpointSlice,
    )

    assert [*problems(item)] == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        pytest.param(["a", "b", ""], [], id="apart"),
        pytest.param(
            ["a", "a"], [(("ports", 1, "name"), "expected each port name once")], id="one name twice"
        ),
        pytest.param(
            [None, ""], [(("ports", 1, "name"), "expected each port name once")], id="two without a name"
        ),
    ],
)
def test_slice_ports(names: list[str | None], expected: list[Problem]) -> None:
    """The names of a slice's ports tell them apart."""
    ports = [{"name": name, "port": 80} for name in names]
    item = msgspec.convert(
        {"metadata": {"name": "web-1", "namespace": "a"}, "addressType": "IPv4", "ports": ports},
        EndpointSlice,
    )

    assert [*problems(item)] == expected


@pytest.mark.parametrize(
    ("kind", "address", "expected"),
    [
        pytest.param("InternalIP", "172.30.0.1", [], id="address"),
        pytest.param("Hostname", "n1", [], id="a name is no address"),
        pytest.param(
            "InternalIP",
            "n1",
            [(("status", "addresses", 0, "address"), "expected an IP address")],
            id="InternalIP",
        ),
        pytest.param(
            "ExternalIP",
            "",
            [(("status", "addresses", 0, "address"), "expected an IP address")],
            id="ExternalIP",
        ),
    ],
)
def test_node(kind: str, address: str, expected: list[Problem]) -> None:
    """The addresses that are used as addresses must be some."""
    status = {"addresses": [{"type": kind, "address": address}]}
    item = msgspec.convert({"metadata": {"name": "n1"}, "status": status}, Node)

    assert [*problems(item)] == expected


@pytest.mark.parametrize(
    ("key", "text", "wrong"),
    [
        pytest.param("app", "web", "", id="plain"),
        pytest.param("example.com/app", "A.b_c-1", "", id="prefix"),
        pytest.param("app", "", "", id="no value"),
        pytest.param("a" * 63, "b" * 63, "", id="63"),
        pytest.param("a" * 64, "b", "key", id="key of 64"),
        pytest.param("a", "b" * 64, "value", id="value of 64"),
        pytest.param("", "b", "key", id="no key"),
        pytest.param("/app", "b", "key", id="empty prefix"),
        pytest.param("a/b/c", "d", "key", id="two slashes"),
        pytest.param("Example.com/app", "b", "key", id="capitals in a prefix"),
        pytest.param("-a", "b", "key", id="begins with a dash"),
        pytest.param("a\n", "b", "key", id="ends with a newline"),
        pytest.param("a", "b.", "value", id="ends with a dot"),
        pytest.param("a", "b/c", "value", id="slash in a value"),
    ],
)
def test_labels(key: str, text: str, wrong: str) -> None:
    found = [(path, "value" if "value" in words else "key") for path, words in label_problems({key: text})]

    assert found == ([((key,), wrong)] if wrong else [])
