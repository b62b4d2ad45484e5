"""What is counted, through the Responder that says what was asked, and how the metrics show it."""

import threading
from collections import Counter
from collections.abc import Iterator

import dns.message
import pytest

from coredns_lite import tally as tally_module
from coredns_lite.chain import Chain
from coredns_lite.dns_metrics import QueryMetrics
from coredns_lite.kept import Label, label_of
from coredns_lite.kind import KINDS, Kind
from coredns_lite.plugin import Client, Outcome
from coredns_lite.responder import Responder
from coredns_lite.tally import IPV4, IPV6, Asked, Slice, Sums, Tally
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


def kept(kind: Kind, query_bytes: int, reply_bytes: int) -> bytes:
    """Make a reply as it is kept: without the two bytes of its id, with its label."""
    return bytes(reply_bytes - 2) + Label(0, KINDS.number(kind), query_bytes).pack()


def test_sums_and_buckets() -> None:
    """Sizes are of whole packets; queries of one batch took equally long."""
    tally = Tally()
    tally.count_hits({IPV4: [kept(A, 42, 298)] * 2}, 0.0004)
    tally.count([Asked(DO, IPV6, 512, 100)], 9.0)

    totals = tally.totals()
    assert totals == {
        Slice(A, IPV4, 1, 1, 3): Sums(2, 0.0008, 84, 596),
        Slice(DO, IPV6, 16, 6, 1): Sums(1, 9.0, 512, 100),
    }
    assert tally.totals() == totals


def test_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has counted is taken once, and adds up; many different replies are summed up in between."""
    monkeypatch.setattr(tally_module, "_MAX_NOTED", 3)
    theirs, ours = Tally(), Tally()
    for number in range(10):
        theirs.count_hits({IPV4: [kept(A, 42 + number, 298)]}, 0.0)
    assert sum(map(len, theirs._hits.values())) <= 3
    ours.count([Asked(DO, IPV6, 512, 100)], 9.0)
    ours.add(theirs.take())
    theirs.count_hits({IPV4: [kept(A, 42, 298)]}, 0.0)
    ours.add(theirs.take())
    ours.add(theirs.take())

    assert count_by_kind(ours) == {A: 11, DO: 1}


def test_reading_beside_counting() -> None:
    """Whoever reads while a packet loop counts loses nothing."""
    tally = Tally()
    reply = kept(A, 40, 60)

    def count() -> None:
        for _ in range(500):
            tally.count_hits({IPV4: [reply] * 10}, 0.0)

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
    for body, found in responder.replies.packets.items():
        label = label_of(found)
        assert (body, KINDS.kind(label.kind), label.query_bytes) == (packet[2:], kind, len(packet))


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
