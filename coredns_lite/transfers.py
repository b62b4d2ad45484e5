"""Whole zones over a stream (AXFR, RFC 5936): who offers one, and the messages that carry it."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from coredns_lite.plugin import Surroundings
from coredns_lite.wire.query import Query
from coredns_lite.wire.record import Record, soa_serial
from coredns_lite.wire.reply import MAX_TCP_REPLY_BYTES, Answer, render_reply

Records = Callable[[], Iterable[tuple[bytes, Record]]]
"""Yields each record of a zone as it is now, once, with its owner (wire); the SOA first and last.

RFC 5936 section 2.2; what changes while it is read does not change it (section 3: one version of the zone).
"""

# Uncompressed, as a message is filled. Behind 16 kB names can't be pointed at (RFC 1035 section 4.1.4).
_MESSAGE_BYTES = 16_000
_FIXED_BYTES = 10


class Offer(msgspec.Struct, frozen=True):
    """A zone that may be had: its SOA, None before anything is known of it, and all its records."""

    soa: Callable[[], Record | None]
    records: Records


def offered_zones(surroundings: Surroundings) -> dict[str, Offer]:
    """Return the zones that the plugins of a chain offer, by zone as text."""
    zones: dict[str, Offer] = surroundings.shared(("transfer", surroundings.server, surroundings.zone), dict)
    return zones


def offer_zone(surroundings: Surroundings, zone: str, offer: Offer) -> None:
    """Let the peers that `transfer` names have a zone."""
    offered_zones(surroundings)[zone] = offer


def is_current(serial: int, soa: Record) -> bool:
    """Whether a copy with a serial number is as new as the zone (RFC 1982 section 3.2)."""
    return (serial - soa_serial(soa)) & 0xFFFFFFFF < 0x80000000


def transfer_messages(query: Query, answer: Answer, options: Sequence[tuple[int, bytes]]) -> Iterator[bytes]:
    """Yield the messages that answer with a whole zone."""
    held: list[Record] = []
    size_bytes = 0
    for record in answer.transfer() if answer.transfer else ():
        held.append(record)
        size_bytes += len(record.owner) + _FIXED_BYTES + len(record.rdata)
        if size_bytes >= _MESSAGE_BYTES:
            yield _render(query, answer, held, options)
            held, size_bytes, options = [], 0, ()
    if held:
        yield _render(query, answer, held, options)


def _render(
    query: Query, answer: Answer, records: Iterable[Record], options: Sequence[tuple[int, bytes]]
) -> bytes:
    part = msgspec.structs.replace(answer, answers=tuple(records), transfer=None)
    return render_reply(query, part, MAX_TCP_REPLY_BYTES, options)
