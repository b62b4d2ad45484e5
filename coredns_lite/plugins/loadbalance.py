"""Turns the addresses and mail exchangers of an answer, so that each comes first in its turn.

Syntax:

    loadbalance [round_robin]

Answers of two or more A, AAAA or MX records are turned by one for each query; other records stay in front of
them.

```corefile
. {
    loadbalance round_robin
}
```

Metrics: none.

Differs from CoreDNS: turned rather than shuffled, so that each address comes first equally often; `weighted`
and `prefer` are not there.
"""

import msgspec

from coredns_lite.corefile.parser import Directive
from coredns_lite.options import refuse_block
from coredns_lite.plugin import Client, Handler, Outcome, Surroundings, after
from coredns_lite.wire.query import Query
from coredns_lite.wire.record import RecordType
from coredns_lite.wire.reply import Answer

REPEATS = False

TURNED = frozenset({RecordType.A, RecordType.AAAA, RecordType.MX})


def decode(directive: Directive, _zones: tuple[str, ...]) -> bool:
    """Decode `loadbalance [round_robin]`."""
    refuse_block(directive)
    for token in directive.args:
        if token.text != "round_robin" or len(directive.args) > 1:
            raise token.error("expected round_robin or nothing")
    return True


def build(_config: bool, _surroundings: Surroundings, following: Handler) -> Handler:
    """Build the link that has answers turned; the packet loops turn them, from their caches too."""
    return _Link(following)


class _Link:
    def __init__(self, following: Handler) -> None:
        self._following = following

    def answer(self, query: Query, client: Client) -> Outcome:
        return after(self._following.answer(query, client), rotate)


def rotate(answer: Answer) -> Answer:
    """Mark an answer that is to be turned."""
    if sum(record.rtype in TURNED for record in answer.answers) < 2:
        return answer
    return msgspec.structs.replace(answer, is_rotated=True)
