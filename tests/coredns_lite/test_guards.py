"""Replies that some clients may have: kept, and given to these alone."""

from collections import Counter
from ipaddress import ip_address
from typing import Any

import dns.message
import dns.rcode
import pytest

from coredns_lite.chain import Chain
from coredns_lite.plugin import Client, Outcome
from coredns_lite.responder import Responder
from coredns_lite.wire.query import Query
from coredns_lite.wire.record import Record, RecordType
from coredns_lite.wire.reply import Answer
from coredns_lite.zones import ZoneTable
from tests.coredns_lite.plugins.links import build


class Behind:
    """Answers with addresses, and counts how often it was asked."""

    def __init__(self, count: int = 1) -> None:
        self.asked = 0
        self._count = count

    def answer(self, _query: Query, _client: Client) -> Outcome:
        self.asked += 1
        records = (Record(int(RecordType.A), 5, bytes((10, 0, self.asked, n))) for n in range(self._count))
        return Answer(answers=tuple(records), about=b"it", is_rotated=True)


class Clients:
    """A responder behind acl, and clients that ask it."""

    def __init__(self, policies: str, behind: Behind, *, before: str = "", is_stream: bool = False) -> None:
        chains = ZoneTable({".": Chain(build(f"{before}\nacl {{\n{policies}\n}}", behind))})
        self.responder = Responder(chains, is_stream=is_stream, is_counted=True)

    def ask(self, address: str, name: str = "a.example", rtype: str = "A", **more: Any) -> str:
        """Ask; return the first address, or the code, `-` for no reply."""
        packet = dns.message.make_query(name, rtype, **more).to_wire()
        assert self.responder.replies.find(packet[2:]) is None
        reply = self.responder.respond(packet, lambda: Client(ip_address(address), 4000, "udp"))
        if reply is None:
            return "-"
        assert isinstance(reply, bytes)
        assert reply[:2] == packet[:2]
        found = dns.message.from_wire(reply)
        assert found.question == dns.message.from_wire(packet).question
        said = str(found.answer[0][0]) if found.answer else dns.rcode.to_text(found.rcode())
        assert self.responder.last_kind.rcode == dns.rcode.to_text(found.rcode())
        return said


def test_each_client_is_looked_at() -> None:
    """What one may have is made once; who may not have it never gets it, before or after."""
    behind = Behind()
    clients = Clients("block net 10.1.0.0/16\ndrop net 10.2.0.0/16\nfilter type AAAA", behind)
    for _ in range(3):
        assert clients.ask("10.1.0.1") == "REFUSED"
        assert clients.ask("10.9.0.1") == "10.0.1.0"
        assert clients.ask("10.1.0.1") == "REFUSED"
        assert clients.ask("10.2.0.1") == "-"
        assert clients.ask("10.9.0.1", rtype="AAAA") == "NOERROR"
    assert behind.asked == 1

    clients.responder.forget([b"it"])
    assert [clients.ask("10.9.0.1") for _ in range(2)] == ["10.0.2.0"] * 2
    assert clients.ask("10.1.0.1") == "REFUSED"


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"name": "A.example"}, id="another spelling"),
        pytest.param({"use_edns": 0, "payload": 1233}, id="an odd EDNS size"),
        pytest.param({"use_edns": 0, "options": [dns.edns.CookieOption(b"\1" * 8, b"")]}, id="a cookie"),
    ],
)
def test_no_way_around(more: dict[str, Any]) -> None:
    """Packets that are kept for nobody meet the same, also where the question was answered before."""
    clients = Clients("block net 10.1.0.0/16", Behind())
    for _ in range(2):
        assert clients.ask("10.9.0.1", **more) != "REFUSED"
        assert clients.ask("10.1.0.1", **more) == "REFUSED"
        assert clients.ask("10.9.0.1") != "REFUSED"
        assert clients.ask("10.1.0.1") == "REFUSED"


def test_what_stands_for_another_type_is_kept_for_nobody() -> None:
    """A client without the right to IPv4 addresses has none to translate; others have."""

    class Ipv4Only(Behind):
        def answer(self, query: Query, client: Client) -> Outcome:
            if query.qtype != RecordType.A:
                return Answer(about=b"it")
            return super().answer(query, client)

    behind = Ipv4Only()
    policies = "block type A net 10.1.0.0/16"
    clients = Clients(policies, behind, before="dns64 {\nallow_ipv4\n}")
    for _ in range(2):
        assert clients.ask("10.1.0.1", rtype="AAAA") == "NOERROR"
        assert clients.ask("10.9.0.1", rtype="AAAA").startswith("64:ff9b::a00:")


@pytest.mark.parametrize("is_stream", [False, True])
def test_addresses_take_turns(is_stream: bool) -> None:
    clients = Clients("block net 10.1.0.0/16", Behind(3), is_stream=is_stream)
    said = Counter(clients.ask("10.9.0.1") for _ in range(9))

    assert [*said.values()] == [3, 3, 3] or is_stream
    assert clients.ask("10.1.0.1") == "REFUSED"
