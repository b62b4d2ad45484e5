"""From a packet to its reply: what is dropped, refused or answered, with what is cached on the way.

A Responder serves one socket or all streams, and lives until everything may have changed. Its caches
(`coredns_lite.kept`) need no expiry and no lock. A change of everything makes a new Responder, and whoever
still holds the old one fills caches that nobody asks again. Of a smaller change, the loop that follows it
says what it is about (`forget`); the thread that answers meanwhile notices by the count of changes, and takes
back what it has just kept.
"""

import itertools
from collections.abc import Callable, Hashable, Iterable, Iterator

import msgspec

from coredns_lite.chain import REFUSED, Chain
from coredns_lite.edns_options import BADCOOKIE, BADVERS, EDNS_VERSION, OWN_OPTIONS, EdnsOptions
from coredns_lite.kept import TRAILER_BYTES, Kept, KeptReplies, Label, label_of, token
from coredns_lite.kind import KINDS, MALFORMED, NO_ZONE
from coredns_lite.pending import Pending, describe
from coredns_lite.plugin import Client, Outcome
from coredns_lite.rotation import MAX_TURNS, is_turning, turn, turns
from coredns_lite.transfers import transfer_messages
from coredns_lite.wire.cookie import CookieJar
from coredns_lite.wire.query import (
    MessageFormatError,
    NoQuestionError,
    Query,
    decode_query,
    is_common,
    is_query,
    opcode,
)
from coredns_lite.wire.record import CLASS_CH, CLASS_IN, RecordType
from coredns_lite.wire.reply import (
    MAX_TCP_REPLY_BYTES,
    Answer,
    Guard,
    Rcode,
    memory_bytes,
    render_error,
    render_reply,
    udp_limit_bytes,
)
from coredns_lite.zones import ZoneTable

# What the replies that are kept, and the answers, may take; of them the names of 10,000 Services with what is
# asked on the way (A, AAAA, SRV, search path) take 17 MB.
CACHE_BYTES = 24 << 20

# What a decoded query takes.
_GUARDED_BYTES = 400

# The orders of one answer that are kept, together: what a Service's many addresses must not make of it.
_MAX_TURNS_BYTES = 16 * 1024

_TRANSFERS = (RecordType.AXFR, RecordType.IXFR)


Reply = bytes | Pending | Iterator[bytes]
"""What a packet gets: a reply, one later, or (over a stream) several, of a zone's transfer."""


class Responder:
    """Answers from the given chains as they are now.

    `replies` is the first cache, read by the packet loop itself, by query. The second, inside, is by
    question, so that spelling (0x20) and most of EDNS don't matter to it.

    Args:
        chains: Who answers in which zone.
        cache_bytes: What the caches may take.
        cookies: Gives clients cookies, if any are to be given.
        is_stream: The replies may be as long as they get.
        is_encrypted: Nobody but the client reads them, and their length is to say little.
        is_counted: Someone counts: what is kept says its kind.
    """

    def __init__(
        self,
        chains: ZoneTable[Chain],
        cache_bytes: int = CACHE_BYTES,
        *,
        cookies: CookieJar | None = None,
        is_stream: bool = False,
        is_encrypted: bool = False,
        is_counted: bool = False,
    ) -> None:
        self.replies = KeptReplies(cache_bytes // 2)
        self.last_kind = MALFORMED
        """The kind of the last reply that was given at once."""
        self._questions: Kept[tuple[Answer, Chain | None]] = Kept(cache_bytes // 8, _measure_answer)
        # The same for replies that are for some clients only, with what has to be asked before one is given.
        self._guarded = KeptReplies(cache_bytes // 8)
        self._guards: Kept[_Guarded] = Kept(cache_bytes // 8, _measure_guarded)
        self._changes = 0
        self._chains = chains
        self._edns = EdnsOptions(cookies, is_stream=is_stream, is_encrypted=is_encrypted)
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
        body = packet[2:]
        guarded = self._guards.find(body)
        if guarded is not None and (kept := self._guarded.find(body)) is not None:
            return self._respond_guarded(packet, guarded, kept, find_client)
        try:
            query = decode_query(packet)
            outcome, chain, options = self._answer(packet, query, find_client)
        except NoQuestionError:
            return self._respond_bare(packet, find_client)
        except MessageFormatError:
            return render_error(packet, Rcode.FORMERR)
        reply = self._reply(packet, query, outcome, chain, options)
        if changes & 1 or self._changes != changes:
            # It may have been built from what was there before, or from what was about to be dropped.
            self.replies.drop(body)
            self._guards.drop(body)
            self._guarded.drop(body)
            self._questions.drop(_question_key(query))
        return reply

    def _respond_guarded(
        self, packet: bytes, guarded: "_Guarded", kept: bytes, find_client: Callable[[], Client]
    ) -> Reply | None:
        """Give a reply that is kept, if the client may have it."""
        client = find_client()
        for guard in guarded.guards:
            refusal = guard.refuse(guarded.query, client)
            if refusal is not None:
                query = msgspec.structs.replace(guarded.query, id=int.from_bytes(packet[:2]))
                return self._reply(packet, query, refusal, guarded.chain, ())
        if self._is_counted:
            self.last_kind = KINDS.kind(label_of(kept).kind)
        return packet[:2] + kept[:-TRAILER_BYTES]

    def _respond_bare(self, packet: bytes, find_client: Callable[[], Client]) -> bytes:
        try:
            reply, rcode = self._edns.answer_bare(packet, find_client)
        except MessageFormatError:
            return render_error(packet, Rcode.FORMERR)
        self.last_kind = msgspec.structs.replace(MALFORMED, rcode=rcode.name)
        return reply

    def forget(self, about: Iterable[Hashable]) -> None:
        """Drop what is cached about any of these, or about nobody knows what; called by one thread at a time.

        The change has to be there already: what is built once this returns is kept.
        """
        # A sequence lock, whose reader does not wait: while the count is odd, one cache may still have what
        # the other has dropped.
        self._changes += 1
        tokens = [token(what) for what in (None, *about)]
        self.replies.forget(tokens)
        self._guards.forget(tokens)
        self._guarded.forget(tokens)
        self._questions.forget(tokens)
        self._changes += 1

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
            first = render_reply(query, outcome, limit_bytes)
            orders = [outcome]
            if outcome.is_rotated:
                orders = turns(outcome, min(MAX_TURNS, max(1, _MAX_TURNS_BYTES // len(first))))
            kind = KINDS.number(self.last_kind) if self._is_counted else 0
            label = Label(token(outcome.about), kind, len(packet)).pack()
            later = [render_reply(query, order, limit_bytes)[2:] + label for order in orders[1:]]
            # The first goes out now.
            replies = [*later, first[2:] + label]
            if outcome.guards:
                self._guards.put(packet[2:], _Guarded(query, outcome.guards, chain, token(outcome.about)))
                self._guarded.put(packet[2:], replies)
            else:
                self.replies.put(packet[2:], replies)
            return first
        if outcome.is_rotated:
            outcome = turn(outcome, next(self._step))
        return render_reply(query, outcome, limit_bytes, options)

    def _answer(
        self, packet: bytes, query: Query, find_client: Callable[[], Client]
    ) -> tuple[Outcome, Chain | None, tuple[tuple[int, bytes], ...]]:
        """Return what is said, who says it, and the EDNS options that go with it.

        Raises:
            MessageFormatError: a cookie that is none.
        """
        edns = query.edns
        if edns and edns.version != EDNS_VERSION:
            return BADVERS, None, ()
        key = _question_key(query)
        # What an option may mean to a plugin must not be kept for those who did not send it, nor the reverse.
        is_plain = not edns or not edns.options or OWN_OPTIONS.issuperset(dict(edns.options))
        found = self._questions.find(key) if is_plain else None
        chain = found[1] if found else self._find_chain(query)
        options: tuple[tuple[int, bytes], ...] = ()
        if edns and edns.options:
            nsid = chain.nsid if chain else None
            options, has_bad_cookie = self._edns.answer(
                edns.options, find_client, is_ours=chain is not None, nsid=nsid
            )
            if has_bad_cookie and chain and chain.requires_cookie and not self._is_stream:
                return BADCOOKIE, chain, options
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
            and not outcome.guards
            and not self._is_kept_whole(packet, query, outcome)
        ):
            self._questions.put(key, (outcome, chain))
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


class _Guarded(msgspec.Struct, frozen=True):
    """A query and those who decide about the reply to it."""

    query: Query
    guards: tuple[Guard, ...]
    chain: Chain | None
    about: int


def _measure_guarded(guarded: _Guarded) -> tuple[int, int]:
    return guarded.about, _GUARDED_BYTES


def _measure_answer(kept: tuple[Answer, Chain | None]) -> tuple[int, int]:
    answer, _ = kept
    return token(answer.about), memory_bytes(answer)


def _question_key(query: Query) -> bytes:
    # The type stays out of the lower-casing: types 65 to 90 have a letter's bytes.
    return query.name + query.question[-4:]
