"""What is counted, through the Responder that says what was asked, and how the metrics show it."""

import threading
from collections import Counter
from collections.abc import Iterator

import dns.message
import pytest

from coredns_lite.chain import Chain
from coredns_lite.dns_metrics import QueryMetrics
from coredns_lite.plugin import Client, Outcome
from coredns_lite.responder import Kind, Responder
from coredns_lite.tally import IPV4, IPV6, Asked, Kinds, Slice, Sums, Tally
from coredns_lite.wire.query import Query
from coredns_lite.wire.reply import Answer, Rcode
from coredns_lite.zones import ZoneTable
from tests.coredns_lite.chains import CLIENT

A = Kind("example.", "A", "NOERROR", "hosts", dnssec_ok=False)
DO = Kind("example.", "AAAA", "NXDOMAIN", "hosts", dnssec_ok=True)


def count_by_kind(tally: Tally) -> dict[Kind, int]:
    counts: Counter[Kind] = Counter()
    for key, sums in tally.totals().items():
        counts[key.kind] += sums.count
    return dict(counts)


def test_sums_and_buckets() -> None:
    """Sizes are of whole packets; queries of one batch took equally long."""
    tally = Tally()
    tally.count_hits({IPV4: [b"x" * 40, b"x" * 40]}, {b"x" * 40: (A, 298)}, 0.0004)
    tally.count([Asked(DO, IPV6, 512, 100)], 9.0)

    totals = tally.totals()
    assert totals == {
        Slice(A, IPV4, 1, 1, 3): Sums(2, 0.0008, 84, 600),
        Slice(DO, IPV6, 16, 6, 1): Sums(1, 9.0, 512, 100),
    }
    assert tally.totals() == totals


def test_caches_come_and_go() -> None:
    """What was counted keeps its meaning: the batch in which a cache is emptied has queries of both."""
    tally = Tally()
    old: Kinds = {b"a": (A, 1)}
    new: Kinds = {b"b": (DO, 1)}
    tally.count_hits({IPV4: [b"a"]}, old, 0.0)
    tally.count_hits({IPV4: [b"a", b"b"]}, new, 0.0)
    tally.count_hits({IPV4: [b"b"]}, {b"b": (DO, 1)}, 0.0)

    assert count_by_kind(tally) == {A: 2, DO: 2}


def test_reading_beside_counting() -> None:
    """Whoever reads while a packet loop counts loses nothing."""
    tally = Tally()
    kinds: Kinds = {b"a": (A, 1)}

    def count() -> None:
        for _ in range(500):
            tally.count_hits({IPV4: [b"a"] * 10}, kinds, 0.0)

    thread = threading.Thread(target=count)
    thread.start()
    while thread.is_alive():
        tally.totals()

    assert count_by_kind(tally) == {A: 5000}


class Hosts:
    """Knows one name."""

    def answer(self, query: Query, _client: Client) -> Outcome:
        return Answer(Rcode.NXDOMAIN if query.qtype == 28 else Rcode.NOERROR, plugin="hosts")


@pytest.mark.parametrize(
    ("packet", "kind"),
    [
        pytest.param(dns.message.make_query("a.example.", "A").to_wire(), A, id="A"),
        pytest.param(
            dns.message.make_query("a.example.", "AAAA", want_dnssec=True).to_wire(), DO, id="AAAA with DO"
        ),
        pytest.param(
            dns.message.make_query("a.example.", "TYPE4711").to_wire(),
            Kind("example.", "other", "NOERROR", "hosts", dnssec_ok=False),
            id="a type nobody knows",
        ),
        pytest.param(
            dns.message.make_query("a.org.", "A").to_wire(),
            Kind("dropped", "A", "REFUSED", "", dnssec_ok=False),
            id="in no zone",
        ),
        pytest.param(bytes(12), Kind("dropped", "other", "FORMERR", "", dnssec_ok=False), id="malformed"),
    ],
)
def test_kinds(packet: bytes, kind: Kind) -> None:
    """The Responder says what a query was, and of what it caches for how long that may be asked."""
    responder = Responder(ZoneTable({"example.": Chain(Hosts(), "example.")}), is_counted=True)
    reply = responder.respond(packet, lambda: CLIENT)
    assert isinstance(reply, bytes)

    assert responder.last_kind == kind
    assert responder.kinds == (
        {packet[2:]: (kind, len(reply) - 2)} if packet[2:] in responder.packets else {}
    )


def samples(metrics: QueryMetrics) -> Iterator[tuple[str, float]]:
    for family in metrics.collect():
        for sample in family.samples:
            if "_bucket" not in sample.name and sample.value:
                labels = ",".join(f"{key}={value}" for key, value in sample.labels.items())
                yield f"{sample.name}{{{labels}}}", sample.value


def test_metrics() -> None:
    """CoreDNS's names and labels; what a server counted stays when it is gone, other zones are left out."""
    metrics, tally = QueryMetrics(), Tally()
    metrics.add(tally, "dns://:53", "udp", ["example."])
    tally.count([Asked(A, IPV4, 40, 60), Asked(DO, IPV6, 50, 90)], 0.25)
    tally.count([Asked(Kind("org.", "A", "NOERROR", "", dnssec_ok=False), IPV4, 1, 1)], 1.0)
    where = "server=dns://:53,zone=example.,view="
    expected = {
        f"coredns_dns_requests_total{{{where},proto=udp,family=1,type=A}}": 1,
        f"coredns_dns_requests_total{{{where},proto=udp,family=2,type=AAAA}}": 1,
        f"coredns_dns_do_requests_total{{{where}}}": 1,
        f"coredns_dns_responses_total{{{where},rcode=NOERROR,plugin=hosts}}": 1,
        f"coredns_dns_responses_total{{{where},rcode=NXDOMAIN,plugin=hosts}}": 1,
        f"coredns_dns_request_duration_seconds_count{{{where}}}": 2,
        f"coredns_dns_request_duration_seconds_sum{{{where}}}": 0.5,
        f"coredns_dns_request_size_bytes_count{{{where},proto=udp}}": 2,
        f"coredns_dns_request_size_bytes_sum{{{where},proto=udp}}": 90,
        f"coredns_dns_response_size_bytes_count{{{where},proto=udp}}": 2,
        f"coredns_dns_response_size_bytes_sum{{{where},proto=udp}}": 150,
    }

    assert dict(samples(metrics)) == expected
    metrics.retire(tally)
    assert dict(samples(metrics)) == expected
