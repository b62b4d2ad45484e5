"""What a small change does to what is cached: what it is about goes, the rest stays, nothing is stale."""

import threading
from collections.abc import Callable, Hashable
from ipaddress import IPv4Address
from typing import Any

import dns.message

from coredns_lite.chain import Chain
from coredns_lite.plugin import Client, Outcome
from coredns_lite.responder import Responder
from coredns_lite.wire.query import Query
from coredns_lite.wire.record import Record, RecordType
from coredns_lite.wire.reply import Answer
from coredns_lite.zones import ZoneTable

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

    def __init__(self, cache_size: int = 100, *, is_counted: bool = False) -> None:
        self.numbers = Numbers()
        chains = ZoneTable({".": Chain(self.numbers)})
        self.responder = Responder(chains, cache_size, is_counted=is_counted)

    def ask(self, name: str) -> int:
        packet = dns.message.make_query(name, "A", id=7).to_wire()
        # As a packet loop does it: the first cache, then the rest.
        found = self.responder.packets.get(packet[2:])
        reply = packet[:2] + found if found else self.responder.respond(packet, lambda: CLIENT)
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


def test_a_change_while_an_answer_is_built() -> None:
    """The answer that may be from before is given, and not kept; in the caches is nothing of it."""
    asked = Asked()
    asked.numbers.meanwhile = lambda: asked.responder.forget([b"a"])
    assert [asked.ask(name) for name in ("a", "A")] == [1, 2]
    asked.numbers.meanwhile = lambda: None

    assert (asked.responder.packets, asked.responder._questions) == ({}, {})
    assert [asked.ask(name) for name in ("a", "A", "a", "A")] == [3, 4, 3, 4]


class Interrupted(dict[bytes, bytes]):
    """A cache whose owner is another thread's turn away from its next step each time that it drops one."""

    def __init__(self, entries: dict[bytes, bytes], meanwhile: Callable[[], object]) -> None:
        super().__init__(entries)
        self._meanwhile = meanwhile
        self._is_meanwhile = False

    def pop(self, key: bytes, default: object = None) -> Any:
        """Drop an entry, then have the other thread run, which may drop some itself."""
        found = super().pop(key, None)
        if not self._is_meanwhile:
            self._is_meanwhile = True
            self._meanwhile()
            self._is_meanwhile = False
        return found


def test_questions_between_the_steps_of_a_change() -> None:
    """What one cache has dropped does not come back from the other, which still has it."""
    asked = Asked()
    assert [asked.ask(name) for name in ("a", "A")] == [1, 2]
    asked.responder.packets = Interrupted(asked.responder.packets, lambda: asked.ask("a"))

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
    assert (len(responder.packets), len(responder._questions), len(responder._about)) == (0, 0, 0)
    assert len(responder.kinds) <= 200


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
