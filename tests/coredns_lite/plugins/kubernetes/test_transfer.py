"""All records of a zone, as a transfer has them; every one of them can be asked for."""

import dns.rdata
import dns.rdataclass
import dns.rdatatype
import pytest

from coredns_lite.wire.names import decode_name
from coredns_lite.wire.record import Record
from nodeplane.kube.store import diff_objects
from tests.coredns_lite.objects import (
    READY,
    endpoint,
    endpoint_slice,
    external_name,
    namespace,
    pod,
    service,
    shrunk,
    slice_of,
)
from tests.coredns_lite.plugins.kubernetes.asking import SERIAL, Plugin, soa

PLUGIN = Plugin(
    service("web", "10.96.0.1", "fd00::1", ports="http:80 9000/UDP"),
    slice_of("web-1", "web", [endpoint("10.1.0.7")], ports="http:8080"),
    service("db", "None"),
    slice_of("db-1", "db", [endpoint("10.1.0.1", "a"), endpoint("10.1.0.2", ready=False)], ports="sql:5432"),
    service("idle", "None"),
    external_name("out", "example.org"),
    external_name("ip", "192.0.2.1"),
    namespace("empty"),
    pod("p", "10.1.0.1"),
    pod("q", "10.1.0.1"),
    endpoint_slice("gone-1", "gone", **{"10_1_0_9": READY}),
    options="pods verified",
    own="192.0.2.53",
)
DEFAULT = "default.svc.cluster.local."
FORWARD = [
    soa(),
    "cluster.local. 5 IN NS ns.dns.cluster.local.",
    "ns.dns.cluster.local. 5 IN A 192.0.2.53",
    'dns-version.cluster.local. 28800 IN TXT "1.1.0"',
    f"db.{DEFAULT} 5 IN A 10.1.0.1",
    f"a.db.{DEFAULT} 5 IN A 10.1.0.1",
    f"_sql._tcp.db.{DEFAULT} 5 IN SRV 0 100 5432 a.db.{DEFAULT}",
    f"out.{DEFAULT} 5 IN CNAME example.org.",
    f"web.{DEFAULT} 5 IN A 10.96.0.1",
    f"web.{DEFAULT} 5 IN AAAA fd00::1",
    f"10-1-0-7.web.{DEFAULT} 5 IN A 10.1.0.7",
    f"_http._tcp.web.{DEFAULT} 5 IN SRV 0 100 80 web.{DEFAULT}",
    "10-1-0-1.default.pod.cluster.local. 5 IN A 10.1.0.1",
    soa(),
]
REVERSE = [
    soa("in-addr.arpa."),
    "in-addr.arpa. 5 IN NS ns.dns.cluster.local.",
    f"1.0.1.10.in-addr.arpa. 5 IN PTR a.db.{DEFAULT}",
    f"7.0.1.10.in-addr.arpa. 5 IN PTR 10-1-0-7.web.{DEFAULT}",
    f"1.0.96.10.in-addr.arpa. 5 IN PTR web.{DEFAULT}",
    soa("in-addr.arpa."),
]


def texts(zone: str, plugin: Plugin = PLUGIN) -> list[str]:
    """Write a zone's records down."""
    return [_text(owner, record) for owner, record in plugin.zones[zone].records()]


def _text(owner: bytes, record: Record) -> str:
    rtype = dns.rdatatype.RdataType.make(record.rtype)
    data = dns.rdata.from_wire(dns.rdataclass.IN, rtype, record.rdata, 0, len(record.rdata))
    return f"{decode_name(owner)} {record.ttl_s} IN {rtype.name} {data.to_text()}"


@pytest.mark.parametrize(("zone", "lines"), [("cluster.local.", FORWARD), ("in-addr.arpa.", REVERSE)])
def test_records(zone: str, lines: list[str]) -> None:
    assert texts(zone) == lines


@pytest.mark.parametrize("line", FORWARD[:-1] + REVERSE[:-1])
def test_each_record_can_be_asked_for(line: str) -> None:
    name, _ttl, _class, rtype, *_ = line.split()

    assert line in PLUGIN.ask(name, rtype).answer


def test_an_unknown_zone_is_not_transferred() -> None:
    """An empty copy would deny every name (law 4)."""
    plugin = Plugin(is_complete=False)

    assert [texts(zone, plugin) for zone in plugin.zones] == [[], [], []]


def test_each_record_comes_once() -> None:
    """Slices may name an endpoint twice, and a Service may be the name server."""
    plugin = Plugin(
        service("dns", "10.96.0.10", ports="dns:53/UDP"),
        slice_of("dns-1", "dns", [endpoint("192.0.2.53")], ports="dns:53/UDP"),
        service("db", "None"),
        slice_of("db-1", "db", [endpoint("10.1.0.1", "a")], ports="sql:5432"),
        slice_of("db-2", "db", [endpoint("10.1.0.1", "a"), endpoint("10.1.0.2")], ports="sql:5432"),
        own="192.0.2.53",
    )
    for zone in plugin.zones:
        _, *lines = texts(zone, plugin)
        assert len(set(lines)) == len(lines)
    assert f"cluster.local. 5 IN NS dns.{DEFAULT}" in texts("cluster.local.", plugin)
    assert f"dns.{DEFAULT} 5 IN A 10.96.0.10" in texts("cluster.local.", plugin)


@pytest.mark.parametrize("zone", ["cluster.local.", "in-addr.arpa."])
def test_a_transfer_is_of_one_version(zone: str) -> None:
    """What changes while a peer reads is not in it."""
    web, api = service("web", "10.96.0.1"), service("api", "10.96.0.2")
    plugin = Plugin(web, api)
    whole = texts(zone, plugin)
    records = plugin.zones[zone].records()
    first = next(iter(records))
    plugin.index.apply(diff_objects(shrunk([web, api]), shrunk([service("web", "10.96.0.9")])), SERIAL + 1)

    assert [_text(*each) for each in (first, *records)] == whole
    assert texts(zone, plugin) != whole
