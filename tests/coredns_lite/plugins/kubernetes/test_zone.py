"""What CoreDNS 1.13.1 answers (reference/dns.md, sections 3.2 and 3.3), row by row."""

import dns.message
import pytest

from coredns_lite.wire.reply import MAX_TCP_REPLY_BYTES, Answer
from nodeplane.kube.objects import Metadata, Service, ServiceSpec
from tests.coredns_lite.objects import (
    endpoint,
    external_name,
    namespace,
    pod,
    service,
    slice_of,
)
from tests.coredns_lite.plugins.kubernetes.asking import NODATA, NXDOMAIN, Others, Plugin, Seen, found, soa

OBJECTS = (
    service("web", "10.96.0.1", ports="http:80 https:443 dns:53/UDP"),
    slice_of("web-1", "web", [endpoint("10.1.0.1"), endpoint("10.1.0.2", ready=False)], ports="http:8080"),
    service("lone", "10.96.0.7"),
    service("db", "None"),
    slice_of("db-1", "db", [endpoint("10.1.0.9", "db-0", "db-pod-0"), endpoint("10.1.0.8", pod="db-pod-1")]),
    external_name("ip", "192.0.2.1"),
    external_name("ip6", "2001:db8::1"),
    external_name("out", "example.org."),
    namespace("empty", team="a"),
    pod("p", "10.1.0.1", "fd01::1"),
    pod("done", "10.1.0.77", phase="Succeeded"),
)
CLUSTER = Plugin(*OBJECTS)
WEB = "web.default.svc.cluster.local."
REVERSE_NXDOMAIN = Seen("NXDOMAIN", authority=(soa("in-addr.arpa."),))


@pytest.mark.parametrize(
    ("name", "rtype", "seen"),
    [
        pytest.param(WEB, "AAAA", NODATA, id="AAAA of an IPv4 Service"),
        *(
            pytest.param(WEB, rtype, NODATA, id=rtype)
            for rtype in ("MX", "TXT", "HTTPS", "ANY", "HINFO", "NS", "SOA")
        ),
        pytest.param("nope.default.svc.cluster.local", "A", NXDOMAIN, id="no such Service"),
        pytest.param("nope.default.svc.cluster.local", "TXT", NXDOMAIN, id="no such Service, TXT"),
        pytest.param("web.nope.svc.cluster.local", "A", NXDOMAIN, id="no such namespace"),
        pytest.param(f"x.{WEB}", "A", NXDOMAIN, id="no such endpoint"),
        pytest.param("*.default.svc.cluster.local", "A", NXDOMAIN, id="wildcard"),
        pytest.param(f"*.{WEB}", "A", NXDOMAIN, id="wildcard endpoint"),
        pytest.param(f"*.*.{WEB}", "SRV", NXDOMAIN, id="wildcard port"),
        pytest.param("svc.cluster.local", "A", NODATA, id="svc"),
        pytest.param("pod.cluster.local", "A", NODATA, id="pod"),
        pytest.param("default.svc.cluster.local", "A", NODATA, id="namespace"),
        pytest.param("empty.svc.cluster.local", "A", NODATA, id="namespace without Services"),
        pytest.param("nope.svc.cluster.local", "A", NXDOMAIN, id="namespace that is not there"),
        pytest.param("cluster.local", "A", NODATA, id="apex"),
        pytest.param("cluster.local", "SOA", found(soa()), id="SOA"),
        pytest.param("other.cluster.local", "A", NXDOMAIN, id="another name of the zone"),
        pytest.param("dns-version.cluster.local", "A", NODATA, id="another type of dns-version"),
        pytest.param("x.dns-version.cluster.local", "TXT", NXDOMAIN, id="below dns-version"),
        pytest.param(f"_tcp.{WEB}", "SRV", NXDOMAIN, id="protocol without a port"),
        pytest.param(f"_tcp.{WEB}", "A", NXDOMAIN, id="protocol without a port, A"),
        pytest.param(f"_http._tcp.{WEB}", "A", found(f"_http._tcp.{WEB} 5 IN A 10.96.0.1"), id="A of a port"),
        pytest.param(f"http.tcp.{WEB}", "A", NXDOMAIN, id="a port without underscores"),
        pytest.param(f"a._http._tcp.{WEB}", "A", NXDOMAIN, id="too long a name"),
        pytest.param(
            WEB,
            "SRV",
            found(
                f"{WEB} 5 IN SRV 0 33 53 {WEB}",
                f"{WEB} 5 IN SRV 0 33 80 {WEB}",
                f"{WEB} 5 IN SRV 0 33 443 {WEB}",
                additional=(f"{WEB} 5 IN A 10.96.0.1",),
            ),
            id="SRV of a Service: all ports",
        ),
        pytest.param(
            "lone.default.svc.cluster.local",
            "SRV",
            found(
                "lone.default.svc.cluster.local. 5 IN SRV 0 100 80 lone.default.svc.cluster.local.",
                additional=("lone.default.svc.cluster.local. 5 IN A 10.96.0.7",),
            ),
            id="SRV of a Service: an unnamed port too",
        ),
        pytest.param(
            f"10-1-0-1.{WEB}",
            "A",
            found(f"10-1-0-1.{WEB} 5 IN A 10.1.0.1"),
            id="endpoint of a Service with a cluster IP",
        ),
        pytest.param(f"10-1-0-2.{WEB}", "A", NXDOMAIN, id="unready endpoint of one"),
        pytest.param(
            f"10-1-0-1.{WEB}",
            "SRV",
            found(
                f"10-1-0-1.{WEB} 5 IN SRV 0 100 8080 10-1-0-1.{WEB}",
                additional=(f"10-1-0-1.{WEB} 5 IN A 10.1.0.1",),
            ),
            id="SRV of an endpoint",
        ),
        pytest.param(
            "1.0.1.10.in-addr.arpa",
            "PTR",
            found(f"1.0.1.10.in-addr.arpa. 5 IN PTR 10-1-0-1.{WEB}"),
            id="PTR of such an endpoint",
        ),
        pytest.param("ip.default.svc.cluster.local", "A", NXDOMAIN, id="ExternalName of an address"),
        pytest.param(
            "ip6.default.svc.cluster.local", "CNAME", NXDOMAIN, id="ExternalName of an IPv6 address"
        ),
        pytest.param("x.out.default.svc.cluster.local", "A", NXDOMAIN, id="below an ExternalName"),
        pytest.param(
            "_http._tcp.out.default.svc.cluster.local", "SRV", NXDOMAIN, id="port of an ExternalName"
        ),
        pytest.param("9.9.9.9.in-addr.arpa", "PTR", REVERSE_NXDOMAIN, id="PTR not found"),
        pytest.param(
            "1.0.96.10.in-addr.arpa",
            "A",
            Seen("NOERROR", authority=(soa("in-addr.arpa."),)),
            id="another type of an address",
        ),
        pytest.param(
            "96.10.in-addr.arpa",
            "PTR",
            Seen("NOERROR", authority=(soa("in-addr.arpa."),)),
            id="part of an address",
        ),
        pytest.param("01.0.96.10.in-addr.arpa", "PTR", REVERSE_NXDOMAIN, id="a leading zero"),
        pytest.param("256.0.96.10.in-addr.arpa", "PTR", REVERSE_NXDOMAIN, id="no address"),
        pytest.param("x.1.0.96.10.in-addr.arpa", "PTR", REVERSE_NXDOMAIN, id="below an address"),
        pytest.param("in-addr.arpa", "SOA", found(soa("in-addr.arpa.")), id="SOA of a reverse zone"),
        pytest.param(
            "in-addr.arpa",
            "PTR",
            Seen("NOERROR", authority=(soa("in-addr.arpa."),)),
            id="apex of a reverse zone",
        ),
        pytest.param("g.ip6.arpa", "PTR", Seen("NXDOMAIN", authority=(soa("ip6.arpa."),)), id="no nibble"),
        pytest.param("10-1-0-1.default.pod.cluster.local", "A", NXDOMAIN, id="pods disabled"),
        pytest.param("default.pod.cluster.local", "A", NXDOMAIN, id="pods disabled, their namespace"),
        pytest.param("cluster.local", "NS", NODATA, id="NS where only loopback is ours"),
        pytest.param("ns.dns.cluster.local", "A", NODATA, id="ns.dns where only loopback is ours"),
        pytest.param("dns.cluster.local", "A", NODATA, id="above ns.dns"),
    ],
)
def test_probes(name: str, rtype: str, seen: Seen) -> None:
    assert CLUSTER.ask(name, rtype) == seen


POD_MODES = ("disabled", "insecure", "verified")
POD = "default.pod.cluster.local."


@pytest.mark.parametrize(
    ("name", "rtype", "disabled", "insecure", "verified"),
    [
        pytest.param(f"10-1-0-1.{POD}", "A", None, "10.1.0.1", "10.1.0.1", id="live pod"),
        pytest.param(f"10-1-0-1.{POD}", "AAAA", None, "", "", id="its other family"),
        pytest.param(f"fd01--1.{POD}", "AAAA", None, "fd01::1", "fd01::1", id="its second address"),
        pytest.param(f"1-2-3-4.{POD}", "A", None, "1.2.3.4", None, id="nobody"),
        pytest.param(f"10-1-0-77.{POD}", "A", None, "10.1.0.77", None, id="a pod that has ended"),
        pytest.param("10-1-0-1.empty.pod.cluster.local.", "A", None, "10.1.0.1", None, id="other namespace"),
        pytest.param("10-1-0-1.nope.pod.cluster.local.", "A", None, None, None, id="no such namespace"),
        pytest.param(f"1-2-3.{POD}", "A", None, None, None, id="no address"),
        pytest.param(f"1-2-3-256.{POD}", "A", None, None, None, id="no address either"),
        pytest.param(f"x.10-1-0-1.{POD}", "A", None, None, None, id="below a pod"),
        pytest.param(POD, "A", None, "", "", id="namespace"),
        pytest.param("nope.pod.cluster.local.", "A", None, None, None, id="namespace that is not there"),
    ],
)
def test_pods(
    name: str, rtype: str, disabled: str | None, insecure: str | None, verified: str | None
) -> None:
    """Pod records in each mode: an address, NODATA (empty) or NXDOMAIN (None)."""
    for mode, address in zip(POD_MODES, (disabled, insecure, verified), strict=True):
        seen = found(f"{name} 5 IN {rtype} {address}") if address else NODATA if address == "" else NXDOMAIN
        assert Plugin(*OBJECTS, options=f"pods {mode}").ask(name, rtype) == seen


@pytest.mark.parametrize(
    ("options", "name", "seen"),
    [
        pytest.param("namespaces shop", WEB, NXDOMAIN, id="namespaces: another"),
        pytest.param("namespaces shop", "default.svc.cluster.local", NXDOMAIN, id="namespaces: itself"),
        pytest.param(
            "namespaces empty default", WEB, found(f"{WEB} 5 IN A 10.96.0.1"), id="namespaces: this"
        ),
        pytest.param("namespace_labels team=a", WEB, NXDOMAIN, id="namespace_labels: no Namespace says so"),
        pytest.param(
            "namespace_labels team=a", "empty.svc.cluster.local", NODATA, id="namespace_labels: this"
        ),
        pytest.param(
            "namespace_labels team=b", "empty.svc.cluster.local", NXDOMAIN, id="namespace_labels: other"
        ),
        pytest.param("labels app=x", WEB, NXDOMAIN, id="labels"),
        pytest.param("labels !app", WEB, found(f"{WEB} 5 IN A 10.96.0.1"), id="labels: not there"),
        pytest.param("ttl 0", WEB, found(f"{WEB} 0 IN A 10.96.0.1"), id="ttl 0"),
        pytest.param(
            "ttl 30", "nope.cluster.local", Seen("NXDOMAIN", authority=(soa(ttl_s=30),)), id="ttl, SOA"
        ),
        pytest.param(
            "ttl 30", "dns-version.cluster.local", Seen("NOERROR", authority=(soa(ttl_s=30),)), id="ttl 30"
        ),
        pytest.param("noendpoints", "db.default.svc.cluster.local", NXDOMAIN, id="noendpoints: headless"),
        pytest.param("noendpoints", f"10-1-0-1.{WEB}", NXDOMAIN, id="noendpoints: endpoint"),
        pytest.param("noendpoints", WEB, found(f"{WEB} 5 IN A 10.96.0.1"), id="noendpoints: cluster IP"),
        pytest.param("ignore empty_service", WEB, found(f"{WEB} 5 IN A 10.96.0.1"), id="ignore: not empty"),
        pytest.param("ignore empty_service", "lone.default.svc.cluster.local", NXDOMAIN, id="ignore: empty"),
        pytest.param(
            "endpoint_pod_names",
            "db-0.db.default.svc.cluster.local",
            found("db-0.db.default.svc.cluster.local. 5 IN A 10.1.0.9"),
            id="pod names: a hostname goes first",
        ),
        pytest.param(
            "endpoint_pod_names",
            "db-pod-1.db.default.svc.cluster.local",
            found("db-pod-1.db.default.svc.cluster.local. 5 IN A 10.1.0.8"),
            id="pod names",
        ),
        pytest.param(
            "endpoint_pod_names",
            "10-1-0-8.db.default.svc.cluster.local",
            NXDOMAIN,
            id="pod names: in place of the address",
        ),
        pytest.param(
            "endpoint_pod_names",
            f"10-1-0-1.{WEB}",
            found(f"10-1-0-1.{WEB} 5 IN A 10.1.0.1"),
            id="pod names: no pod known",
        ),
    ],
)
def test_options(options: str, name: str, seen: Seen) -> None:
    assert Plugin(*OBJECTS, options=options).ask(name) == seen


def test_long_pod_names() -> None:
    """A pod's name that is no label leaves the address; PTR says the same."""
    names = ["p" * 64, "a.b", "p" * 63]
    piece = slice_of("db-1", "db", [endpoint(f"10.1.0.{at}", pod=name) for at, name in enumerate(names)])
    plugin = Plugin(service("db", "None"), piece, options="endpoint_pod_names")

    assert [plugin.ask(f"{at}.0.1.10.in-addr.arpa", "PTR").answer[0].split()[-1] for at in range(3)] == [
        "10-1-0-0.db.default.svc.cluster.local.",
        "10-1-0-1.db.default.svc.cluster.local.",
        f"{'p' * 63}.db.default.svc.cluster.local.",
    ]


KNOWN = Others({"9.9.9.9.in-addr.arpa.": Answer(is_authoritative=False, recursed=True)})
ASKED = Seen("NOERROR", flags="QR RD RA")
NOBODY = Seen("SERVFAIL", flags="QR RD")


@pytest.mark.parametrize(
    ("options", "name", "seen"),
    [
        pytest.param("", "9.9.9.9.in-addr.arpa", REVERSE_NXDOMAIN, id="no fallthrough"),
        pytest.param("fallthrough", "9.9.9.9.in-addr.arpa", ASKED, id="all zones"),
        pytest.param("fallthrough in-addr.arpa ip6.arpa", "9.9.9.9.in-addr.arpa", ASKED, id="this zone"),
        pytest.param("fallthrough in-addr.arpa", "nope.cluster.local", NXDOMAIN, id="another zone"),
        pytest.param(
            "fallthrough", "nope.cluster.local", Seen("NXDOMAIN", flags="QR RD RA"), id="their NXDOMAIN"
        ),
        pytest.param("fallthrough", "svc.cluster.local", NODATA, id="NODATA is an answer"),
    ],
)
def test_fallthrough(options: str, name: str, seen: Seen) -> None:
    assert Plugin(*OBJECTS, options=options, following=KNOWN).ask(name) == seen


def test_fallthrough_to_nobody() -> None:
    """Where no plugin follows, CoreDNS says SERVFAIL without an SOA."""
    plugin = Plugin(*OBJECTS, options="fallthrough")

    assert plugin.ask("9.9.9.9.in-addr.arpa", "PTR") == NOBODY
    assert plugin.ask("example.org") == Seen("REFUSED", flags="QR RD")


def test_nothing_is_denied_before_the_first_snapshot() -> None:
    """Every name of every zone is SERVFAIL, and nobody else is asked for it (law 4)."""
    others = Others({})
    plugin = Plugin(options="fallthrough;pods insecure", following=others, is_complete=False)
    zero = soa().replace("1700000000", "0")

    for name in (WEB, "cluster.local", "svc.cluster.local", "1-2-3-4.default.pod.cluster.local"):
        assert plugin.ask(name) == Seen("SERVFAIL", authority=(zero,))
    seen = plugin.ask("1.0.96.10.in-addr.arpa", "PTR")
    assert (seen.rcode, seen.authority) == ("SERVFAIL", (zero.replace("cluster.local", "in-addr.arpa"),))
    assert others.asked == []


def test_spelling_of_a_target() -> None:
    """The zone of a target is spelled as the client does, its Service's part as it is (0x20)."""
    reply = CLUSTER.reply("_hTTp._Tcp.wEB.dEFAULT.sVC.clUSter.lOCAL.", "SRV", MAX_TCP_REPLY_BYTES)
    (rrset,) = dns.message.from_wire(reply).answer

    assert rrset.name.to_text() == "_hTTp._Tcp.wEB.dEFAULT.sVC.clUSter.lOCAL."
    assert [record.target.to_text() for record in rrset] == ["web.default.svc.clUSter.lOCAL."]


DNS = Plugin(
    service("kube-dns", "10.96.0.10", "fd00::10", namespace="kube-system"),
    slice_of("kube-dns-1", "kube-dns", [endpoint("10.1.0.53")], namespace="kube-system"),
    own="10.1.0.53",
)
HEADLESS_DNS = Plugin(
    service("dns", "None"),
    slice_of("dns-1", "dns", [endpoint("10.1.0.53", "a"), endpoint("10.1.0.54")]),
    own="10.1.0.53 fd01::53",
)
NO_SERVICE = Plugin(own="192.0.2.53 fd01::53")
KUBE_DNS = "kube-dns.kube-system.svc.cluster.local."


@pytest.mark.parametrize(
    ("plugin", "name", "rtype", "seen"),
    [
        pytest.param(
            DNS,
            "cluster.local",
            "NS",
            found(
                f"cluster.local. 5 IN NS {KUBE_DNS}",
                additional=(f"{KUBE_DNS} 5 IN A 10.96.0.10", f"{KUBE_DNS} 5 IN AAAA fd00::10"),
            ),
            id="the Service",
        ),
        pytest.param(
            DNS,
            "in-addr.arpa",
            "NS",
            found(
                f"in-addr.arpa. 5 IN NS {KUBE_DNS}",
                additional=(f"{KUBE_DNS} 5 IN A 10.96.0.10", f"{KUBE_DNS} 5 IN AAAA fd00::10"),
            ),
            id="of a reverse zone",
        ),
        pytest.param(
            DNS, "ns.dns.cluster.local", "A", found("ns.dns.cluster.local. 5 IN A 10.96.0.10"), id="ns.dns"
        ),
        pytest.param(
            HEADLESS_DNS,
            "cluster.local",
            "NS",
            found(
                "cluster.local. 5 IN NS a.dns.default.svc.cluster.local.",
                "cluster.local. 5 IN NS 10-1-0-54.dns.default.svc.cluster.local.",
                additional=(
                    "a.dns.default.svc.cluster.local. 5 IN A 10.1.0.53",
                    "10-1-0-54.dns.default.svc.cluster.local. 5 IN A 10.1.0.54",
                ),
            ),
            id="a headless Service: its endpoints",
        ),
        pytest.param(
            NO_SERVICE,
            "cluster.local",
            "NS",
            found(
                "cluster.local. 5 IN NS ns.dns.cluster.local.",
                additional=(
                    "ns.dns.cluster.local. 5 IN A 192.0.2.53",
                    "ns.dns.cluster.local. 5 IN AAAA fd01::53",
                ),
            ),
            id="own addresses",
        ),
        pytest.param(
            NO_SERVICE,
            "ns.dns.cluster.local",
            "AAAA",
            found("ns.dns.cluster.local. 5 IN AAAA fd01::53"),
            id="own address, AAAA",
        ),
    ],
)
def test_name_servers(plugin: Plugin, name: str, rtype: str, seen: Seen) -> None:
    assert plugin.ask(name, rtype) == seen


def test_a_service_without_an_address_yet() -> None:
    """What the API server has not given a cluster IP yet leads nowhere."""
    spec = ServiceSpec(raw_ports=service("x", "10.0.0.1").spec.raw_ports)

    assert Plugin(Service(Metadata("web", "default"), spec)).ask(WEB) == NXDOMAIN


def test_the_root_as_a_zone() -> None:
    """A server block of all names serves a cluster whose zone is the root."""
    plugin = Plugin(service("web", "10.96.0.1"), zones="")

    assert plugin.ask("web.default.svc") == found("web.default.svc. 5 IN A 10.96.0.1")
    assert plugin.ask("web.default.svc.cluster.local").rcode == "NXDOMAIN"
