"""The plugin `log`."""

import logging

import dns.message
import pytest

from coredns_lite.query_log import COMMON, LogRule, ResponseClass, SiteQueryLog, read_entry, render_line
from coredns_lite.zones import ZoneTable
from tests.coredns_lite.chains import CLIENT, cluster_local
from tests.coredns_lite.objects import build_index, service

RESPONDER = cluster_local(build_index(service("web", "10.96.0.1")))
PEER = "127.0.0.1:4000"


def reply_to(query: dns.message.QueryMessage) -> tuple[int, bytes]:
    packet = query.to_wire()
    reply = RESPONDER.respond(packet)
    assert reply is not None
    return len(packet), reply


@pytest.mark.parametrize(
    ("query", "line"),
    [
        pytest.param(
            dns.message.make_query("web.default.svc.cluster.local", "A", id=7),
            f'{PEER} - 7 "A IN web.default.svc.cluster.local. udp 47 false 512"'
            " NOERROR qr,aa,rd 63 0.000125000s",
            id="plain",
        ),
        pytest.param(
            dns.message.make_query(
                "Nope.cluster.local", "HTTPS", id=8, use_edns=0, payload=1232, want_dnssec=True, flags=0
            ),
            f'{PEER} - 8 "HTTPS IN Nope.cluster.local. udp 47 true 1232" NXDOMAIN qr,aa 101 0.000125000s',
            id="EDNS, DO, no RD",
        ),
        pytest.param(
            dns.message.make_query("a", "TYPE4711", "CLASS77", id=9, use_edns=1, payload=4096),
            f'{PEER} - 9 "TYPE4711 CLASS77 a. udp 30 false 4096" BADVERS qr,rd 30 0.000125000s',
            id="a long rcode, type and class without names",
        ),
    ],
)
def test_line(query: dns.message.QueryMessage, line: str) -> None:
    size_bytes, reply = reply_to(query)

    assert render_line(COMMON, read_entry(CLIENT, size_bytes, reply, 0.000125)) == line


@pytest.mark.parametrize(
    ("packet", "lines"),
    [
        pytest.param(dns.message.make_query("x.Team.", "A").to_wire(), 1, id="in a site with log"),
        pytest.param(dns.message.make_query("x.other.", "A").to_wire(), 0, id="in a site without"),
        pytest.param(dns.message.make_query("x.", "A").to_wire()[:-1], 0, id="malformed, in no site"),
    ],
)
def test_only_sites_with_log(packet: bytes, lines: int, caplog: pytest.LogCaptureFixture) -> None:
    write = SiteQueryLog(ZoneTable({".": (), "team.": (LogRule(),)}))
    reply = RESPONDER.respond(packet)
    assert reply is not None

    with caplog.at_level(logging.INFO):
        write(CLIENT, len(packet), reply, 0.1)

    assert len(caplog.messages) == lines


@pytest.mark.parametrize(
    ("format_text", "line"),
    [
        ("{remote} {port} {>opcode} {rsize}", "127.0.0.1 4000 0 63"),
        ("{common}x {nope} {}", "-x - -"),
        ("{type}/{class} {name} {rcode}", "A/IN web.default.svc.cluster.local. NOERROR"),
    ],
)
def test_format(format_text: str, line: str) -> None:
    size_bytes, reply = reply_to(dns.message.make_query("web.default.svc.cluster.local", "A", id=7))

    assert render_line(format_text, read_entry(CLIENT, size_bytes, reply, 0.1)) == line


@pytest.mark.parametrize(
    ("name", "rtype", "found"),
    [
        ("web.default.svc.cluster.local", "A", ResponseClass.SUCCESS),
        ("web.default.svc.cluster.local", "AAAA", ResponseClass.DENIAL),
        ("nope.cluster.local", "A", ResponseClass.DENIAL),
        ("example.org", "A", ResponseClass.ERROR),
    ],
)
def test_classes(name: str, rtype: str, found: ResponseClass, caplog: pytest.LogCaptureFixture) -> None:
    """A rule logs the replies of its classes; of several the first that fits the name decides."""
    size_bytes, reply = reply_to(dns.message.make_query(name, rtype))
    for wanted in ResponseClass:
        rules = (LogRule(("nowhere.",)), LogRule((".",), "x", frozenset({wanted})), LogRule())
        write = SiteQueryLog(ZoneTable({".": rules}))
        caplog.clear()
        with caplog.at_level(logging.INFO):
            write(CLIENT, size_bytes, reply, 0.1)
        assert caplog.messages == (["x"] if wanted in (found, ResponseClass.ALL) else [])
