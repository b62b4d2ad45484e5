"""Sets and clears flags in the header of queries, for the plugins behind, and of replies, for the client.

Syntax:

    header {
        [query|response] set|clear FLAG...
    }

FLAG is `aa` (authoritative answer), `ra` (recursion available) or `rd` (recursion desired). Without `query`
or `response` a line is about replies. The lines are followed in their order, so the last that names a flag
counts. Several of these directives may stand in a server block.

```corefile
. {
    header {
        query set rd
        response set ra
        response clear aa
    }
    forward . 10.0.0.9
}
```

Metrics: none.

Differs from CoreDNS: a reply repeats the client's own RD (RFC 1035 section 4.1.1) whatever the plugins behind
were told, unless `response` says otherwise.
"""

from collections.abc import Mapping

import msgspec

from coredns_lite.corefile.parser import Directive
from coredns_lite.options import refuse_args
from coredns_lite.plugin import Client, Handler, Outcome, Surroundings, after
from coredns_lite.wire.query import Flag, Query
from coredns_lite.wire.reply import Answer

REPEATS = True

_FLAGS: Mapping[str, Flag] = {"aa": Flag.AA, "ra": Flag.RA, "rd": Flag.RD}
_ACTIONS = ("set", "clear")
_SELECTORS = ("query", "response")


class Flags(msgspec.Struct, frozen=True):
    """Flags that are to be set and to be cleared."""

    set: int = 0
    cleared: int = 0

    def then(self, later: "Flags") -> "Flags":
        """Return what both do, one after the other."""
        return Flags(self.set & ~later.cleared | later.set, self.cleared & ~later.set | later.cleared)


class Header(msgspec.Struct, frozen=True):
    """The plugin's lines, decoded."""

    query: Flags = Flags()
    response: Flags = Flags()


def decode(directive: Directive, _zones: tuple[str, ...]) -> Header:
    """Decode `header { [query|response] set|clear FLAG... }`."""
    refuse_args(directive)
    if not directive.block:
        raise directive.name.error("expected a block with lines such as: response set ra")
    changes = {selector: Flags() for selector in _SELECTORS}
    for option in directive.block:
        words = [option.name, *option.args]
        selector = words.pop(0).text if words[0].text in _SELECTORS else "response"
        if not words or words[0].text not in _ACTIONS:
            raise (words or [option.name])[0].error(f"expected {' or '.join(_ACTIONS)}")
        action, *flags = words
        if not flags:
            raise action.error(f"expected some of {', '.join(_FLAGS)} after it")
        mask = 0
        for token in flags:
            flag = _FLAGS.get(token.text.lower())
            if flag is None:
                raise token.error(f"expected one of {', '.join(_FLAGS)}")
            mask |= flag
        change = Flags(set=mask) if action.text == "set" else Flags(cleared=mask)
        changes[selector] = changes[selector].then(change)
    return Header(changes["query"], changes["response"])


def build(config: Header, _surroundings: Surroundings, following: Handler) -> Handler:
    """Build the link that changes headers."""
    return _Link(config, following)


class _Link:
    def __init__(self, config: Header, following: Handler) -> None:
        self._config = config
        self._following = following

    def answer(self, query: Query, client: Client) -> Outcome:
        change = self._config.query
        flags = query.flags & ~change.cleared | change.set
        if flags != query.flags:
            query = msgspec.structs.replace(query, flags=flags)
        return after(self._following.answer(query, client), self._change)

    def _change(self, answer: Answer) -> Answer:
        flags = Flags(answer.set_flags, answer.cleared_flags).then(self._config.response)
        return msgspec.structs.replace(answer, set_flags=flags.set, cleared_flags=flags.cleared)
