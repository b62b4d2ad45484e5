"""The plugin `rewrite`: what is asked instead, and what the client reads."""

import pytest

from coredns_lite.wire.reply import Answer, Rcode
from tests.coredns_lite.plugins.links import Seen, Stub, build, records, see

A = records("@ 5 IN A 10.0.0.1")
ANSWERS = {
    ("b.org.", "A"): Answer(answers=A),
    ("b.org.", "AAAA"): Answer(answers=records("b.org. 5 IN AAAA ::1")),
    ("x.b.org.", "A"): Answer(
        answers=records("@ 5 IN CNAME y.b.org.", "y.b.org. 5 IN A 10.0.0.2"),
        authority=records("b.org. 5 IN NS x.b.org."),
        additional=records("X.b.org. 5 IN A 10.0.0.3"),
    ),
    ("x.b.org.", "SRV"): Answer(answers=records("@ 5 IN SRV 0 0 80 x.b.org.")),
}
REGEX = r"""
rewrite stop {
    name regex ^(.*)\.a\.com\.$ {1}.b.org
    answer name (.*)\.b\.org {1}.a.com
    answer value (.*)\.b\.org {1}.a.com
}
"""
CHAIN = """
rewrite continue name exact c.com d.com
rewrite stop name exact d.com b.org
rewrite name exact b.org never.org
"""


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize(
    ("text", "name", "rtype", "asked", "seen"),
    [
        pytest.param(
            "rewrite name A.com B.org",
            "a.COM",
            "A",
            "b.org. A",
            Seen(answer=("a.COM. 5 IN A 10.0.0.1",)),
            id="exact",
        ),
        pytest.param(
            "rewrite name a.com b.org",
            "a.com",
            "AAAA",
            "b.org. AAAA",
            Seen(answer=("a.com. 5 IN AAAA ::1",)),
            id="an owner in full is the question's again",
        ),
        pytest.param("rewrite name a.com b.org", "x.a.com", "A", "x.a.com. A", Seen("NXDOMAIN"), id="no fit"),
        pytest.param(
            "rewrite name suffix .a.com .b.org",
            "x.a.com",
            "A",
            "x.b.org. A",
            Seen(
                answer=("x.a.com. 5 IN CNAME y.b.org.", "y.b.org. 5 IN A 10.0.0.2"),
                authority=("b.org. 5 IN NS x.a.com.",),
                additional=("x.a.com. 5 IN A 10.0.0.3",),
            ),
            id="suffix: the name asked instead comes back, in data too",
        ),
        pytest.param(
            "rewrite name suffix a.com b.org",
            "x.a.com",
            "SRV",
            "x.b.org. SRV",
            Seen(answer=("x.a.com. 5 IN SRV 0 0 80 x.a.com.",)),
            id="target of a service",
        ),
        pytest.param("rewrite name prefix a b", "aa.org", "A", "ba.org. A", Seen("NXDOMAIN"), id="prefix"),
        pytest.param(
            "rewrite name substring a bb", "aa.a", "A", "bbbb.bb. A", Seen("NXDOMAIN"), id="substring"
        ),
        pytest.param(
            REGEX,
            "x.a.com",
            "A",
            "x.b.org. A",
            Seen(
                answer=("x.a.com. 5 IN CNAME y.a.com.", "y.a.com. 5 IN A 10.0.0.2"),
                authority=("b.org. 5 IN NS x.a.com.",),
                additional=("x.a.com. 5 IN A 10.0.0.3",),
            ),
            id="regex with its answer",
        ),
        pytest.param(
            CHAIN, "c.com", "A", "b.org. A", Seen(answer=("c.com. 5 IN A 10.0.0.1",)), id="continue"
        ),
        pytest.param(CHAIN, "b.org", "A", "never.org. A", Seen("NXDOMAIN"), id="the last line"),
        pytest.param(
            "rewrite type ANY A",
            "b.org",
            "ANY",
            "b.org. A",
            Seen(answer=("b.org. 5 IN A 10.0.0.1",)),
            id="type",
        ),
    ],
)
def test_rewrite(text: str, name: str, rtype: str, asked: str, seen: Seen, *, later: bool) -> None:
    stub = Stub(ANSWERS, later=later)

    assert see(build(text, stub), name, rtype) == seen
    assert stub.asked == [asked]


def test_what_is_no_name_fails() -> None:
    """A name that would be too long is not asked for."""
    stub = Stub({("a.", "A"): Answer(Rcode.NOERROR)})

    assert see(build("rewrite name regex ^a.$ " + "b" * 64, stub), "a") == Seen("SERVFAIL")
    assert not stub.asked
