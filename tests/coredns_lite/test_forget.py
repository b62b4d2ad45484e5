"""What a small change does to what is cached: what it is about goes, the rest stays, nothing is stale."""

import threading
from collections.abc import Callable, Collection, Hashable
from ipaddress import IPv4Address
from pathlib import Path

import dns.message
import pytest

from coredns_lite.chain import Chain, build_chains
from coredns_lite.config import decode_config
from coredns_lite.corefile.parser import parse_corefile
from coredns_lite.kept import TRAILER_BYTES
from coredns_lite.plugin import Client, Outcome
from coredns_lite.responder import Responder
from coredns_lite.wire.query import Query
from coredns_lite.wire.record import Record, RecordType
from coredns_lite.wire.reply import Answer
from coredns_lite.zones import ZoneTable
from tests.coredns_lite.plugins.links import Place

CLIENT = Client(IPv4Address("127.0.0.1"), 4000, "udp")


class Numbers:
    """Answers with how often it was asked, about the first letter of the name; `meanwhile` happens then."""

    def __init__(self) -> None:
        self.asked = 0
        self.meanwhile: Callable[[], None] = lambda: None

    def answer(self, query: Query, _client: Client) -> Outcome:
        self.asked += 1
        number = self.asked
        self.meanwhile()
        about: Hashable = None if query.name[1:2] == b"x" else query.name[1:2]
        return Answer(answers=(Record(int(RecordType.A), 5, number.to_bytes(4)),), about=about)


class Asked:
    """A responder, and its answers as numbers."""

    def __init__(self, *, is_counted: bool = False) -> None:
        self.numbers = Numbers()
        chains = ZoneTable({".": Chain(self.numbers)})
        self.responder = Responder(chains, is_counted=is_counted)

    def ask(self, name: str) -> int:
        packet = dns.message.make_query(name, "A", id=7).to_wire()
        # As a packet loop does it: the first cache, then the rest.
        found = self.responder.replies.find(packet[2:])
        if found is not None:
            return int.from_bytes(found[:-TRAILER_BYTES][-4:])
        reply = self.responder.respond(packet, lambda: CLIENT)
        assert isinstance(reply, bytes)
        return int.from_bytes(reply[-4:])


def test_what_it_is_about_goes() -> None:
    """Of two names about the same, both; those about something else are not asked for again."""
    asked = Asked()
    # In lower case in the first cache, as others spell it in the second.
    assert [asked.ask(name) for name in ("a1", "A2", "b", "B", "a1", "A2")] == [1, 2, 3, 4, 1, 2]

    asked.responder.forget(["a", b"a"])
    assert [asked.ask(name) for name in ("b", "B", "a1", "A2", "a1", "A2")] == [3, 4, 5, 6, 5, 6]


def test_what_nobody_knows_goes_with_any_change() -> None:
    asked = Asked()
    assert [asked.ask(name) for name in ("x", "b")] == [1, 2]

    asked.responder.forget([b"other"])
    assert [asked.ask(name) for name in ("x", "b")] == [3, 2]


def test_what_a_change_does_not_touch_stays(tmp_path: Path) -> None:
    """Of several plugins: the cluster's changes drop what is said of its names and behind them, no more."""
    zone = tmp_path / "zone"
    zone.write_text("example.org. 5 SOA ns.example.org. a.example.org. 1 2 3 4 5\nexample.org. 5 NS ns\n")
    blocks = parse_corefile(
        ". {\n any\n hosts /dev/null a.test {\n 10.0.0.1 a.test\n }\n"
        f" kubernetes cluster.local {{\n manifests {tmp_path}\n fallthrough\n }}\n"
        f" file {zone} example.org\n}}\n",
        "Corefile",
    )
    (listener,) = decode_config(blocks)
    chains = build_chains(listener, lambda _listener, _site: Place())
    responder = Responder(chains)
    names = ("a.test", "b.test", "example.org", "nobody.example", "nope.cluster.local")
    for name in names:
        responder.respond(dns.message.make_query(name, "A").to_wire(), lambda: CLIENT)
    responder.respond(dns.message.make_query("a.test", "ANY").to_wire(), lambda: CLIENT)
    assert len(responder.replies) == len(names) + 1

    responder.forget([b"other"])
    assert len(responder.replies) == len(names)


def test_a_change_while_an_answer_is_built() -> None:
    """The answer that may be from before is given, and not kept; in the caches is nothing of it."""
    asked = Asked()
    asked.numbers.meanwhile = lambda: asked.responder.forget([b"a"])
    assert [asked.ask(name) for name in ("a", "A")] == [1, 2]
    asked.numbers.meanwhile = lambda: None

    assert (len(asked.responder.replies), len(asked.responder._questions)) == (0, 0)
    assert [asked.ask(name) for name in ("a", "A", "a", "A")] == [3, 4, 3, 4]


def test_questions_between_the_steps_of_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one cache has dropped does not come back from the other, which still has it."""
    asked = Asked()
    assert [asked.ask(name) for name in ("a", "A")] == [1, 2]
    questions = asked.responder._questions
    forget = questions.forget

    def ask_and_forget(tokens: Collection[int]) -> None:
        asked.ask("a")
        forget(tokens)

    monkeypatch.setattr(questions, "forget", ask_and_forget)
    asked.responder.forget([b"a"])
    last = asked.numbers.asked
    assert [asked.ask(name) for name in ("A", "a")] == [last + 1, last + 1]


def test_changes_leave_nothing_behind() -> None:
    """What is noted about dropped entries goes with them."""
    asked = Asked(is_counted=True)
    for number in range(500):
        asked.ask(f"a{number}")
        asked.ask(f"A{number}")
        asked.responder.forget([b"a"])

    responder = asked.responder
    assert (len(responder.replies), len(responder._questions)) == (0, 0)
    for kept in (responder.replies._packets, responder._questions):
        assert (kept._young_about, kept._old_about) == ({}, {})


def test_two_threads() -> None:
    """While one asks, another changes what is answered: no answer older than the last change stays."""
    asked = Asked()
    is_over = threading.Event()

    def change() -> None:
        while not is_over.is_set():
            asked.responder.forget([b"a"])

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(2000):
            asked.ask("a")
    finally:
        is_over.set()
        thread.join()
    asked.responder.forget([b"a"])

    seen = asked.numbers.asked
    assert asked.ask("a") == seen + 1
    assert asked.ask("a") == seen + 1
