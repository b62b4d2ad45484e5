"""A plugin's links for tables: built from a Corefile's lines, a stub behind them; dnspython reads replies."""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Hashable, Mapping
from ipaddress import ip_address
from typing import Any, TypeVar

import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import msgspec

from coredns_lite.config import Site, decode_config
from coredns_lite.corefile.parser import parse_corefile
from coredns_lite.plugin import Client, Handler, Outcome
from coredns_lite.plugins import PLUGINS
from coredns_lite.wire.names import encode_name
from coredns_lite.wire.query import Query, decode_query
from coredns_lite.wire.record import Record
from coredns_lite.wire.reply import MAX_TCP_REPLY_BYTES, Answer, Rcode, render_reply
from coredns_lite.workers.crew import Crew
from nodeplane.runtime.http import Handler as PageHandler
from nodeplane.runtime.listen import ListenAddress

V = TypeVar("V")

CLIENT = Client(ip_address("10.0.0.1"), 4000, "udp")
NOT_THERE = Answer(Rcode.NXDOMAIN)


class Place:
    """Surroundings that keep what a plugin asked of them."""

    def __init__(self, server: str = "dns://:53", zone: str = ".") -> None:
        self.server = server
        self.zone = zone
        self.mains: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self.pages: dict[tuple[ListenAddress, str], PageHandler] = {}
        self.awaited: dict[str, bool] = {}
        self.changes = 0
        self.lameduck_s = 0.0
        self._shared: dict[Hashable, Any] = {}

    def run(self, main: Callable[[], Coroutine[Any, Any, None]], *, when_serving: bool = False) -> None:
        self.mains.append(main)

    def changed(self, about: Collection[Hashable] | None = None) -> None:
        assert about is None
        self.changes += 1

    def shared(self, key: Hashable, make: Callable[[], V]) -> V:
        if key not in self._shared:
            self._shared[key] = make()
        found: V = self._shared[key]
        return found

    def kept(self) -> tuple[Any, ...]:
        """Return all that is shared."""
        return tuple(self._shared.values())

    def wait_for(self, what: str, within_s: float | None = None) -> Callable[[], None]:
        self.awaited[what] = True

        def stop() -> None:
            del self.awaited[what]

        return stop

    def unready(self) -> tuple[str, ...]:
        return tuple(self.awaited)

    def serve_page(self, address: ListenAddress, path: str, handler: PageHandler) -> None:
        self.pages[address, path] = handler

    def serve_by(self, crew: Crew) -> None:
        self.crew = crew

    def leave_after(self, seconds: float) -> None:
        self.lameduck_s = max(self.lameduck_s, seconds)


class Stub:
    """What stands behind the plugin: answers by name and type, at once or later; keeps what it was asked."""

    def __init__(
        self, answers: Mapping[tuple[str, str], Answer] | None = None, *, later: bool = False
    ) -> None:
        self._answers = answers or {}
        self._later = later
        self.asked: list[str] = []

    def answer(self, query: Query, _client: Client) -> Outcome:
        rtype = dns.rdatatype.to_text(dns.rdatatype.RdataType.make(query.qtype))
        name = query_name(query)
        self.asked.append(f"{name} {rtype}")
        answer = self._answers.get((name.lower(), rtype), NOT_THERE)
        return wait(answer) if self._later else answer


async def wait(answer: Answer) -> Answer:
    await asyncio.sleep(0)
    return answer


def query_name(query: Query) -> str:
    return str(dns.name.from_wire(query.question, 0)[0])


def records(*lines: str) -> tuple[Record, ...]:
    """Read records in presentation form, `name ttl class type data`; `@` is the question's name."""
    found = []
    for line in lines:
        owner, ttl_s, rclass, rtype, data = line.split(maxsplit=4)
        (rdata,) = dns.rrset.from_text("x.", int(ttl_s), rclass, rtype, data)
        found.append(
            Record(
                int(rdata.rdtype),
                int(ttl_s),
                rdata.to_wire() or b"",
                b"" if owner == "@" else encode_name(owner),
                int(rdata.rdclass),
            )
        )
    return tuple(found)


def decode_site(text: str, zones: str = ".") -> Site:
    """Decode the lines of a server block."""
    (listener,) = decode_config(parse_corefile(f"{zones} {{\n{text}\n}}", "Corefile"))
    return listener.sites[0]


def build(text: str, following: Handler, place: Place | None = None, zones: str = ".") -> Handler:
    """Build the links of all the plugins in these lines, in front of a handler."""
    site = decode_site(text, zones)
    handler = following
    for name, plugin in reversed(tuple(PLUGINS.items())):
        for config in reversed(site.plugins.get(name, ())):
            handler = plugin.build(config, place or Place(), handler)
    return handler


class Seen(msgspec.Struct, frozen=True):
    """What a client makes of a reply; records as text."""

    rcode: str = "NOERROR"
    answer: tuple[str, ...] = ()
    authority: tuple[str, ...] = ()
    additional: tuple[str, ...] = ()


def ask(
    handler: Handler, name: str, rtype: str = "A", rclass: str = "IN", client: Client = CLIENT, **options: Any
) -> tuple[Seen, Answer]:
    """Ask a question; return what dnspython reads, and the answer that it was written from."""
    packet = dns.message.make_query(name, rtype, rclass, **options).to_wire()
    query = decode_query(packet)
    outcome = handler.answer(query, client)
    answer = outcome if isinstance(outcome, Answer) else asyncio.run(_await(outcome))
    message = dns.message.from_wire(render_reply(query, answer, MAX_TCP_REPLY_BYTES))
    assert message.question == dns.message.from_wire(packet).question
    sections = (
        tuple(line for rrset in section for line in str(rrset).splitlines())
        for section in (message.answer, message.authority, message.additional)
    )
    return Seen(dns.rcode.to_text(message.rcode()), *sections), answer


def see(handler: Handler, name: str, rtype: str = "A", rclass: str = "IN", client: Client = CLIENT) -> Seen:
    """Ask a question and return what dnspython reads."""
    return ask(handler, name, rtype, rclass, client)[0]


async def _await(later: Coroutine[Any, Any, Answer]) -> Answer:
    return await later
