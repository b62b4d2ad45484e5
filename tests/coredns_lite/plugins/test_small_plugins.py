"""Plugins of one idea each: acl, any, chaos, loadbalance, errors."""

import asyncio
import logging
import socket
from ipaddress import ip_address

import pytest

from coredns_lite.patterns import Pattern
from coredns_lite.plugin import Client
from coredns_lite.plugins.errors import Consolidation, Count
from coredns_lite.wire.reply import Answer, Rcode
from tests.coredns_lite.plugins.links import Seen, Stub, ask, build, records, see

HOST = socket.gethostname()
A = Answer(answers=records("@ 5 IN A 10.0.0.1"))
NAMES = Stub({("a.example.", "A"): A, ("b.org.", "A"): A, ("a.example.", "TXT"): A})

ACL = """
acl example {
    allow net 10.0.0.0/24 fd00::/8
    drop net 10.0.1.1
    filter type TXT
    block
}
"""


@pytest.mark.parametrize(
    ("client", "name", "rtype", "seen", "is_dropped"),
    [
        ("10.0.0.1", "a.example", "A", Seen(answer=("a.example. 5 IN A 10.0.0.1",)), False),
        ("fd00::1", "A.example", "A", Seen(answer=("A.example. 5 IN A 10.0.0.1",)), False),
        ("10.0.1.1", "a.example", "A", Seen(), True),
        ("10.0.1.2", "a.example", "TXT", Seen(), False),
        ("10.0.1.2", "a.example", "A", Seen("REFUSED"), False),
        ("10.0.1.2", "b.org", "A", Seen(answer=("b.org. 5 IN A 10.0.0.1",)), False),
    ],
)
def test_acl(client: str, name: str, rtype: str, seen: Seen, is_dropped: bool) -> None:
    """The first line that fits decides; nothing in its zones is kept for another client."""
    who = Client(ip_address(client), 4000, "udp")
    found, answer = ask(build(ACL, NAMES), name, rtype, client=who)

    assert (found, answer.is_dropped) == (seen, is_dropped)
    assert (answer.is_lasting and not answer.guards) == (name == "b.org")


@pytest.mark.parametrize(
    ("name", "rtype", "rclass", "seen"),
    [
        ("version.bind", "TXT", "CH", Seen(answer=('version.bind. 0 CH TXT "v1"',))),
        ("version.server", "TXT", "CH", Seen(answer=('version.server. 0 CH TXT "v1"',))),
        (
            "Authors.Bind",
            "TXT",
            "CH",
            Seen(answer=('Authors.Bind. 0 CH TXT "me"', 'Authors.Bind. 0 CH TXT "you"')),
        ),
        ("hostname.bind", "TXT", "CH", Seen(answer=(f'hostname.bind. 0 CH TXT "{HOST}"',))),
        ("id.server", "ANY", "CH", Seen(answer=(f'id.server. 0 CH TXT "{HOST}"',))),
        ("version.bind", "A", "CH", Seen("REFUSED")),
        ("other.bind", "TXT", "CH", Seen("REFUSED")),
        ("version.bind", "TXT", "IN", Seen("NXDOMAIN")),
    ],
)
def test_chaos(name: str, rtype: str, rclass: str, seen: Seen) -> None:
    assert see(build("chaos v1 me you", NAMES), name, rtype, rclass) == seen


@pytest.mark.parametrize(
    ("name", "rtype", "seen"),
    [
        ("x.org", "ANY", Seen(answer=('x.org. 8482 IN HINFO "ANY obsoleted" "See RFC 8482"',))),
        ("b.org", "A", Seen(answer=("b.org. 5 IN A 10.0.0.1",))),
    ],
)
def test_any(name: str, rtype: str, seen: Seen) -> None:
    assert see(build("any", NAMES), name, rtype) == seen


@pytest.mark.parametrize(
    ("lines", "is_rotated"),
    [
        pytest.param(("@ 5 IN A 10.0.0.1",), False, id="one"),
        pytest.param(("@ 5 IN A 10.0.0.1", "@ 5 IN A 10.0.0.2"), True, id="two addresses"),
        pytest.param(("@ 5 IN CNAME b.", "b. 5 IN AAAA ::1"), False, id="a chain to one"),
        pytest.param(("@ 5 IN MX 1 b.", "@ 5 IN MX 1 c."), True, id="two mail exchangers"),
        pytest.param(("@ 5 IN TXT x", "@ 5 IN TXT y"), False, id="texts"),
    ],
)
@pytest.mark.parametrize("later", [False, True])
def test_loadbalance(lines: tuple[str, ...], is_rotated: bool, later: bool) -> None:
    stub = Stub({("a.", "A"): Answer(answers=records(*lines))}, later=later)

    assert ask(build("loadbalance", stub), "a")[1].is_rotated == is_rotated


TIMEOUT = Answer(Rcode.SERVFAIL, is_lasting=False, error="read udp 10.0.0.9:53: i/o timeout")


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize(
    ("text", "answer", "lines"),
    [
        pytest.param("errors", TIMEOUT, ["2 a.b. A: read udp 10.0.0.9:53: i/o timeout"], id="an error"),
        pytest.param("errors", Answer(Rcode.NXDOMAIN), [], id="a denial is none"),
        pytest.param("errors", Answer(Rcode.REFUSED), [], id="a refusal is none"),
        pytest.param('errors {\n consolidate 1h "timeout$"\n}', TIMEOUT, [], id="consolidated"),
        pytest.param(
            'errors {\n consolidate 1h "^timeout"\n}',
            TIMEOUT,
            ["2 a.b. A: read udp 10.0.0.9:53: i/o timeout"],
            id="another than those consolidated",
        ),
    ],
)
def test_errors(
    text: str, answer: Answer, lines: list[str], later: bool, caplog: pytest.LogCaptureFixture
) -> None:
    found = ask(build(text, Stub({("a.b.", "A"): answer}, later=later)), "A.b")[1]

    assert found == answer
    assert caplog.messages == lines


def test_consolidated_errors_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    """What was counted is said once, also at the end; then the count begins again."""
    count = Count(Consolidation(3600.0, "1h", Pattern("timeout$"), logging.WARNING))

    async def scenario() -> None:
        task = asyncio.create_task(count.report())
        await asyncio.sleep(0)
        assert [count.add(message) for message in ("i/o timeout", "other", "timeout")] == [True, False, True]
        task.cancel()
        await asyncio.wait({task})

    asyncio.run(scenario())

    assert caplog.messages == ["2 errors like 'timeout$' occurred in the last 1h"]
    assert caplog.records[0].levelno == logging.WARNING
    assert count.take() is None


def test_acl_without_a_line_that_fits() -> None:
    """Without a line that fits, a query passes."""
    assert see(build("acl {\n block net 192.0.2.1\n}", NAMES), "b.org").rcode == "NOERROR"
