"""Leaves out of positive replies what was not asked for.

Syntax:

    minimal

A reply that has answers keeps them alone: name servers and additional records (of SRV answers the addresses
of their targets, say) are left out, so that replies are small and rarely truncated. Denials keep their SOA,
and referrals their name servers with their addresses.

```corefile
. {
    minimal
    forward . 10.0.0.9
}
```

Metrics: none.
"""

import msgspec

from coredns_lite.corefile.parser import Directive
from coredns_lite.options import refuse_args, refuse_block
from coredns_lite.plugin import Client, Handler, Outcome, Surroundings, after
from coredns_lite.wire.query import Query
from coredns_lite.wire.reply import Answer, Rcode

REPEATS = False


def decode(directive: Directive, _zones: tuple[str, ...]) -> bool:
    """Decode `minimal`."""
    refuse_args(directive)
    refuse_block(directive)
    return True


def build(_config: bool, _surroundings: Surroundings, following: Handler) -> Handler:
    """Build the link that leaves records out."""
    return _Link(following)


class _Link:
    def __init__(self, following: Handler) -> None:
        self._following = following

    def answer(self, query: Query, client: Client) -> Outcome:
        return after(self._following.answer(query, client), minimize)


def minimize(answer: Answer) -> Answer:
    """Leave all but the answers out, if there are any."""
    # An alias that leads to nothing has them too, as with CoreDNS (plugin/minimal, plugin/pkg/response).
    if answer.rcode != Rcode.NOERROR or not answer.answers:
        return answer
    return msgspec.structs.replace(answer, authority=(), additional=())
