"""What an alias (CNAME) leads to, as far as the plugins behind know it."""

import msgspec

from coredns_lite.plugin import Client, Handler, Outcome, after
from coredns_lite.wire.query import Query
from coredns_lite.wire.record import OF_QUESTION
from coredns_lite.wire.reply import Answer, Rcode


def follow_alias(query: Query, client: Client, answer: Answer, target: bytes, following: Handler) -> Outcome:
    """Put behind an answer that ends in an alias what the plugins behind say of its (lower-case) target."""
    question = target + query.question[-4:]
    outcome = following.answer(msgspec.structs.replace(query, question=question, name=target), client)

    def join(found: Answer) -> Answer:
        if found.rcode == Rcode.REFUSED:
            # The client may know more.
            return msgspec.structs.replace(answer, about=found.about)
        answers = tuple(
            msgspec.structs.replace(record, owner=target) if record.owner == OF_QUESTION else record
            for record in found.answers
        )
        return msgspec.structs.replace(
            found,
            answers=(*answer.answers, *answers),
            # The alias may be this client's alone.
            is_lasting=answer.is_lasting and found.is_lasting,
            is_cacheable=False,
            plugin=answer.plugin,
        )

    return after(outcome, join)
