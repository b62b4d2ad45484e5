r"""Logs what went wrong while a query was answered.

Syntax:

    errors {
        stacktrace
        consolidate DURATION REGEXP [LEVEL]
    }

An error is an answer that is a failure and says why: no upstream answered, a name was asked for before the
first snapshot; refusals and names that don't exist are none. Its line is `2 example.org. A: MESSAGE`, with
rcode, name and type of the query. Replies that the kernel would not send are logged too.

`consolidate` counts the messages (from the rcode on) that the regular expression (RE2) is found in, instead
of logging each, and logs one line for them each DURATION: `3 errors like '^2 .* timeout$' occurred in the
last 1m`. LEVEL is `warning`, `error` (the default), `info` or `debug`. The first `consolidate` that fits
counts. `stacktrace` is accepted: a defect of this program is always logged with its trace.

```corefile
. {
    errors {
        consolidate 5m ".* i/o timeout$" warning
        consolidate 30s "^Failed to .+"
    }
}
```

Metrics: `coredns_panics_total`, queries that met a defect of this program.
"""

import asyncio
import logging
import threading

import msgspec

from coredns_lite.corefile.lexer import Token
from coredns_lite.corefile.parser import Directive
from coredns_lite.options import decode_duration, refuse_args
from coredns_lite.patterns import Pattern
from coredns_lite.plugin import Client, Handler, Outcome, Surroundings, after
from coredns_lite.wire.names import decode_name
from coredns_lite.wire.query import Query
from coredns_lite.wire.record import type_text
from coredns_lite.wire.reply import Answer

REPEATS = False

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

log = logging.getLogger(__name__)


class Consolidation(msgspec.Struct, frozen=True):
    """Which messages become one line, and how often; `period` is the duration as it was written."""

    period_s: float
    period: str
    pattern: Pattern
    level: int = logging.ERROR


class Errors(msgspec.Struct, frozen=True):
    """The plugin's lines, decoded."""

    consolidations: tuple[Consolidation, ...] = ()


def decode(directive: Directive, _zones: tuple[str, ...]) -> Errors:
    """Decode `errors { stacktrace; consolidate DURATION REGEXP [LEVEL] }`."""
    refuse_args(directive)
    consolidations = []
    for option in directive.block or ():
        if option.name.text == "consolidate":
            consolidations.append(_decode_consolidation(option))
        elif option.name.text == "stacktrace":
            refuse_args(option)
        else:
            raise option.name.error("expected an option of errors: stacktrace, consolidate")
    return Errors(tuple(consolidations))


def build(config: Errors, surroundings: Surroundings, following: Handler) -> Handler:
    """Build the link that logs errors."""
    counts = tuple(Count(consolidation) for consolidation in config.consolidations)
    for count in counts:
        surroundings.run(count.report)
    return _Link(counts, following)


def _decode_consolidation(option: Directive) -> Consolidation:
    if len(option.args) not in (2, 3):
        raise option.name.error("expected a duration and a regular expression after it, and maybe a level")
    period, pattern, *level = option.args
    period_s = decode_duration(period)
    if not period_s:
        raise period.error("expected a duration above zero")
    expression = Pattern.decode(pattern)
    return Consolidation(period_s, period.text, expression, *(_decode_level(token) for token in level))


def _decode_level(token: Token) -> int:
    if token.text not in _LEVELS:
        raise token.error(f"expected one of the levels {', '.join(_LEVELS)}")
    return _LEVELS[token.text]


class Count:
    """Counts the messages of one pattern; any thread may add, the asyncio loop reports."""

    def __init__(self, config: Consolidation) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._count = 0

    def add(self, message: str) -> bool:
        """Count a message that the pattern is found in; return whether it is."""
        if not self._config.pattern.matches(message):
            return False
        with self._lock:
            self._count += 1
        return True

    def take(self) -> str | None:
        """Return the line for what was counted, if anything was, and begin again."""
        with self._lock:
            count, self._count = self._count, 0
        if not count:
            return None
        expression, period = self._config.pattern.expression, self._config.period
        return f"{count} errors like {expression!r} occurred in the last {period}"

    async def report(self) -> None:
        """Log what was counted, once each period, and at the end."""
        try:
            while True:
                await asyncio.sleep(self._config.period_s)
                self._log()
        finally:
            self._log()

    def _log(self) -> None:
        line = self.take()
        if line:
            log.log(self._config.level, "%s", line)


class _Link:
    def __init__(self, counts: tuple[Count, ...], following: Handler) -> None:
        self._counts = counts
        self._following = following

    def answer(self, query: Query, client: Client) -> Outcome:
        outcome = self._following.answer(query, client)
        if isinstance(outcome, Answer) and not outcome.error:
            return outcome
        return after(outcome, lambda answer: self._note(query, answer))

    def _note(self, query: Query, answer: Answer) -> Answer:
        if answer.error:
            message = f"{answer.rcode:d} {decode_name(query.name)} {type_text(query.qtype)}: {answer.error}"
            if not any(count.add(message) for count in self._counts):
                log.error("%s", message)
        return answer
