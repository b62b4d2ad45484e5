r"""Changes the question before the plugins behind see it, and the answer accordingly.

Syntax:

    rewrite [continue|stop] name [exact|prefix|suffix|substring|regex] FROM TO [ANSWER...]
    rewrite [continue|stop] type FROM TO
    rewrite [continue|stop] class FROM TO

The lines are tried in their order. One that fits and says `stop` (the default) ends that, after `continue`
the next ones are tried on what it made. Names are compared in lower case and with their final dot. `exact`
(the default) is for one name; `prefix` and `suffix` change its beginning or end, `substring` every
occurrence; in the TO of `regex`, `{1}` stands for the first group of FROM, `{0}` for all that FROM matched.
Regular expressions are RE2's, as in CoreDNS: no name takes one long.

The client always gets its own question back, and records about the name that was asked instead become records
about the name that it asked for, also where that name is the target of another record (`answer auto`, which
may be written too). ANSWER changes other names in an answer: `answer name REGEXP TO` those that records are
about, `answer value REGEXP TO` those that records lead to (CNAME, DNAME, NS, PTR, MX, SRV). A block may hold
what follows `continue` or `stop`, over several lines.

```corefile
. {
    rewrite name foo.example.com foo.default.svc.cluster.local
    rewrite continue type ANY HINFO
    rewrite stop {
        name regex (.*)\.coredns\.rocks {1}.coredns.local
        answer name (.*)\.coredns\.local {1}.coredns.rocks
    }
    rewrite name suffix .schmoogle.com. .google.com. answer auto
}
```

Metrics: none.

Differs from CoreDNS: `answer auto` holds for every kind of rule; `edns0`, `ttl`, `cname` and `rcode` are not
there.
"""

import msgspec

from coredns_lite.corefile.lexer import Token
from coredns_lite.corefile.parser import Directive
from coredns_lite.options import decode_record_type
from coredns_lite.plugin import Client, Handler, Outcome, Surroundings, after
from coredns_lite.plugins.rewrite.answers import Restoration
from coredns_lite.plugins.rewrite.rules import (
    ClassRule,
    Match,
    NameRule,
    Rule,
    Substitution,
    TypeRule,
    rewrite_query,
)
from coredns_lite.wire.names import NameFormatError
from coredns_lite.wire.query import Query
from coredns_lite.wire.record import CLASS_NUMBERS
from coredns_lite.wire.reply import CONFIGURATION, Answer, Rcode

REPEATS = True

_FIELDS = ("name", "type", "class")
_TOO_LONG = Answer(
    Rcode.SERVFAIL, is_authoritative=False, error="rewritten into what is no name", about=CONFIGURATION
)


class Rewrite(msgspec.Struct, frozen=True):
    """One line, decoded."""

    rule: Rule
    goes_on: bool = False
    names: tuple[Substitution, ...] = ()
    """What `answer name` says."""
    values: tuple[Substitution, ...] = ()
    """What `answer value` says."""


def decode(directive: Directive, _zones: tuple[str, ...]) -> Rewrite:
    """Decode a line; what stands in a block is its continuation."""
    words = [*directive.args]
    for option in directive.block or ():
        words += [option.name, *option.args]
    goes_on = False
    if words and words[0].text in {"continue", "stop"}:
        goes_on = words.pop(0).text == "continue"
    if not words or words[0].text not in _FIELDS:
        culprit = words[0] if words else directive.name
        raise culprit.error(f"expected what to rewrite, one of {', '.join(_FIELDS)}")
    field, *words = words
    if field.text == "name":
        return _decode_name_rule(field, words, goes_on=goes_on)
    if len(words) != 2:
        raise field.error(f"expected two values after it, got {len(words)}")
    if field.text == "type":
        return Rewrite(TypeRule(*(decode_record_type(token) for token in words)), goes_on)
    return Rewrite(ClassRule(*(_decode_class(token) for token in words)), goes_on)


def build(config: Rewrite, _surroundings: Surroundings, following: Handler) -> Handler:
    """Build the link of one line."""
    return _Link(config, following)


def _decode_name_rule(field: Token, words: list[Token], *, goes_on: bool) -> Rewrite:
    match = Match.EXACT
    # `rewrite name suffix a` would be a name called suffix, were there only two words.
    if len(words) > 2 and words[0].text in list(Match):
        match = Match(words.pop(0).text)
    if len(words) < 2:
        raise field.error("expected a name and what it becomes after it")
    old, new, *rest = words
    rule = NameRule.decode(match, old, new)
    names: list[Substitution] = []
    values: list[Substitution] = []
    while rest:
        if rest[0].text != "answer":
            raise rest[0].error("expected answer or nothing")
        what = rest[1].text if len(rest) > 1 else ""
        if what == "auto":
            rest = rest[2:]
        elif what in {"name", "value"} and len(rest) > 3:
            (names if what == "name" else values).append(Substitution.decode(rest[2], rest[3].text))
            rest = rest[4:]
        else:
            raise rest[0].error(
                "expected auto, or name or value with a regular expression and what it becomes"
            )
    return Rewrite(rule, goes_on, tuple(names), tuple(values))


def _decode_class(token: Token) -> int:
    if token.text.upper() not in CLASS_NUMBERS:
        raise token.error(f"expected one of the classes {', '.join(CLASS_NUMBERS)}")
    return CLASS_NUMBERS[token.text.upper()]


class _Link:
    def __init__(self, config: Rewrite, following: Handler) -> None:
        self._config = config
        self._following = following
        # Where a question goes that no other line is to see.
        self.beyond: Handler = following.beyond if isinstance(following, _Link) else following

    def answer(self, query: Query, client: Client) -> Outcome:
        config = self._config
        try:
            rewritten = rewrite_query(config.rule, query)
        except NameFormatError:
            return _TOO_LONG
        if rewritten is None:
            return self._following.answer(query, client)
        following = self._following if config.goes_on else self.beyond
        outcome = following.answer(rewritten, client)
        if rewritten.name == query.name and not config.names and not config.values:
            return outcome
        return after(outcome, Restoration(query.name, rewritten.name, config.names, config.values).restore)
