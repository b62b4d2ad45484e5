"""ExternalName Services: CNAMEs, and what their targets have."""

import pytest

from coredns_lite.plugin import Outcome
from coredns_lite.wire.query import decode_query
from coredns_lite.wire.record import Record, RecordType
from coredns_lite.wire.reply import Answer, Rcode
from nodeplane.kube.objects import Object
from tests.coredns_lite.objects import external_name, service
from tests.coredns_lite.plugins.kubernetes.asking import CLIENT, NODATA, Others, Plugin, Seen, found

EXAMPLE = Answer(
    answers=(Record(int(RecordType.A), 60, b"\xc0\0\2\1"),),
    is_authoritative=False,
    is_lasting=False,
    recursed=True,
)
FAILED = Answer(Rcode.SERVFAIL, is_authoritative=False, is_lasting=False)
KNOWN = {"example.org.": EXAMPLE, "down.example.": FAILED}
ZONE = "default.svc.cluster.local."
LONG = [external_name(f"hop{number}", f"hop{number + 1}.{ZONE}") for number in range(20)]


@pytest.mark.parametrize(
    ("items", "rtype", "seen", "asked"),
    [
        pytest.param(
            [external_name("a", "Example.org")],
            "A",
            Seen(
                "NOERROR",
                (f"a.{ZONE} 5 IN CNAME Example.org.", "Example.org. 60 IN A 192.0.2.1"),
                flags="QR AA RD RA",
            ),
            ["Example.org."],
            id="known to others, spelled as it is",
        ),
        pytest.param(
            [external_name("a", "example.org")],
            "CNAME",
            found(f"a.{ZONE} 5 IN CNAME example.org."),
            [],
            id="CNAME alone",
        ),
        pytest.param([external_name("a", "example.org")], "ANY", NODATA, [], id="ANY"),
        pytest.param(
            [external_name("a", "nope.example")],
            "A",
            Seen("NOERROR", (f"a.{ZONE} 5 IN CNAME nope.example.",), flags="QR AA RD RA"),
            ["nope.example."],
            id="known to nobody",
        ),
        pytest.param(
            [external_name("a", "down.example")],
            "A",
            found(f"a.{ZONE} 5 IN CNAME down.example."),
            ["down.example."],
            id="others fail",
        ),
        pytest.param(
            [external_name("a", f"b.{ZONE}"), service("b", "10.96.0.1")],
            "A",
            found(f"a.{ZONE} 5 IN CNAME b.{ZONE}", f"b.{ZONE} 5 IN A 10.96.0.1"),
            [],
            id="a Service here",
        ),
        pytest.param(
            [external_name("a", f"b.{ZONE}"), service("b", "10.96.0.1")],
            "AAAA",
            found(f"a.{ZONE} 5 IN CNAME b.{ZONE}"),
            [],
            id="a Service here, no such address",
        ),
        pytest.param(
            [external_name("a", f"nope.{ZONE}")],
            "A",
            found(f"a.{ZONE} 5 IN CNAME nope.{ZONE}"),
            [],
            id="not there",
        ),
        pytest.param(
            [external_name("a", f"b.{ZONE}"), external_name("b", "example.org")],
            "A",
            Seen(
                "NOERROR",
                (
                    f"a.{ZONE} 5 IN CNAME b.{ZONE}",
                    f"b.{ZONE} 5 IN CNAME example.org.",
                    "example.org. 60 IN A 192.0.2.1",
                ),
                flags="QR AA RD RA",
            ),
            ["example.org."],
            id="two in a row",
        ),
        pytest.param(
            [external_name("a", f"A.{ZONE}")], "A", found(f"a.{ZONE} 5 IN CNAME a.{ZONE}"), [], id="itself"
        ),
        pytest.param(
            [external_name("a", f"b.{ZONE}"), external_name("b", f"a.{ZONE}")],
            "A",
            found(f"a.{ZONE} 5 IN CNAME b.{ZONE}", f"b.{ZONE} 5 IN CNAME a.{ZONE}"),
            [],
            id="a loop",
        ),
        pytest.param(
            [external_name("a", f"hop0.{ZONE}"), *LONG],
            "A",
            found(
                f"a.{ZONE} 5 IN CNAME hop0.{ZONE}",
                *(f"hop{number}.{ZONE} 5 IN CNAME hop{number + 1}.{ZONE}" for number in range(7)),
            ),
            [],
            id="a long way",
        ),
    ],
)
@pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])
def test_external_name(items: list[Object], rtype: str, seen: Seen, asked: list[str], later: bool) -> None:
    others = Others(KNOWN, later=later)

    assert Plugin(*items, following=others).ask(f"a.{ZONE}", rtype) == seen
    assert others.asked == asked


@pytest.mark.parametrize(
    ("target", "is_lasting"),
    [
        pytest.param(f"b.{ZONE}", True, id="known here: until the cluster changes"),
        pytest.param("example.org", False, id="known to others: not without them"),
    ],
)
def test_what_may_be_kept(target: str, is_lasting: bool) -> None:
    plugin = Plugin(external_name("a", target), service("b", "10.96.0.1"), following=Others(KNOWN))
    name = b"\1a\7default\3svc\7cluster\5local\0"
    outcome: Outcome = plugin.link.answer(
        decode_query(b"\0\7\1\0\0\1\0\0\0\0\0\0" + name + b"\0\1\0\1"), CLIENT
    )

    assert isinstance(outcome, Answer)
    assert (outcome.is_lasting, outcome.is_cacheable, outcome.plugin) == (is_lasting, False, "kubernetes")
