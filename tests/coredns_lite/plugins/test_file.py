"""The plugin `file`: zone files as dnspython reads them, and answers as RFC 1034 and RFC 4592 want them."""

from pathlib import Path

import dns.name
import dns.zone
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coredns_lite.plugins.file import File, ZoneFile
from coredns_lite.plugins.file.master_file import parse_zone
from coredns_lite.wire.names import encode_name
from coredns_lite.wire.reply import Answer
from nodeplane.errors import ConfigError
from tests.coredns_lite.plugins.links import Place, Seen, Stub, ask, build, decode_site, records, see

ORIGIN = encode_name("example.org")
ZONE = r"""
$TTL 1h
@       IN SOA ns hostmaster ( 7      ; serial
                2h 30m 4w 300 )
        IN NS  ns
        NS     ns.other.net.
ns      A      192.0.2.1
        600 IN AAAA 2001:db8::1
Www     CNAME  web
web     1m A   192.0.2.2
web     1m A   192.0.2.3
mail    MX     10 web
mail    MX     20 mx.other.net.
out     CNAME  www.other.net.
loop    CNAME  pool
pool    CNAME  loop
_http._tcp SRV 0 5 80 web
text    TXT    "a b" c\"d \065 "semi;colon"
a\.b    TXT    x
*.wild  A      192.0.2.9
*.wild  MX     1 web
deep.in.wild TXT "here"
sub     NS     ns.sub
sub     NS     ns.other.net.
ns.sub  A      192.0.2.53
sub     DS     1 8 2 00112233445566778899aabbccddeeff 00112233445566778899aabbccddeeff
caa     CAA    0 issue "ca.example.net"
odd     TYPE65280 \# 3 0a0b0c
nap     NAPTR  10 20 "u" "E2U+sip" "!^.*$!sip:a@b!" .
host    HINFO  cpu os
key     SSHFP  1 1 00112233445566778899aabbccddeeff00112233
$ORIGIN x.example.org.
@       A      192.0.2.7
y       A      192.0.2.8
"""
SOA = "example.org. 300 IN SOA ns.example.org. hostmaster.example.org. 7 7200 1800 2419200 300"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "db"
    found.write_text(ZONE)
    return found


def test_records_are_those_that_dnspython_reads() -> None:
    expected = {
        (name.to_wire(), int(rdata.rdtype), ttl_s, rdata.to_wire(origin=dns.name.from_text("example.org")))
        for name, ttl_s, rdata in dns.zone.from_text(ZONE, "example.org", relativize=False).iterate_rdatas()
    }

    found = parse_zone(ZONE, "db", ORIGIN)

    # Owners in lower case; a set's TTL is one, as it is in the file.
    assert {(r.owner, r.rtype, r.ttl_s, r.rdata) for r in found} == {
        ((name or b"").lower(), rtype, ttl_s, rdata) for name, rtype, ttl_s, rdata in expected
    }


OUTSIDE = Stub({("www.other.net.", "A"): Answer(answers=records("@ 9 IN A 198.51.100.1"), is_lasting=False)})


@pytest.mark.parametrize(
    ("name", "rtype", "seen"),
    [
        (
            "Web.example.org",
            "A",
            Seen(answer=("Web.example.org. 60 IN A 192.0.2.2", "Web.example.org. 60 IN A 192.0.2.3")),
        ),
        ("web.example.org", "AAAA", Seen(authority=(SOA,))),
        ("nope.example.org", "A", Seen("NXDOMAIN", authority=(SOA,))),
        ("_tcp.example.org", "A", Seen(authority=(SOA,))),
        ("example.org", "SOA", Seen(answer=(SOA.replace(" 300 IN", " 3600 IN"),))),
        (
            "www.example.org",
            "A",
            Seen(
                answer=(
                    "www.example.org. 3600 IN CNAME web.example.org.",
                    "web.example.org. 60 IN A 192.0.2.2",
                    "web.example.org. 60 IN A 192.0.2.3",
                )
            ),
        ),
        (
            "www.example.org",
            "TXT",
            Seen(answer=("www.example.org. 3600 IN CNAME web.example.org.",), authority=(SOA,)),
        ),
        ("www.example.org", "CNAME", Seen(answer=("www.example.org. 3600 IN CNAME web.example.org.",))),
        (
            "out.example.org",
            "A",
            Seen(
                answer=("out.example.org. 3600 IN CNAME www.other.net.", "www.other.net. 9 IN A 198.51.100.1")
            ),
        ),
        ("loop.example.org", "A", Seen("SERVFAIL")),
        (
            "mail.example.org",
            "MX",
            Seen(
                answer=(
                    "mail.example.org. 3600 IN MX 10 web.example.org.",
                    "mail.example.org. 3600 IN MX 20 mx.other.net.",
                ),
                additional=("web.example.org. 60 IN A 192.0.2.2", "web.example.org. 60 IN A 192.0.2.3"),
            ),
        ),
        ("a.wild.example.org", "A", Seen(answer=("a.wild.example.org. 3600 IN A 192.0.2.9",))),
        ("a.b.wild.example.org", "A", Seen(answer=("a.b.wild.example.org. 3600 IN A 192.0.2.9",))),
        ("a.wild.example.org", "TXT", Seen(authority=(SOA,))),
        ("wild.example.org", "A", Seen(authority=(SOA,))),
        ("in.wild.example.org", "A", Seen(authority=(SOA,))),
        ("b.in.wild.example.org", "A", Seen("NXDOMAIN", authority=(SOA,))),
        ("a.deep.in.wild.example.org", "A", Seen("NXDOMAIN", authority=(SOA,))),
        (
            "host.sub.example.org",
            "A",
            Seen(
                authority=(
                    "sub.example.org. 3600 IN NS ns.sub.example.org.",
                    "sub.example.org. 3600 IN NS ns.other.net.",
                ),
                additional=("ns.sub.example.org. 3600 IN A 192.0.2.53",),
            ),
        ),
        (
            "sub.example.org",
            "DS",
            Seen(answer=("sub.example.org. 3600 IN DS 1 8 2 " + "00112233445566778899aabbccddeeff" * 2,)),
        ),
        ("y.x.example.org", "A", Seen(answer=("y.x.example.org. 3600 IN A 192.0.2.8",))),
        ("other.net", "A", Seen("NXDOMAIN")),
    ],
)
def test_answers(name: str, rtype: str, seen: Seen, path: Path) -> None:
    found, answer = ask(build(f"file {path} example.org", OUTSIDE), name, rtype)

    assert found == seen
    if name != "other.net":
        # A referral is not the zone's own word.
        assert answer.is_authoritative == (
            name not in ("host.sub.example.org", "out.example.org") or not seen.authority
        )


@pytest.mark.parametrize(
    ("options", "seen"),
    [("fallthrough", Seen("NXDOMAIN")), ("fallthrough b.example.org", Seen("NXDOMAIN", authority=(SOA,)))],
)
def test_fallthrough(options: str, seen: Seen, path: Path) -> None:
    assert see(build(f"file {path} example.org {{\n{options}\n}}", Stub()), "no.example.org") == seen


def test_reload_by_serial(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Another serial counts; the same one, or a file that is wrong, leaves the zone as it is."""
    file = ZoneFile(path, ORIGIN)
    path.write_text(ZONE.replace("192.0.2.7", "192.0.2.77"))
    assert not file.refresh()
    path.write_text("nonsense")
    assert [file.refresh(), file.refresh()] == [False, False]
    assert len(caplog.messages) == 1
    path.write_text(ZONE.replace("( 7 ", "( 8 "))
    assert file.refresh()
    assert file.zone.serial == 8


def test_transfer(path: Path) -> None:
    """The zone is offered whole, with the SOA first and last."""
    place = Place()
    build(f"file {path} example.org", Stub(), place)
    (offered,) = [kept for kept in place.kept() if isinstance(kept, dict)]
    yielded = [*offered["example.org."].records()]

    assert yielded[0] == yielded[-1]
    assert yielded[0][1].rtype == 6
    assert {record for _, record in yielded} == set(parse_zone(ZONE, "db", ORIGIN))


HEAD = "@ 60 SOA a b 1 2 3 4 5\n"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("@ 60 A 1.2.3.4\n", "{}: expected one SOA record of the zone itself"),
        (HEAD + "\nx 60 A 1.2.3\n", "{}:3: x 60 A 1.2.3: Expected 4 octets in '1.2.3'"),
        (HEAD + "x 60 MX 1\n", "{}:2: x 60 MX 1: expected 2 values behind the type, got 1"),
        (HEAD + "x 60 A 1.2.3.4 5\n", "{}:2: x 60 A 1.2.3.4 5: expected 1 values behind the type, got 2"),
        (HEAD + "x 60 NOPE y\n", "{}:2: x 60 NOPE y: expected a record type, got 'NOPE'"),
        (
            HEAD + "x 60 TYPE99 y\n",
            r"{}:2: x 60 TYPE99 y: expected data as in \# LENGTH HEX for a type that is not known here",
        ),
        (HEAD + "x 60 TXT (\n", "{}:2: (: expected a ')' that closes it"),
        (HEAD + 'x 60 TXT "y\n', '{}:2: ": expected a closing quote or a character behind it'),
        (
            HEAD + "$INCLUDE y\n",
            "{}:2: $INCLUDE y: expected $ORIGIN or $TTL with one value; $INCLUDE and $GENERATE are not read",
        ),
        (HEAD + "x.net. 60 A 1.2.3.4\n", "{}: expected only names inside the zone"),
        (HEAD + "x 60 CNAME y\nx 60 A 1.2.3.4\n", "{}: expected no other records where a CNAME is"),
        (HEAD + "x 60 CH A 1.2.3.4\n", "{}:2: x 60 CH A 1.2.3.4: expected the class IN"),
        (None, "{}: expected a readable file: No such file or directory"),
    ],
)
def test_refused(text: str | None, error: str, tmp_path: Path) -> None:
    path = tmp_path / "db"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        build(f"file {path} example.org", Stub())

    assert str(caught.value) == error.format(path)


@given(
    st.text()
    | st.lists(
        st.sampled_from(["@ ", "60 ", "IN ", "A ", "1.2.3.4", "\n", "(", ")", '"', "\\", "TXT ", "x "])
    ).map("".join)
)
@settings(deadline=None)
def test_any_text(text: str) -> None:
    """Any text is records or refused with a place in the file."""
    place = "db:"
    try:
        parse_zone(text, "db", ORIGIN)
    except ConfigError as exc:
        place = exc.place

    assert place.startswith("db:")


def test_decode() -> None:
    text = "file /db a. b. {\n reload 0\n fallthrough\n}"

    assert decode_site(text).plugins == {"file": (File(Path("/db"), ("a.", "b."), 0.0, (".",)),)}
