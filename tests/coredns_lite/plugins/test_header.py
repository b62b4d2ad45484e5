"""The plugins `header` and `minimal`: flags and records that a reply has or has not."""

import dns.flags
import dns.message
import pytest

from coredns_lite.plugin import Client, Outcome
from coredns_lite.plugins.header import Flags, Header
from coredns_lite.wire.query import Flag, Query, decode_query
from coredns_lite.wire.reply import MAX_TCP_REPLY_BYTES, Answer, Rcode, render_reply
from nodeplane.errors import ConfigError
from tests.coredns_lite.plugins.links import CLIENT, Seen, Stub, ask, build, decode_site, records, see


class Recorder:
    """Says what it was asked with."""

    def __init__(self, answer: Answer) -> None:
        self.flags = 0
        self._answer = answer

    def answer(self, query: Query, _client: Client) -> Outcome:
        self.flags = query.flags
        return self._answer


@pytest.mark.parametrize(
    ("lines", "asked", "replied"),
    [
        pytest.param("response set ra", "RD", "QR AA RD RA", id="set"),
        pytest.param("response clear aa rd", "RD", "QR", id="clear"),
        pytest.param("set ra\nclear aa", "RD", "QR RD RA", id="replies are meant"),
        pytest.param("response set ra aa\nresponse clear ra", "RD", "QR AA RD", id="the last counts"),
        pytest.param("query clear rd", "", "QR AA RD", id="query"),
    ],
)
def test_flags(lines: str, asked: str, replied: str) -> None:
    recorder = Recorder(Answer(answers=records("@ 5 IN A 10.0.0.1")))
    query = decode_query(dns.message.make_query("a.", "A").to_wire())
    answer = build(f"header {{\n{lines}\n}}", recorder).answer(query, CLIENT)
    assert isinstance(answer, Answer)
    reply = dns.message.from_wire(render_reply(query, answer, MAX_TCP_REPLY_BYTES))

    assert dns.flags.to_text(recorder.flags) == asked
    assert dns.flags.to_text(reply.flags) == replied


def test_two_of_them() -> None:
    """The first in the Corefile has the last word on replies."""
    text = "header {\n response clear ra\n}\nheader {\n response set ra aa\n}"
    answer = ask(build(text, Stub()), "a.")[1]

    assert (answer.set_flags, answer.cleared_flags) == (Flag.AA, Flag.RA)


@pytest.mark.parametrize(
    ("text", "config"),
    [
        ("header {\n query set RD\n response clear aa\n}", Header(Flags(0x100), Flags(0, 0x400))),
        ("header {\n set aa ra\n clear ra\n set ra\n}", Header(Flags(), Flags(0x480))),
    ],
)
def test_decode(text: str, config: Header) -> None:
    assert decode_site(text).plugins == {"header": (config,)}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("header", "2: header: expected a block with lines such as: response set ra"),
        ("header {\n response\n}", "3: response: expected set or clear"),
        ("header {\n query drop rd\n}", "3: drop: expected set or clear"),
        ("header {\n response set\n}", "3: set: expected some of aa, ra, rd after it"),
        ("header {\n response set ad\n}", "3: ad: expected one of aa, ra, rd"),
        ("minimal yes", "2: yes: expected nothing after minimal"),
    ],
)
def test_refused(text: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode_site(text)

    assert str(caught.value) == f"Corefile:{error}"


SRV = records("@ 5 IN SRV 0 0 80 a.b.")
GLUE = records("a.b. 5 IN A 10.0.0.1")
SOA = records("b. 5 IN SOA a.b. c.b. 1 2 3 4 5")
NS = records("b. 5 IN NS a.b.")
SAID = {
    "srv.b.": Answer(answers=SRV, authority=NS, additional=GLUE),
    "none.b.": Answer(Rcode.NXDOMAIN, authority=SOA),
    "nodata.b.": Answer(authority=SOA),
    "cut.b.": Answer(authority=NS, additional=GLUE, is_authoritative=False),
}


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize(
    ("name", "seen"),
    [
        pytest.param("srv.b.", Seen(answer=("srv.b. 5 IN SRV 0 0 80 a.b.",)), id="positive"),
        pytest.param(
            "none.b.", Seen("NXDOMAIN", authority=("b. 5 IN SOA a.b. c.b. 1 2 3 4 5",)), id="NXDOMAIN"
        ),
        pytest.param("nodata.b.", Seen(authority=("b. 5 IN SOA a.b. c.b. 1 2 3 4 5",)), id="NODATA"),
        pytest.param(
            "cut.b.",
            Seen(authority=("b. 5 IN NS a.b.",), additional=("a.b. 5 IN A 10.0.0.1",)),
            id="referral",
        ),
    ],
)
def test_minimal(name: str, seen: Seen, *, later: bool) -> None:
    stub = Stub({(each, "SRV"): answer for each, answer in SAID.items()}, later=later)

    assert see(build("minimal", stub), name, "SRV") == seen
