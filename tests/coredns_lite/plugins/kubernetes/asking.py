"""Questions to the plugin as a client has them: bytes to its link, the reply as dnspython reads it."""

import asyncio
from collections.abc import Mapping
from ipaddress import IPv4Address

import dns.flags
import dns.message
import dns.rcode
import msgspec

from coredns_lite.chain import REFUSED
from coredns_lite.config import decode_config
from coredns_lite.corefile.parser import parse_corefile
from coredns_lite.plugin import Client, Handler, Outcome
from coredns_lite.plugins.kubernetes import Kubernetes, Link, make_zones
from coredns_lite.plugins.kubernetes.facts import pack
from coredns_lite.plugins.kubernetes.index import Index
from coredns_lite.wire.query import Query, decode_query
from coredns_lite.wire.reply import (
    MAX_TCP_REPLY_BYTES,
    Answer,
    Rcode,
    render_reply,
    udp_limit_bytes,
)
from nodeplane.kube.objects import Object
from tests.coredns_lite.objects import additions

CLIENT = Client(IPv4Address("10.0.0.1"), 4000, "udp")
SERIAL = 1_700_000_000
TIMERS = f"{SERIAL} 7200 1800 86400"
ZONES = "cluster.local in-addr.arpa ip6.arpa"


class Seen(msgspec.Struct, frozen=True):
    """What a client makes of a reply."""

    rcode: str
    answer: tuple[str, ...] = ()
    authority: tuple[str, ...] = ()
    additional: tuple[str, ...] = ()
    flags: str = "QR AA RD"


def soa(zone: str = "cluster.local.", ttl_s: int = 5) -> str:
    """Write the SOA of a zone down."""
    return f"{zone} {ttl_s} IN SOA ns.dns.{zone} hostmaster.{zone} {TIMERS} {ttl_s}"


NXDOMAIN = Seen("NXDOMAIN", authority=(soa(),))
NODATA = Seen("NOERROR", authority=(soa(),))


def found(*answer: str, additional: tuple[str, ...] = ()) -> Seen:
    """Say what a positive answer looks like."""
    return Seen("NOERROR", answer, additional=additional)


class Nobody:
    """The end of a chain."""

    def answer(self, _query: Query, _client: Client) -> Outcome:
        return REFUSED


class Others:
    """A plugin behind that knows some names; `later` makes it ask somebody first."""

    def __init__(self, answers: Mapping[str, Answer], *, later: bool = False) -> None:
        self.asked: list[str] = []
        self._answers = answers
        self._later = later

    def answer(self, query: Query, _client: Client) -> Outcome:
        name = (
            dns.message.from_wire(bytes(4) + b"\0\1" + bytes(6) + query.question).question[0].name.to_text()
        )
        self.asked.append(name)
        said = self._answers.get(name.lower(), Answer(Rcode.NXDOMAIN, is_authoritative=False, recursed=True))
        return self._wait(said) if self._later else said

    async def _wait(self, answer: Answer) -> Answer:
        await asyncio.sleep(0)
        return answer


class Plugin:
    """The plugin over exactly these objects, with these options, zones and addresses of its own."""

    def __init__(
        self,
        *items: Object,
        options: str = "",
        zones: str = ZONES,
        own: str = "",
        following: Handler | None = None,
        is_complete: bool = True,
    ) -> None:
        self.config = decode_plugin(options, zones)
        self.index = Index(self.config.scope)
        if is_complete:
            self.index.apply(additions(*items, scope=self.config.scope), SERIAL)
        self.zones = make_zones(self.config, self.index, tuple(map(pack, own.split())))
        self.link = Link(self.zones, self.config, following or Nobody())

    def reply(self, name: str, rtype: str, limit_bytes: int = 0, **edns: int) -> bytes:
        """Return the reply to a question, as long as UDP allows it unless a limit is given."""
        packet = dns.message.make_query(name, rtype, id=7, **edns).to_wire()  # type: ignore[arg-type]  # mixed
        query = decode_query(packet)
        outcome = self.link.answer(query, CLIENT)
        if not isinstance(outcome, Answer):
            outcome = asyncio.run(outcome)
        return render_reply(query, outcome, limit_bytes or udp_limit_bytes(query.edns))

    def ask(self, name: str, rtype: str = "A") -> Seen:
        """Ask by TCP and return what a client sees."""
        return see(self.reply(name, rtype, MAX_TCP_REPLY_BYTES))


def decode_plugin(options: str = "", zones: str = ZONES) -> Kubernetes:
    """Decode the plugin's lines in a server block of all names."""
    lines = "\n".join(options.split(";"))
    text = f". {{\n kubernetes {zones} {{\n manifests /m\n {lines}\n }}\n}}"
    (listener,) = decode_config(parse_corefile(text, "Corefile"))
    (config,) = listener.sites[0].plugins["kubernetes"]
    assert isinstance(config, Kubernetes)
    return config


def see(reply: bytes) -> Seen:
    """Read a reply."""
    message = dns.message.from_wire(reply)
    answer, authority, additional = (
        tuple(line for rrset in section for line in str(rrset).splitlines())
        for section in (message.answer, message.authority, message.additional)
    )
    return Seen(
        dns.rcode.to_text(message.rcode()), answer, authority, additional, dns.flags.to_text(message.flags)
    )
