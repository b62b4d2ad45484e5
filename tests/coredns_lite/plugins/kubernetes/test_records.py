"""The records of the Kubernetes DNS specification 1.1.0 (reference/dns.md, section 3.1), row by row."""

import msgspec
import pytest

from nodeplane.kube.objects import EndpointConditions, EndpointSlice, Metadata
from tests.coredns_lite.objects import (
    READY,
    UNREADY,
    endpoint,
    endpoint_slice,
    external_name,
    namespace,
    service,
    slice_of,
)
from tests.coredns_lite.plugins.kubernetes.asking import NODATA, NXDOMAIN, Plugin, Seen, found, see, soa

CLUSTER = Plugin(
    service("web", "10.96.0.1", ports="http:80 dns:53/UDP"),
    service("plain", "10.96.0.3"),
    service("dual", "10.96.0.2", "fd00::2", ports="http:80"),
    service("six", "fd00::6", ports="http:80"),
    service("db", "None", ports="sql:5432 peer:7000"),
    slice_of(
        "db-1",
        "db",
        [
            endpoint("10.1.0.2", "db-1"),
            endpoint("10.1.0.1", "DB-0"),
            endpoint("10.1.0.3", "db-2", ready=False),
            endpoint("10.1.0.4"),
        ],
        ports="sql:5432 peer:7001",
    ),
    slice_of(
        "db-2", "db", [endpoint("fd01::1", "db-0"), endpoint("fd01:0:0:5::9")], ports="sql:5432", is_ipv6=True
    ),
    service("same", "None"),
    slice_of("same-1", "same", [endpoint("10.3.0.1", "a"), endpoint("10.3.0.2", "a")], ports="x:1"),
    service("idle", "None"),
    endpoint_slice("idle-1", "idle", **{"10_2_0_1": UNREADY}),
    service("nil", "None"),
    endpoint_slice("nil-1", "nil", **{"10_2_0_2": EndpointConditions(ready=None)}),
    service("bare", "None", ports=""),
    endpoint_slice("bare-1", "bare", **{"10_2_0_3": READY}),
    external_name("out", "www.Example.ORG"),
    namespace("empty"),
)

WEB, DB = "web.default.svc.cluster.local.", "db.default.svc.cluster.local."


@pytest.mark.parametrize(
    ("name", "rtype", "seen"),
    [
        pytest.param(
            "dns-version.cluster.local",
            "TXT",
            found('dns-version.cluster.local. 28800 IN TXT "1.1.0"'),
            id="schema",
        ),
        pytest.param(WEB, "A", found(f"{WEB} 5 IN A 10.96.0.1"), id="A of a cluster IP"),
        pytest.param(
            "six.default.svc.cluster.local",
            "AAAA",
            found("six.default.svc.cluster.local. 5 IN AAAA fd00::6"),
            id="AAAA of a cluster IP",
        ),
        pytest.param(
            "dual.default.svc.cluster.local",
            "A",
            found("dual.default.svc.cluster.local. 5 IN A 10.96.0.2"),
            id="dual stack, A",
        ),
        pytest.param(
            "dual.default.svc.cluster.local",
            "AAAA",
            found("dual.default.svc.cluster.local. 5 IN AAAA fd00::2"),
            id="dual stack, AAAA",
        ),
        pytest.param(
            f"_http._tcp.{WEB}",
            "SRV",
            found(f"_http._tcp.{WEB} 5 IN SRV 0 100 80 {WEB}", additional=(f"{WEB} 5 IN A 10.96.0.1",)),
            id="SRV of a named port",
        ),
        pytest.param(
            f"_dns._udp.{WEB}",
            "SRV",
            found(f"_dns._udp.{WEB} 5 IN SRV 0 100 53 {WEB}", additional=(f"{WEB} 5 IN A 10.96.0.1",)),
            id="SRV, UDP",
        ),
        pytest.param(f"_dns._tcp.{WEB}", "SRV", NXDOMAIN, id="SRV, the other protocol"),
        pytest.param(
            "_._tcp.plain.default.svc.cluster.local", "SRV", NXDOMAIN, id="no SRV of an unnamed port"
        ),
        pytest.param("_http._tcp.plain.default.svc.cluster.local", "SRV", NXDOMAIN, id="no such port"),
        pytest.param(
            "_http._tcp.dual.default.svc.cluster.local",
            "SRV",
            found(
                "_http._tcp.dual.default.svc.cluster.local. 5 IN SRV 0 100 80 "
                "dual.default.svc.cluster.local.",
                additional=(
                    "dual.default.svc.cluster.local. 5 IN A 10.96.0.2",
                    "dual.default.svc.cluster.local. 5 IN AAAA fd00::2",
                ),
            ),
            id="SRV, dual stack: one target, two addresses",
        ),
        pytest.param(
            "1.0.96.10.in-addr.arpa",
            "PTR",
            found(f"1.0.96.10.in-addr.arpa. 5 IN PTR {WEB}"),
            id="PTR of a cluster IP",
        ),
        pytest.param(
            "6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa",
            "PTR",
            found(
                "6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa. 5 IN PTR "
                "six.default.svc.cluster.local."
            ),
            id="PTR of a cluster IP, IPv6",
        ),
        pytest.param(
            DB,
            "A",
            found(f"{DB} 5 IN A 10.1.0.1", f"{DB} 5 IN A 10.1.0.2", f"{DB} 5 IN A 10.1.0.4"),
            id="headless: each ready endpoint",
        ),
        pytest.param(
            DB, "AAAA", found(f"{DB} 5 IN AAAA fd01::1", f"{DB} 5 IN AAAA fd01:0:0:5::9"), id="headless, IPv6"
        ),
        pytest.param("idle.default.svc.cluster.local", "A", NXDOMAIN, id="headless, none ready"),
        pytest.param("idle.default.svc.cluster.local", "AAAA", NXDOMAIN, id="headless, none ready, AAAA"),
        pytest.param(
            "nil.default.svc.cluster.local",
            "A",
            found("nil.default.svc.cluster.local. 5 IN A 10.2.0.2"),
            id="no word on readiness is ready",
        ),
        pytest.param(f"db-1.{DB}", "A", found(f"db-1.{DB} 5 IN A 10.1.0.2"), id="hostname"),
        pytest.param(f"db-0.{DB}", "A", found(f"db-0.{DB} 5 IN A 10.1.0.1"), id="hostname in upper case"),
        pytest.param(
            f"db-0.{DB}", "AAAA", found(f"db-0.{DB} 5 IN AAAA fd01::1"), id="hostname, other family"
        ),
        pytest.param(f"db-2.{DB}", "A", NXDOMAIN, id="hostname of an unready endpoint"),
        pytest.param(f"10-1-0-4.{DB}", "A", found(f"10-1-0-4.{DB} 5 IN A 10.1.0.4"), id="dashed address"),
        pytest.param(
            f"fd01-0-0-5--9.{DB}",
            "AAAA",
            found(f"fd01-0-0-5--9.{DB} 5 IN AAAA fd01:0:0:5::9"),
            id="dashed address, IPv6",
        ),
        pytest.param(f"fd01--5-0-0-0-9.{DB}", "AAAA", NXDOMAIN, id="another way to write that address"),
        pytest.param(f"10-1-0-1.{DB}", "A", NXDOMAIN, id="no dashed address beside a hostname"),
        pytest.param(
            "a.same.default.svc.cluster.local",
            "A",
            found(
                "a.same.default.svc.cluster.local. 5 IN A 10.3.0.1",
                "a.same.default.svc.cluster.local. 5 IN A 10.3.0.2",
            ),
            id="several addresses of one hostname",
        ),
        pytest.param(
            f"_sql._tcp.{DB}",
            "SRV",
            found(
                f"_sql._tcp.{DB} 5 IN SRV 0 25 5432 10-1-0-4.{DB}",
                f"_sql._tcp.{DB} 5 IN SRV 0 25 5432 db-0.{DB}",
                f"_sql._tcp.{DB} 5 IN SRV 0 25 5432 db-1.{DB}",
                f"_sql._tcp.{DB} 5 IN SRV 0 25 5432 fd01-0-0-5--9.{DB}",
                additional=(
                    f"10-1-0-4.{DB} 5 IN A 10.1.0.4",
                    f"db-0.{DB} 5 IN A 10.1.0.1",
                    f"db-1.{DB} 5 IN A 10.1.0.2",
                    f"db-0.{DB} 5 IN AAAA fd01::1",
                    f"fd01-0-0-5--9.{DB} 5 IN AAAA fd01:0:0:5::9",
                ),
            ),
            id="headless SRV of a port: every ready endpoint's name",
        ),
        pytest.param(
            "bare.default.svc.cluster.local",
            "A",
            found("bare.default.svc.cluster.local. 5 IN A 10.2.0.3"),
            id="portless headless",
        ),
        pytest.param("bare.default.svc.cluster.local", "SRV", NODATA, id="portless headless has no SRV"),
        pytest.param(
            "4.0.1.10.in-addr.arpa",
            "PTR",
            found(f"4.0.1.10.in-addr.arpa. 5 IN PTR 10-1-0-4.{DB}"),
            id="PTR of an endpoint",
        ),
        pytest.param(
            "2.0.1.10.in-addr.arpa",
            "PTR",
            found(f"2.0.1.10.in-addr.arpa. 5 IN PTR db-1.{DB}"),
            id="PTR of an endpoint with a hostname",
        ),
        pytest.param(
            "3.0.1.10.in-addr.arpa",
            "PTR",
            Seen("NXDOMAIN", authority=(soa("in-addr.arpa."),)),
            id="PTR of an unready endpoint",
        ),
        pytest.param(
            "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.d.f.ip6.arpa",
            "PTR",
            found(
                "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.d.f.ip6.arpa. 5 IN PTR "
                f"db-0.{DB}"
            ),
            id="PTR of an endpoint, IPv6",
        ),
        pytest.param(
            "out.default.svc.cluster.local",
            "CNAME",
            found("out.default.svc.cluster.local. 5 IN CNAME www.Example.ORG."),
            id="ExternalName",
        ),
    ],
)
def test_specification(name: str, rtype: str, seen: Seen) -> None:
    assert in_order(CLUSTER.ask(name, rtype)) == in_order(seen)
    # All comparisons are case-insensitive: what is found does not depend on the spelling.
    assert lower(CLUSTER.ask(name.upper(), rtype)) == lower(seen)


def in_order(seen: Seen) -> Seen:
    """Sort what comes in the order of the wire."""
    return Seen(
        seen.rcode, tuple(sorted(seen.answer)), seen.authority, tuple(sorted(seen.additional)), seen.flags
    )


def lower(seen: Seen) -> Seen:
    answer, authority, additional = (
        tuple(map(str.lower, lines)) for lines in (seen.answer, seen.authority, seen.additional)
    )
    return in_order(Seen(seen.rcode, answer, authority, additional, seen.flags))


def test_a_slice_of_names_gives_none() -> None:
    """Addresses that are names (addressType FQDN) are nothing that an A record could say."""
    piece = EndpointSlice(
        Metadata("db-1", "default", {"kubernetes.io/service-name": "db"}), "FQDN", (endpoint("10.1.0.1"),)
    )

    assert Plugin(service("db", "None"), piece).ask("db.default.svc.cluster.local") == NXDOMAIN


def test_publish_not_ready_addresses() -> None:
    """The slice controller says ready of them itself: there is no special case, and none is made."""
    plugin = Plugin(
        service("db", "None"), slice_of("db-1", "db", [endpoint("10.1.0.1", ready=True, serving=False)])
    )

    assert plugin.ask(DB) == found(f"{DB} 5 IN A 10.1.0.1")


def test_an_endpoint_of_two_addresses() -> None:
    """All of them are its own, as in CoreDNS, though kube-proxy uses the first alone."""
    both = msgspec.structs.replace(endpoint("10.1.0.1", "a"), addresses=("10.1.0.1", "10.1.0.2"))
    plugin = Plugin(service("db", "None"), slice_of("db-1", "db", [both], ports="sql:1"))

    for name in (DB, f"a.{DB}"):
        assert plugin.ask(name) == found(f"{name} 5 IN A 10.1.0.1", f"{name} 5 IN A 10.1.0.2")
    assert plugin.ask("2.0.1.10.in-addr.arpa", "PTR").answer == (f"2.0.1.10.in-addr.arpa. 5 IN PTR a.{DB}",)


def test_an_address_of_two_services() -> None:
    """An endpoint has a name in each of its Services; a cluster IP goes before all of them."""
    pieces = [slice_of(f"{name}-1", name, [endpoint("10.1.0.1")]) for name in ("b", "a")]
    plugin = Plugin(service("a", "None"), service("b", "10.96.0.1"), *pieces)

    assert plugin.ask("1.0.1.10.in-addr.arpa", "PTR").answer == (
        "1.0.1.10.in-addr.arpa. 5 IN PTR 10-1-0-1.a.default.svc.cluster.local.",
        "1.0.1.10.in-addr.arpa. 5 IN PTR 10-1-0-1.b.default.svc.cluster.local.",
    )
    both = Plugin(service("a", "None"), service("b", "10.1.0.1"), *pieces)
    assert both.ask("1.0.1.10.in-addr.arpa", "PTR").answer == (
        "1.0.1.10.in-addr.arpa. 5 IN PTR b.default.svc.cluster.local.",
    )


@pytest.mark.parametrize(
    ("rtype", "limit_bytes", "edns", "answers", "additional"),
    [
        pytest.param("A", 0, {}, 29, 0, id="A, no EDNS"),
        pytest.param("A", 0, {"use_edns": 0, "payload": 1232}, 73, 0, id="A, 1232"),
        pytest.param("A", 0, {"use_edns": 0, "payload": 4096}, 73, 0, id="A, 4096: no fragments"),
        pytest.param("A", 65_535, {}, 200, 0, id="A, TCP"),
        pytest.param("SRV", 0, {}, 7, 0, id="SRV, no EDNS"),
        pytest.param("SRV", 65_535, {}, 200, 200, id="SRV, TCP"),
    ],
)
def test_200_endpoints(
    rtype: str, limit_bytes: int, edns: dict[str, int], answers: int, additional: int
) -> None:
    """A headless Service larger than a datagram: as much as fits and TC, all of it over TCP."""
    endpoints = [endpoint(f"10.1.{number // 100}.{number % 100 + 100}") for number in range(200)]
    pieces = [
        slice_of(f"db-{part}", "db", endpoints[part * 100 :][:100], ports="sql:5432") for part in (0, 1)
    ]
    plugin = Plugin(service("db", "None", ports="sql:5432"), *pieces)

    reply = plugin.reply(DB, rtype, limit_bytes, **edns)
    seen = see(reply)
    assert (len(seen.answer), len(seen.additional)) == (answers, additional)
    assert ("TC" in seen.flags) == (answers < 200)
    assert len(reply) <= (limit_bytes or edns.get("payload", 512))
