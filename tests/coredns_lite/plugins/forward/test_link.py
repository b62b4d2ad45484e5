"""Which names a line of `forward` takes, and what the line behind it gets."""

import asyncio
import re
from contextlib import AsyncExitStack

import pytest

from coredns_lite.corefile.parser import parse_corefile
from coredns_lite.plugin import Client, Handler, Outcome
from coredns_lite.plugins import forward
from coredns_lite.plugins.forward import Link
from coredns_lite.wire.query import Query
from coredns_lite.wire.record import txt_record
from coredns_lite.wire.reply import Answer
from tests.coredns_lite.upstreams import UDP, Upstream, always, ask, data


class End:
    """What is behind the last line."""

    def answer(self, query: Query, client: Client) -> Outcome:
        return Answer(answers=(txt_record(b"end", 0),))


def chain(lines: str, *upstreams: Upstream) -> Handler:
    """Build lines in which A, B, C stand for upstreams."""
    for letter, upstream in zip("ABC", upstreams, strict=True):
        lines = re.sub(rf"\b{letter}\b", f"127.0.0.1:{upstream.port}", lines)
    (block,) = parse_corefile(f". {{\n{lines}\n}}", "Corefile")
    link: Handler = End()
    for directive in reversed(block.directives):
        config = forward.decode(directive, (".",))
        link = Link(config, forward.make_forwarder(config), link)
    return link


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        pytest.param("forward . A", {"x.example": "a"}, id="all"),
        pytest.param("forward example A", {"x.example": "a", "example": "a", "x.org": "end"}, id="a zone"),
        pytest.param(
            "forward . A {\nexcept example Corp.Org\n}",
            {"x.example": "end", "x.corp.org": "end", "x.org": "a"},
            id="except",
        ),
        pytest.param(
            "forward corp.example A\nforward example B\nforward . A",
            {"x.corp.example": "a", "x.example": "b", "x.org": "a"},
            id="several lines",
        ),
        pytest.param("forward . A\nforward example B", {"x.example": "a"}, id="the first that has the name"),
        pytest.param("forward . C {\nnext NXDOMAIN\n}\nforward . B", {"x.example": "b"}, id="next"),
        pytest.param(
            "forward . C {\nnext NXDOMAIN\n}\nforward . C {\nnext NXDOMAIN\n}\nforward . A",
            {"x.example": "a"},
            id="next, and next",
        ),
        pytest.param(
            "forward . C {\nnext REFUSED\n}\nforward . B", {"x.example": "NXDOMAIN"}, id="another code"
        ),
        pytest.param("forward . C {\nnext NXDOMAIN\n}", {"x.example": "NXDOMAIN"}, id="next without a line"),
        pytest.param(
            "forward 10.0.0.0/9 A",
            {"1.0.127.10.in-addr.arpa": "a", "1.0.128.10.in-addr.arpa": "end"},
            id="network",
        ),
    ],
)
def test_who_answers(lines: str, said: dict[str, str]) -> None:
    async def scenario() -> dict[str, str]:
        async with AsyncExitStack() as stack:
            upstreams = [
                await stack.enter_async_context(Upstream(script))
                for script in (always('@ 9 TXT "a"'), always('@ 9 TXT "b"'), always(rcode="NXDOMAIN"))
            ]
            link, found = chain(lines, *upstreams), {}
            for name in said:
                query = ask(name, "TXT")
                outcome = link.answer(query, UDP)
                answer = outcome if isinstance(outcome, Answer) else await outcome
                rcode, *records = data(query, answer)
                found[name] = records[0].split('"')[1] if records else rcode
            return found

    assert asyncio.run(scenario()) == said
