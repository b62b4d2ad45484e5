"""Turns the records of an answer that may come in any order, so that clients spread over them.

As CoreDNS's round robin (plugin/loadbalance): addresses and mail exchangers change places among themselves,
all else stays where it is, a CNAME before what it leads to. Turned, not shuffled: each of n addresses comes
first once in n queries.
"""

from collections.abc import Sequence

import msgspec

from coredns_lite.wire.record import Record, RecordType
from coredns_lite.wire.reply import Answer

_TURNING = {RecordType.A, RecordType.AAAA, RecordType.MX}

# As many orders of one answer are prepared at most; with more records, they begin evenly spread over them.
MAX_TURNS = 16


def is_turning(answer: Answer) -> bool:
    """Say whether an answer is given in more than one order."""
    return answer.is_rotated and _count_turning(answer) > 1


def turns(answer: Answer, most: int = MAX_TURNS) -> list[Answer]:
    """Return the orders in which an answer is given in turn; a single one if nothing in it can be turned."""
    if not is_turning(answer):
        return [answer]
    size = _count_turning(answer)
    count = min(size, most)
    return [turn(answer, number * size // count) for number in range(count)]


def turn(answer: Answer, step: int) -> Answer:
    """Return an answer whose records that may come in any order begin with a later one of them."""
    return msgspec.structs.replace(
        answer, answers=_turn(answer.answers, step), additional=_turn(answer.additional, step)
    )


def _count_turning(answer: Answer) -> int:
    return sum(record.rtype in _TURNING for record in answer.answers)


def _turn(records: Sequence[Record], step: int) -> tuple[Record, ...]:
    places = [place for place, record in enumerate(records) if record.rtype in _TURNING]
    turned = list(records)
    for number, place in enumerate(places):
        turned[place] = records[places[(number + step) % len(places)]]
    return tuple(turned)
