"""Makes IPv6 addresses of IPv4 ones for clients behind a NAT64 (RFC 6147).

Syntax:

    dns64 [PREFIX] {
        prefix PREFIX
        translate_all
        allow_ipv4
    }

A question for AAAA whose answer has none (or only IPv4-mapped ones, ::ffff:0:0/96) is asked again for A, and
each address in that answer is put into PREFIX (RFC 6052), `64:ff9b::/96` by default; its length is 32, 40,
48, 56, 64 or 96. NXDOMAIN stays as it is. The addresses live as long as those of IPv4, but at most as long as
the denial of AAAA, or 600 s without an SOA. Only clients that ask over IPv6 get them, with `allow_ipv4` all
do. `translate_all`: also where there are AAAA records, which are left out.

```corefile
. {
    dns64 64:1337::/96 {
        allow_ipv4
    }
}
```

Metrics: `coredns_dns64_requests_translated_total{server}`.
"""

from ipaddress import IPv6Network

import msgspec
from prometheus_client import Counter

from coredns_lite.corefile.lexer import Token
from coredns_lite.corefile.parser import Directive
from coredns_lite.metrics import REGISTRY
from coredns_lite.options import one_value, read_options, refuse_args
from coredns_lite.plugin import Client, Handler, Outcome, Surroundings, after
from coredns_lite.wire.query import Query
from coredns_lite.wire.record import CLASS_IN, Record, RecordType
from coredns_lite.wire.reply import Answer, Rcode

REPEATS = False

# RFC 6052 section 2.2: the lengths that a prefix may have, and the byte that stays zero.
_LENGTHS = frozenset({32, 40, 48, 56, 64, 96})
_ZERO_BYTE = 8
_IPV6_BYTES = 16
# RFC 6147 section 5.1.4.
_MAPPED = bytes(10) + b"\xff\xff"
# RFC 6147 section 5.1.7, point 5.
_MAX_TTL_S = 600
_WELL_KNOWN = IPv6Network("64:ff9b::/96")
_IPV6 = 6

TRANSLATED = Counter(
    "coredns_dns64_requests_translated",
    "Answers with addresses made of IPv4 ones",
    ["server"],
    registry=REGISTRY,
)


class Dns64(msgspec.Struct, frozen=True):
    """The plugin's lines, decoded."""

    prefix: IPv6Network = _WELL_KNOWN
    translates_all: bool = False
    allows_ipv4: bool = False


def decode(directive: Directive, _zones: tuple[str, ...]) -> Dns64:
    """Decode `dns64 [PREFIX] { prefix PREFIX; translate_all; allow_ipv4 }`."""
    options = read_options(directive, "prefix", "translate_all", "allow_ipv4")
    for name in ("translate_all", "allow_ipv4"):
        if name in options:
            refuse_args(options[name])
    prefix = _WELL_KNOWN
    if directive.args:
        prefix = _decode_prefix(one_value(directive))
    if "prefix" in options:
        prefix = _decode_prefix(one_value(options["prefix"]))
    return Dns64(prefix, "translate_all" in options, "allow_ipv4" in options)


def build(config: Dns64, surroundings: Surroundings, following: Handler) -> Handler:
    """Build the link that makes addresses."""
    return _Link(config, surroundings.server, following)


def embed(prefix: IPv6Network, address: bytes) -> bytes:
    """Put an IPv4 address behind a prefix (RFC 6052 section 2.2)."""
    size = prefix.prefixlen // 8
    body = prefix.network_address.packed[:size] + address
    if size <= _ZERO_BYTE:
        # Bits 64 to 71 are zero, whatever the length.
        body = body[:_ZERO_BYTE] + b"\0" + body[_ZERO_BYTE:]
    return body.ljust(_IPV6_BYTES, b"\0")


def _decode_prefix(token: Token) -> IPv6Network:
    try:
        prefix = IPv6Network(token.text)
    except ValueError as exc:
        raise token.error("expected a network of IPv6") from exc
    if prefix.prefixlen not in _LENGTHS or prefix.network_address.packed[_ZERO_BYTE]:
        raise token.error("expected a length of 32, 40, 48, 56, 64 or 96 and zero in bits 64 to 71")
    return prefix


class _Link:
    def __init__(self, config: Dns64, server: str, following: Handler) -> None:
        self._config = config
        self._counter = TRANSLATED.labels(server)
        self._following = following

    def answer(self, query: Query, client: Client) -> Outcome:
        outcome = self._following.answer(query, client)
        if query.qtype != RecordType.AAAA or query.qclass != CLASS_IN:
            return outcome
        if not self._config.allows_ipv4 and client.address.version != _IPV6:
            return after(outcome, self._mark)
        return self._translate(query, client, outcome)

    def _translate(self, query: Query, client: Client, outcome: Outcome) -> Outcome:
        if not isinstance(outcome, Answer):

            async def wait() -> Answer:
                again = self._translate(query, client, await outcome)
                return again if isinstance(again, Answer) else await again

            return wait()
        if not self._is_wanted(outcome):
            return self._mark(outcome)
        question = query.question[:-4] + RecordType.A.to_bytes(2) + CLASS_IN.to_bytes(2)
        addresses = self._following.answer(
            msgspec.structs.replace(query, question=question, qtype=int(RecordType.A)), client
        )
        if isinstance(addresses, Answer):
            return self._synthesize(outcome, addresses)
        later = addresses

        async def wait_for_addresses() -> Answer:
            return self._synthesize(outcome, await later)

        return wait_for_addresses()

    def _is_wanted(self, answer: Answer) -> bool:
        """Whether there is nothing to answer with (RFC 6147 sections 5.1.1 to 5.1.4)."""
        if answer.rcode == Rcode.NXDOMAIN or answer.is_dropped:
            return False
        if self._config.translates_all or answer.rcode != Rcode.NOERROR:
            return True
        return not any(
            record.rtype == RecordType.AAAA and not record.rdata.startswith(_MAPPED)
            for record in answer.answers
        )

    def _synthesize(self, denial: Answer, addresses: Answer) -> Answer:
        answer = denial
        if any(record.rtype == RecordType.A for record in addresses.answers):
            self._counter.inc()
            most_s = min(
                (record.ttl_s for record in denial.authority if record.rtype == RecordType.SOA),
                default=_MAX_TTL_S,
            )
            made = tuple(
                self._make(record, most_s) if record.rtype == RecordType.A else record
                for record in addresses.answers
            )
            answer = msgspec.structs.replace(addresses, answers=made, is_authenticated=False)
        # Either way it depends on both: a change of what either is about makes it untrue.
        about = denial.about if denial.about == addresses.about else None
        is_lasting = denial.is_lasting and addresses.is_lasting
        if denial.guards or addresses.guards:
            # They were asked about each of two types, and would be asked about one.
            is_lasting, answer = False, msgspec.structs.replace(answer, guards=())
        return self._mark(msgspec.structs.replace(answer, is_lasting=is_lasting, about=about))

    def _make(self, record: Record, most_s: int) -> Record:
        return msgspec.structs.replace(
            record,
            rtype=int(RecordType.AAAA),
            rdata=embed(self._config.prefix, record.rdata),
            ttl_s=min(record.ttl_s, most_s),
        )

    def _mark(self, answer: Answer) -> Answer:
        return answer if self._config.allows_ipv4 else msgspec.structs.replace(answer, is_lasting=False)
