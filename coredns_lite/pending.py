"""A query whose answer comes later, and what the metrics tell of any."""

import msgspec

from coredns_lite.kind import Kind
from coredns_lite.plugin import Later
from coredns_lite.rotation import turn
from coredns_lite.wire.query import Query
from coredns_lite.wire.record import RecordType
from coredns_lite.wire.reply import Answer, Rcode, render_reply

_SERVFAIL = Answer(Rcode.SERVFAIL, is_authoritative=False, is_lasting=False)
_TYPES = {int(rtype): rtype.name for rtype in RecordType} | {64: "SVCB", 65: "HTTPS", 48: "DNSKEY", 43: "DS"}


class Pending(msgspec.Struct, frozen=True):
    """A query whose answer comes later: awaited on the asyncio loop, then rendered."""

    query: Query
    later: Later
    limit_bytes: int
    options: tuple[tuple[int, bytes], ...] = ()
    zone: str = "."
    step: int = 0
    """Which of the answer's records comes first, if they may come in any order."""

    async def answer(self) -> tuple[bytes | None, Kind]:
        """Wait for the answer; return the reply, None if there is to be none, and its kind."""
        answer = await self.later
        kind = describe(self.query, answer, self.zone)
        if answer.is_dropped:
            return None, kind
        if answer.is_rotated:
            answer = turn(answer, self.step)
        return render_reply(self.query, answer, self.limit_bytes, self.options), kind

    def refuse(self) -> tuple[bytes, Kind]:
        """Give the answer up before anybody waits for it; return the reply that says so, and its kind."""
        self.later.close()
        kind = describe(self.query, _SERVFAIL, self.zone)
        return render_reply(self.query, _SERVFAIL, self.limit_bytes, self.options), kind


def describe(query: Query, answer: Answer, zone: str) -> Kind:
    """Say what the metrics tell of a query and its answer."""
    rtype = _TYPES.get(query.qtype, "other")
    dnssec_ok = bool(query.edns and query.edns.dnssec_ok)
    return Kind(zone, rtype, answer.rcode.name, answer.plugin, dnssec_ok)
