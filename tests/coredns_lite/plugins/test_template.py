"""The plugin `template`: answers made of questions, and what is wrong with the makings."""

import dns.message
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coredns_lite.metrics import REGISTRY
from coredns_lite.plugins.template.expression import TemplateError, parse_template
from coredns_lite.wire.names import encode_label
from coredns_lite.wire.query import decode_query
from coredns_lite.wire.record import OF_QUESTION
from coredns_lite.wire.reply import MAX_TCP_REPLY_BYTES, Answer, Rcode, render_reply
from nodeplane.errors import ConfigError
from tests.coredns_lite.plugins.links import CLIENT, Seen, Stub, ask, build, decode_site, records, see

IP = r"""
template IN A example {
    match ^ip-(?P<a>[0-9]*)-(?P<b>[0-9]*)[.]example[.]$ ^x-(?P<b>[0-9]*)[.]example[.]$
    answer "{{ .Name }} 60 IN A 10.0.{{ .Group.b }}.{{ index .Match 1 }}"
    additional "ns.example. AAAA fd00::{{ printf `%x` (parseInt .Group.b 10 8) }}"
    fallthrough a.example
}
template IN ANY example {
    match ^other
    rcode NXDOMAIN
    authority "{{ .Zone }} 5 {{ .Class }} SOA ns.{{ .Zone }} {{ .Type }}.{{ .Zone }} (1 2 3 4 5)"
    ederror 21 "not here"
}
"""
ALIAS = 'template IN ANY foo.com {\n answer "foo.com 60 IN CNAME Bar.org"\n}'
BEHIND = Stub({
    ("bar.org.", "A"): Answer(answers=records("@ 5 IN A 192.0.2.1")),
    ("x.org.", "A"): Answer(answers=records("@ 5 IN A 192.0.2.2")),
})  # fmt: skip


@pytest.mark.parametrize(
    ("text", "name", "rtype", "seen"),
    [
        pytest.param(
            IP,
            "IP-7-255.Example",
            "A",
            Seen(
                answer=("IP-7-255.Example. 60 IN A 10.0.255.7",),
                additional=("ns.Example. 3600 IN AAAA fd00::ff",),
            ),
            id="groups, a function, the client's spelling",
        ),
        pytest.param(
            IP,
            "x-9.example",
            "A",
            Seen(answer=("x-9.example. 60 IN A 10.0.9.9",), additional=("ns.example. 3600 IN AAAA fd00::9",)),
            id="the second expression",
        ),
        pytest.param(IP, "ip-7-256.example", "A", Seen("SERVFAIL"), id="a number that does not fit"),
        pytest.param(IP, "ip-700-1.example", "A", Seen("SERVFAIL"), id="what is no record"),
        pytest.param(IP, "no.example", "A", Seen("SERVFAIL"), id="no expression fits, no fallthrough"),
        pytest.param(
            IP,
            "other.a.example",
            "A",
            Seen("NXDOMAIN", authority=("example. 5 IN SOA ns.example. a.example. 1 2 3 4 5",)),
            id="no expression fits, fallthrough to the next",
        ),
        pytest.param(
            IP,
            "other.example",
            "TXT",
            Seen("NXDOMAIN", authority=("example. 5 IN SOA ns.example. TXT.example. 1 2 3 4 5",)),
            id="another type",
        ),
        pytest.param(IP, "x.org", "A", Seen(answer=("x.org. 5 IN A 192.0.2.2",)), id="another zone"),
        pytest.param(
            ALIAS,
            "foo.com",
            "A",
            Seen(answer=("foo.com. 60 IN CNAME Bar.org.", "Bar.org. 5 IN A 192.0.2.1")),
            id="an alias and what it leads to",
        ),
        pytest.param(
            ALIAS, "foo.com", "TXT", Seen(answer=("foo.com. 60 IN CNAME Bar.org.",)), id="an alias alone"
        ),
        pytest.param(
            "template ANY A . {\n rcode REFUSED\n}", "y.org", "A", Seen("REFUSED"), id="no expression: all"
        ),
        pytest.param(
            'template IN TXT {\n answer "{{.Question.Name}} 1 TXT \\"{{.Remote}} {{.Question.Qtype}}\\""\n}',
            "aB.org",
            "TXT",
            Seen(answer=('aB.org. 1 IN TXT "10.0.0.1 16"',)),
            id="the client and the question",
        ),
    ],
)
def test_answers(text: str, name: str, rtype: str, seen: Seen) -> None:
    assert see(build(text, BEHIND), name, rtype) == seen


@pytest.mark.parametrize(
    ("text", "is_lasting"),
    [
        ("{{ .Name }} A 10.0.0.1", True),
        ("{{ .Name }} A {{ .Remote }}", False),
        pytest.param("{{ .Name }} CNAME c.org.", True, id="an alias"),
        pytest.param("{{ .Name }} CNAME {{ .Remote }}.org.", False, id="its own alias"),
        pytest.param("{{ .Question.Name }} A 10.0.0.1", False, id="its own spelling"),
    ],
)
def test_what_depends_on_the_packet_is_not_kept(text: str, *, is_lasting: bool) -> None:
    found = Answer(answers=records("@ 60 IN A 192.0.2.1"))
    behind = Stub({("c.org.", "A"): found, ("10.0.0.1.org.", "A"): found})
    handler = build(f'template IN A {{\n answer "{text}"\n}}', behind)

    assert ask(handler, "a.org")[1].is_lasting == is_lasting


def test_an_extended_error() -> None:
    """RFC 8914, for who has EDNS."""
    _, answer = ask(build(IP, Stub()), "other.a.example")
    for edns, said in ((-1, []), (0, ["EDE 21 (Not Supported): not here"])):
        packet = dns.message.make_query("other.a.example", "A", use_edns=edns).to_wire()
        reply = render_reply(decode_query(packet), answer, MAX_TCP_REPLY_BYTES)
        assert [option.to_text() for option in dns.message.from_wire(reply).options] == said


HANDLER = build(
    'template IN A {\n match ^(?P<x>.*)[.].*$\n answer "{{ .Name }} A 10.0.0.1"\n'
    ' additional "{{ .Group.x }}.x.org. TXT {{ .Group.x }} \\"{{ .Question.Name }}\\""\n}',
    Stub(),
)


@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=4))
@settings(deadline=None)
def test_any_name(labels: list[bytes]) -> None:
    """Whatever is in a name, it makes records of that name, or none."""
    name = b"".join(encode_label(label) for label in labels) + b"\0"
    query = decode_query(bytes(4) + b"\0\1" + bytes(6) + name + b"\0\1\0\1")
    answer = HANDLER.answer(query, CLIENT)
    assert isinstance(answer, Answer)

    assert answer.rcode in (Rcode.NOERROR, Rcode.SERVFAIL)
    assert [record.owner for record in answer.answers] in ([], [OF_QUESTION])
    dns.message.from_wire(render_reply(query, answer, MAX_TCP_REPLY_BYTES))


def test_metrics() -> None:
    """Answers, and what went wrong by its section and template."""
    place = {"server": "dns://:53", "zone": "example.", "view": "", "class": "IN", "type": "A"}
    failed = {**place, "section": "additional"}

    def counts() -> list[float]:
        found = {
            (sample.name, sample.labels.get("section", "")): sample.value
            for metric in REGISTRY.collect()
            for sample in metric.samples
            if place.items() <= sample.labels.items()
        }
        return [
            found.get(("coredns_template_matches_total", ""), 0.0),
            found.get(("coredns_template_template_failures_total", failed["section"]), 0.0),
            found.get(("coredns_template_rr_failures_total", "answer"), 0.0),
        ]

    handler, before = build(IP, Stub()), counts()
    for name in ("ip-7-1.example", "ip-700-1.example", "x-1.example", "no.example"):
        see(handler, name)
    # The number is too large for the template of the additional record, but not for that of the answer.
    see(build(IP.replace("10 8", "10 2"), Stub()), "ip-7-9.example")

    assert [after - old for after, old in zip(counts(), before, strict=True)] == [4, 1, 1]


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("a {{ .x }} b", "a 1 b"),
        ("a {{- .x -}} b", "a1b"),
        ("a {{- .x }} {{ .y -}} \n b", "a1 2b"),
        ('{{ printf "%03d|%s|%v|%X%%" 7 .x "a" 255 }}', "007|1|a|FF%"),
        ('{{ .x | printf "%s-%s" "q" }}', "q-1"),
        ('{{ (index .m "k") }}{{ .m.k }}{{ .m.none }}', "vv"),
        ('{{ parseInt "ff" 16 8 | printf "%d" }}', "255"),
        (r'{{ print "a\"b" `c` 1 }}', 'a"bc1'),
        ("{{ len .m }}", "1"),
    ],
)
def test_expressions(text: str, rendered: str) -> None:
    assert parse_template(text).render({"x": "1", "y": "2", "m": {"k": "v"}}) == rendered


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("{{ if .x }}", "expected one of the functions index, len, parseInt, print, printf, got 'if'"),
        ("{{ $x }}", "expected a field, a function or a value, got '$x'"),
        ("{{ .x", "expected each {{ to have its }}"),
        ("{{ .x }} }}", "expected each {{ to have its }}"),
        ("{{ .x .y }}", "expected nothing more, got '.y'"),
        ("{{ .x | .y }}", "expected a function after |, got '.y'"),
        ("{{ (.x }}", "expected a ')'"),
        ("{{ }}", "expected a field or a value, got ''"),
    ],
)
def test_no_templates(text: str, error: str) -> None:
    with pytest.raises(TemplateError) as caught:
        parse_template(text)

    assert str(caught.value) == error


@pytest.mark.parametrize(
    "text", ['{{ parseInt "x" 10 8 }}', '{{ parseInt "1_0" 10 8 }}', '{{ printf "%q" 1 }}']
)
def test_no_meaning(text: str) -> None:
    with pytest.raises(TemplateError):
        parse_template(text).render({})


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("template IN", "2: template: expected a class and a type after it"),
        ("template CH TXT {\n rcode REFUSED\n}", "2: CH: expected one of the classes IN, ANY"),
        ("template IN X {\n rcode REFUSED\n}", "2: X: expected a record type such as AAAA"),
        (
            "template IN A",
            "2: template: expected an answer, an authority or an rcode other than NOERROR",
        ),
        (
            "template IN A {\n upstream\n}",
            "3: upstream: expected an option of template: "
            "additional, answer, authority, ederror, fallthrough, match, rcode",
        ),
        ("template IN A {\n match (\n}", "3: (: expected a regular expression (RE2): missing ): ("),
        ("template IN A {\n match\n}", "3: match: expected at least one regular expression after it"),
        (
            'template IN A {\n match (a)\n answer "{{ .Group.b }}"\n}',
            "4: {{ .Group.b }}: expected one of .Class, .Group, .Group.0, .Group.1, .Match, .Name, "
            ".Question.Name, .Question.Qclass, .Question.Qtype, .Remote, .Type, .Zone, got .Group.b",
        ),
        (
            'template IN A {\n answer "a.org. 60 IN A 10.0.0"\n}',
            "3: a.org. 60 IN A 10.0.0: expected a record: Expected 4 octets in '10.0.0'",
        ),
        ("template IN A {\n rcode 3\n}", None),
        ("template IN A {\n rcode REFUSED\n rcode REFUSED\n}", "4: rcode: expected each option once"),
        (
            "template IN A {\n rcode REFUSED\n ederror x\n}",
            "4: x: expected the number of an extended error from 0 to 65535",
        ),
    ],
)
def test_refused(text: str, error: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        decode_site(text)

    assert error is None or str(caught.value) == f"Corefile:{error}"
