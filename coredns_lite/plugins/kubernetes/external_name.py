"""What an ExternalName leads to: a CNAME, and what it stands for as far as it can be told here.

Names of this plugin's zones are looked up in them, others are asked of the plugins behind. A name that
can't be resolved is still a CNAME: its client may know more.
"""

from collections.abc import Callable

from msgspec.structs import replace

from coredns_lite.plugin import Client, Handler, Outcome, after
from coredns_lite.plugins.kubernetes.zone import Lead
from coredns_lite.wire.names import lower_name
from coredns_lite.wire.query import Query
from coredns_lite.wire.record import OF_QUESTION, Record, RecordType, name_record
from coredns_lite.wire.reply import Answer

# CoreDNS's (plugin/backend_lookup.go).
_MAX_LEADS = 8

Find = Callable[[Query], Answer | Lead | None]
"""Looks a name up in the plugin's own zones; None for one that is in none of them."""


def resolve(
    query: Query, client: Client, lead: Lead, *, find: Find, following: Handler, ttl_s: int
) -> Outcome:
    """Answer a question whose name only leads to another."""
    records: list[Record] = []
    owner, seen, place = OF_QUESTION, {query.name}, lead
    while True:
        records.append(name_record(RecordType.CNAME, place.target, ttl_s, owner))
        owner = place.target
        name = lower_name(owner)
        if query.qtype == RecordType.CNAME or name in seen or len(records) == _MAX_LEADS:
            return Answer(answers=tuple(records))
        seen.add(name)
        question = replace(query, name=name, question=owner + query.question[-4:])
        found = find(question)
        if not isinstance(found, Lead):
            break
        place = found
    outcome = following.answer(question, client) if found is None else found

    def lead_to(answer: Answer) -> Answer:
        own = (
            record if record.owner != OF_QUESTION else replace(record, owner=owner)
            for record in answer.answers
        )
        # What keeps the other name from being resolved is no reason to withhold where this one leads.
        return Answer(answers=(*records, *own), is_lasting=answer.is_lasting, recursed=answer.recursed)

    return after(outcome, lead_to)
