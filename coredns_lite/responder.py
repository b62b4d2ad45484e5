"""From a packet to its reply: what is dropped, refused or answered, with what is cached on the way.

A Responder serves one socket or all streams, and lives until everything may have changed. Its caches need no
expiry and no lock. A change of everything makes a new Responder, and whoever still holds the old one fills
caches that nobody asks again. Of a smaller change, the loop that follows it says what it is about (`forget`);
the thread that answers meanwhile notices by the count of changes, and takes back what it has just kept.
"""

import itertools
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

import msgspec

from coredns_lite.chain import REFUSED, Chain
from coredns_lite.plugin import Client, Later, Outcome
from coredns_lite.rotation import MAX_TURNS, is_turning, turn, turns
from coredns_lite.transfers import transfer_messages
from coredns_lite.wire.cookie import COOKIE, CookieJar
from coredns_lite.wire.query import MessageFormatError, Query, decode_query, is_common, is_query, opcode
from coredns_lite.wire.record import CLASS_CH, CLASS_IN, RecordType
from coredns_lite.wire.reply import (
    MAX_TCP_REPLY_BYTES,
    Answer,
    Rcode,
    render_error,
    render_reply,
    udp_limit_bytes,
)
from coredns_lite.zones import ZoneTable

# Entries, for each of the caches: what 10,000 Services are asked for (A, AAAA, SRV, search path), at 0.5 to
# 0.7 kB for each that is there.
CACHE_SIZE = 49_152
# A stream without a query is closed after this time (RFC 7766 section 6.2.3 leaves it to us).
IDLE_TIMEOUT_S = 10

# The orders of one answer that are kept, together: what a Service's many addresses must not make of it.
_MAX_TURNS_BYTES = 16 * 1024

_EDNS_VERSION = 0
_BADVERS = Answer(Rcode.BADVERS, is_authoritative=False)
_SERVFAIL = Answer(Rcode.SERVFAIL, is_authoritative=False, is_lasting=False)
_BADCOOKIE = Answer(Rcode.BADCOOKIE, is_authoritative=False, is_lasting=False)

# EDNS options that we deal with ourselves, so that no plugin needs to see the query for them: NSID (RFC
# 5001), cookies, the idle time of streams (RFC 7828), padding (RFC 7830).
_NSID, _KEEPALIVE, _PADDING = 3, 11, 12
_OWN_OPTIONS = frozenset((_NSID, COOKIE, _KEEPALIVE, _PADDING))
_KEEPALIVE_UNITS_PER_S = 10

_TRANSFERS = (RecordType.AXFR, RecordType.IXFR)
_TYPES = {int(rtype): rtype.name for rtype in RecordType} | {64: "SVCB", 65: "HTTPS", 48: "DNSKEY", 43: "DS"}


class Kind(msgspec.Struct, frozen=True):
    """What the metrics tell apart of a query and its reply, but for who asked and how long either is."""

    zone: str
    rtype: str
    rcode: str
    plugin: str
    dnssec_ok: bool


NO_ZONE = "dropped"
"""The zone of what belongs to none, as CoreDNS's metrics have it (plugin/metrics/vars)."""
MALFORMED = Kind(NO_ZONE, "other", Rcode.FORMERR.name, "", dnssec_ok=False)


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


Reply = bytes | Pending | Iterator[bytes]
"""What a packet gets: a reply, one later, or (over a stream) several, of a zone's transfer."""


class Responder:
    """Answers from the given chains as they are now.

    `packets` and `turning` are the first cache, read by the packet loop itself: queries to replies, and to
    what gives the next of several replies; all without their ids. The second, inside, is by question, so that
    spelling (0x20) and most of EDNS don't matter to it.

    Args:
        chains: Who answers in which zone.
        cache_size: Entries that each cache may have.
        cookies: Gives clients cookies, if any are to be given.
        is_stream: The replies may be as long as they get.
        is_counted: Someone counts: `kinds` says what is in the first cache.
    """

    def __init__(
        self,
        chains: ZoneTable[Chain],
        cache_size: int = CACHE_SIZE,
        *,
        cookies: CookieJar | None = None,
        is_stream: bool = False,
        is_counted: bool = False,
    ) -> None:
        self.packets: dict[bytes, bytes] = {}
        self.turning: dict[bytes, Callable[[], bytes]] = {}
        self.kinds: dict[bytes, tuple[Kind, int]] = {}
        """What the first cache gives, if that is counted: its kind and the reply's size without the id.

        Another dictionary once that cache was emptied, so that what has been counted can still be told.
        """
        self.last_kind = MALFORMED
        """The kind of the last reply that was given at once."""
        self._questions: dict[bytes, tuple[Answer, Chain | None]] = {}
        # What the caches have, by what it is about.
        self._about: dict[Hashable, list[bytes]] = {}
        self._known_kinds: dict[tuple[Kind, int], tuple[Kind, int]] = {}
        self._changes = 0
        self._chains = chains
        self._cache_size = cache_size
        self._cookies = cookies
        self._is_stream = is_stream
        self._is_counted = is_counted
        self._step = itertools.count()

    def respond(self, packet: bytes, find_client: Callable[[], Client]) -> Reply | None:
        """Return the reply to any packet, what becomes one later, or None if there must be none.

        Args:
            packet: A message without the length that TCP puts before it.
            find_client: Says who asks; called only where that matters.
        """
        changes = self._changes
        self.last_kind = MALFORMED
        if not is_query(packet):
            return None
        if opcode(packet):
            return render_error(packet, Rcode.NOTIMP)
        try:
            query = decode_query(packet)
            outcome, chain, options = self._answer(packet, query, find_client)
        except MessageFormatError:
            return render_error(packet, Rcode.FORMERR)
        reply = self._reply(packet, query, outcome, chain, options)
        if changes & 1 or self._changes != changes:
            # It may have been built from what was there before, or from what was about to be dropped.
            self._drop((packet[2:], _question_key(query)))
        return reply

    def forget(self, about: Iterable[Hashable]) -> None:
        """Drop what is cached about any of these, or about nobody knows what; called by one thread at a time.

        The change has to be there already: what is built once this returns is kept.
        """
        # A sequence lock, whose reader does not wait: while the count is odd, one cache may still have what
        # the other has dropped.
        self._changes += 1
        for what in (None, *about):
            self._drop(self._about.pop(what, ()))
        self._changes += 1

    def _drop(self, keys: Iterable[bytes]) -> None:
        for key in keys:
            self.packets.pop(key, None)
            self.turning.pop(key, None)
            self._questions.pop(key, None)

    def _reply(
        self,
        packet: bytes,
        query: Query,
        outcome: Outcome,
        chain: Chain | None,
        options: tuple[tuple[int, bytes], ...],
    ) -> Reply | None:
        limit_bytes = MAX_TCP_REPLY_BYTES
        if not self._is_stream:
            limit_bytes = udp_limit_bytes(query.edns, *(chain.largest_udp_bytes,) if chain else ())
        zone = chain.zone if chain else NO_ZONE
        if not isinstance(outcome, Answer):
            return Pending(query, outcome, limit_bytes, options, zone, next(self._step))
        if self._is_counted:
            self.last_kind = describe(query, outcome, zone)
        if outcome.is_dropped:
            return None
        if outcome.transfer is not None and self._is_stream:
            return transfer_messages(query, outcome, options)
        if self._is_kept_whole(packet, query, outcome):
            replies = [render_reply(query, outcome, limit_bytes)[2:]]
            if outcome.is_rotated:
                most = min(MAX_TURNS, max(1, _MAX_TURNS_BYTES // len(replies[0])))
                replies += (render_reply(query, one, limit_bytes)[2:] for one in turns(outcome, most)[1:])
            self._remember(packet[2:], replies, outcome.about)
            return packet[:2] + replies[0]
        if outcome.is_rotated:
            outcome = turn(outcome, next(self._step))
        return render_reply(query, outcome, limit_bytes, options)

    def _remember(self, body: bytes, replies: Sequence[bytes], about: Hashable) -> None:
        if max(len(self.packets) + len(self.turning), len(self.kinds) // 2) >= self._cache_size:
            self._clear()
        # Noted first: what is kept can be found by whoever drops it.
        self._about.setdefault(about, []).append(body)
        if len(replies) == 1:
            self.packets[body] = replies[0]
        else:
            # The first goes out now.
            self.turning[body] = itertools.cycle((*replies[1:], replies[0])).__next__
        if self._is_counted:
            kind = self.last_kind, len(replies[0])
            # One value for all that are alike: most are.
            kind = self._known_kinds.setdefault(kind, kind)
            if self.kinds.get(body, kind) != kind:
                # What was counted under the old kind can still be told from the old dictionary.
                self.kinds = dict(self.kinds)
            self.kinds[body] = kind

    def _clear(self) -> None:
        self._about.clear()
        self.packets.clear()
        self.turning.clear()
        self._questions.clear()
        self.kinds = {}
        self._known_kinds.clear()

    def _answer(
        self, packet: bytes, query: Query, find_client: Callable[[], Client]
    ) -> tuple[Outcome, Chain | None, tuple[tuple[int, bytes], ...]]:
        """Return what is said, who says it, and the EDNS options that go with it.

        Raises:
            MessageFormatError: a cookie that is none.
        """
        edns = query.edns
        if edns and edns.version != _EDNS_VERSION:
            return _BADVERS, None, ()
        key = _question_key(query)
        # What an option may mean to a plugin must not be kept for those who did not send it, nor the reverse.
        is_plain = not edns or not edns.options or _OWN_OPTIONS.issuperset(dict(edns.options))
        found = self._questions.get(key) if is_plain else None
        chain = found[1] if found else self._find_chain(query)
        options: tuple[tuple[int, bytes], ...] = ()
        if edns and edns.options:
            options, has_bad_cookie = self._answer_options(edns.options, chain, find_client)
            if has_bad_cookie and chain and chain.requires_cookie and not self._is_stream:
                return _BADCOOKIE, chain, options
        if found:
            return found[0], chain, options
        outcome: Outcome = REFUSED
        if chain:
            outcome = chain.handler.answer(query, find_client())
        # What the first cache is to keep as a whole need not take room in the second.
        if (
            is_plain
            and isinstance(outcome, Answer)
            and outcome.is_lasting
            and not self._is_kept_whole(packet, query, outcome)
        ):
            if len(self._questions) >= self._cache_size:
                self._clear()
            self._about.setdefault(outcome.about, []).append(key)
            self._questions[key] = outcome, chain
        return outcome, chain, options

    def _is_kept_whole(self, packet: bytes, query: Query, outcome: Answer) -> bool:
        """Whether the first cache is to have the reply to a packet."""
        # Over a stream one order may be 64 KiB: of an answer with several, only the answer is kept.
        is_small = not self._is_stream or not is_turning(outcome)
        return outcome.is_lasting and is_small and is_common(packet, query)

    def _find_chain(self, query: Query) -> Chain | None:
        chain = self._chains.find(query.name)
        if chain is None:
            return None
        is_wanted = query.qclass == CLASS_IN or (query.qclass == CLASS_CH and chain.answers_chaos)
        is_allowed = query.qtype not in _TRANSFERS or chain.answers_transfers
        return chain if is_wanted and is_allowed else None

    def _answer_options(
        self,
        options: Sequence[tuple[int, bytes]],
        chain: Chain | None,
        find_client: Callable[[], Client],
    ) -> tuple[tuple[tuple[int, bytes], ...], bool]:
        """Return the options of the reply, and whether the query has a cookie that is not ours."""
        answers = []
        has_bad_cookie = False
        # The first of each counts (RFC 7873 section 5.2).
        for code, data in dict(reversed(options)).items():
            if code == COOKIE and self._cookies:
                cookie, is_good = self._cookies.answer(data, find_client().address, int(time.time()))
                has_bad_cookie = not is_good
                if chain:
                    # To a zone that isn't ours, no reply is longer than its query.
                    answers.append((COOKIE, cookie))
            elif code == _NSID and chain and chain.nsid is not None:
                answers.append((_NSID, chain.nsid))
            elif code == _KEEPALIVE and self._is_stream:
                answers.append((_KEEPALIVE, (IDLE_TIMEOUT_S * _KEEPALIVE_UNITS_PER_S).to_bytes(2, "big")))
        return tuple(answers), has_bad_cookie


def _question_key(query: Query) -> bytes:
    # The type stays out of the lower-casing: types 65 to 90 have a letter's bytes.
    return query.name + query.question[-4:]


def describe(query: Query, answer: Answer, zone: str) -> Kind:
    """Say what the metrics tell of a query and its answer."""
    rtype = _TYPES.get(query.qtype, "other")
    dnssec_ok = bool(query.edns and query.edns.dnssec_ok)
    return Kind(zone, rtype, answer.rcode.name, answer.plugin, dnssec_ok)
