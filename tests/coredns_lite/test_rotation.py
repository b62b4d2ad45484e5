"""The orders in which an answer is given, and the caches that give them."""

import asyncio
from collections import Counter
from ipaddress import ip_address

import dns.message
import pytest

from coredns_lite.chain import Chain
from coredns_lite.kept import TRAILER_BYTES
from coredns_lite.pending import Pending
from coredns_lite.plugin import Client, Outcome
from coredns_lite.responder import Responder
from coredns_lite.rotation import MAX_TURNS, turn, turns
from coredns_lite.wire.query import Query
from coredns_lite.wire.record import Record, RecordType, address_record, name_record
from coredns_lite.wire.reply import Answer
from coredns_lite.zones import ZoneTable
from tests.coredns_lite.chains import CLIENT, Asked

A, B, C = (address_record(ip_address(f"10.0.0.{number}"), 5) for number in (1, 2, 3))
ALIAS = name_record(RecordType.CNAME, b"\1x\0", 5)


@pytest.mark.parametrize(
    ("records", "orders"),
    [
        pytest.param((), [()], id="none"),
        pytest.param((A,), [(A,)], id="one"),
        pytest.param((A, B), [(A, B), (B, A)], id="two"),
        pytest.param((A, B, C), [(A, B, C), (B, C, A), (C, A, B)], id="three"),
        pytest.param((ALIAS, A, B), [(ALIAS, A, B), (ALIAS, B, A)], id="the alias stays first"),
        pytest.param((ALIAS, A), [(ALIAS, A)], id="alias and one"),
    ],
)
def test_turns(records: tuple[Record, ...], orders: list[tuple[Record, ...]]) -> None:
    assert [answer.answers for answer in turns(Answer(answers=records, is_rotated=True))] == orders


def test_no_turns_unless_asked_for() -> None:
    assert turns(Answer(answers=(A, B))) == [Answer(answers=(A, B))]


def test_many_records_begin_evenly_spread() -> None:
    records = tuple(address_record(ip_address(f"10.0.1.{number}"), 5) for number in range(200))
    answers = turns(Answer(answers=records, is_rotated=True))

    assert [records.index(answer.answers[0]) for answer in answers] == [
        number * 200 // MAX_TURNS for number in range(MAX_TURNS)
    ]
    assert all(set(answer.answers) == set(records) for answer in answers)


def test_a_turn_of_more_than_a_round() -> None:
    answer = Answer(answers=(A, B), additional=(C,), is_rotated=True)

    assert turn(answer, 3).answers == (B, A)
    assert turn(answer, 3).additional == (C,)


class Fixed:
    """Says the same to everybody."""

    def __init__(self, answer: Answer) -> None:
        self.answer_given = answer

    def answer(self, _query: Query, _client: Client) -> Outcome:
        return self.answer_given


@pytest.mark.parametrize(
    "name", [pytest.param("db.example.", id="from the packet cache"), pytest.param("dB.example.", id="0x20")]
)
def test_each_address_comes_first_as_often(name: str) -> None:
    asked = Asked({".": Fixed(Answer(answers=(A, B, C), is_rotated=True))})
    packet = dns.message.make_query(name, "A").to_wire()
    first: Counter[str] = Counter()
    for _ in range(9):
        kept = asked.responder.replies.find(packet[2:])
        reply = packet[:2] + kept[:-TRAILER_BYTES] if kept else asked.respond(packet)
        assert reply is not None
        first[str(dns.message.from_wire(reply).answer[0][0])] += 1

    assert first == dict.fromkeys(("10.0.0.1", "10.0.0.2", "10.0.0.3"), 3)


def test_streams_turn_without_keeping_orders() -> None:
    """Over a stream an order may be 64 KiB: the answer is kept, once."""
    fixed = Fixed(Answer(answers=(A, B, C), is_rotated=True))
    responder = Responder(ZoneTable({".": Chain(fixed, ".")}), is_stream=True)
    packet = dns.message.make_query("db.example.", "A").to_wire()
    first: Counter[str] = Counter()
    for _ in range(9):
        reply = responder.respond(packet, lambda: CLIENT)
        assert isinstance(reply, bytes)
        first[str(dns.message.from_wire(reply).answer[0][0])] += 1

    assert first == dict.fromkeys(("10.0.0.1", "10.0.0.2", "10.0.0.3"), 3)
    assert (len(responder.replies), len(responder._questions)) == (0, 1)


def test_the_orders_that_are_kept_are_bounded() -> None:
    """Of a long answer fewer are kept."""
    records = tuple(address_record(ip_address(f"10.0.1.{number}"), 5) for number in range(200))
    asked = Asked({".": Fixed(Answer(answers=records, is_rotated=True))})
    packet = dns.message.make_query("db.example.", "A", use_edns=0).to_wire()
    asked.respond(packet)
    kept = {asked.responder.replies.find(packet[2:]) or b"" for _ in range(3 * MAX_TURNS)}

    assert 8 * 1024 < sum(map(len, kept)) <= 16 * 1024


class FixedLater(Fixed):
    """Says it later."""

    def answer(self, _query: Query, _client: Client) -> Outcome:
        return self.wait()

    async def wait(self) -> Answer:
        return self.answer_given


def test_what_comes_later_is_turned_too() -> None:
    asked = Asked({".": FixedLater(Answer(answers=(A, B, C), is_rotated=True, is_lasting=False))})
    packet = dns.message.make_query("db.example.", "A").to_wire()
    first: Counter[str] = Counter()
    for _ in range(9):
        pending = asked.responder.respond(packet, lambda: CLIENT)
        assert isinstance(pending, Pending)
        reply, _ = asyncio.run(pending.answer())
        assert reply is not None
        first[str(dns.message.from_wire(reply).answer[0][0])] += 1

    assert first == dict.fromkeys(("10.0.0.1", "10.0.0.2", "10.0.0.3"), 3)
