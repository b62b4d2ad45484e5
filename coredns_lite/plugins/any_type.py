"""Answers questions of type ANY with one small record (RFC 8482).

Syntax:

    any

The answer is the record `HINFO "ANY obsoleted" "See RFC 8482"` with a TTL of 8482 s, whatever the name, so
that nobody gets more than was sent.

```corefile
. {
    any
}
```

Metrics: none.
"""

from coredns_lite.corefile.parser import Directive
from coredns_lite.options import refuse_args, refuse_block
from coredns_lite.plugin import Client, Handler, Outcome, Surroundings
from coredns_lite.wire.query import Query
from coredns_lite.wire.record import Record, RecordType
from coredns_lite.wire.reply import CONFIGURATION, Answer

REPEATS = False

_TTL_S = 8482
_TEXTS = (b"ANY obsoleted", b"See RFC 8482")
_RDATA = b"".join(bytes((len(text),)) + text for text in _TEXTS)
_OBSOLETE = Answer(answers=(Record(RecordType.HINFO, _TTL_S, _RDATA),), about=CONFIGURATION)


def decode(directive: Directive, _zones: tuple[str, ...]) -> bool:
    """Decode `any`."""
    refuse_args(directive)
    refuse_block(directive)
    return True


def build(_config: bool, _surroundings: Surroundings, following: Handler) -> Handler:
    """Build the link that answers ANY."""
    return _Link(following)


class _Link:
    def __init__(self, following: Handler) -> None:
        self._following = following

    def answer(self, query: Query, client: Client) -> Outcome:
        return _OBSOLETE if query.qtype == RecordType.ANY else self._following.answer(query, client)
