"""Label selectors: which nodes and namespaces a pool is for.

Reads Kubernetes' string form (`zone in (a,b), !spot, tier=web`) and Calico's (`zone in {"a","b"} &&
!has(spot) && tier == "web"`), which may be mixed. From loose to tight:

    selector    = term { "," term }                        all of them (Kubernetes)
    term        = factor { "||" factor }
    factor      = unary { "&&" unary }
    unary       = "!" unary | "(" selector ")" | requirement
    requirement = "all()" | "global()" | "has(" key ")" | key
                | key ( "=" | "==" | "!=" ) value
                | key ( "in" | "notin" | "not in" ) ( "(" | "{" ) [ value { "," value } ] ( ")" | "}" )
                | key ( "contains" | "starts with" | "ends with" ) value

An empty selector matches everything. As in both languages, `!=` and `not in` also match what has no such
label.
"""

import re
from collections.abc import Callable
from functools import lru_cache

from ipam.model import Labels
from ipam.selector_terms import All, AnyOf, Has, In, Like, Not, Selector
from nodeplane.errors import ConfigError

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<value>"[^"]*"|'[^']*')
      | (?P<operator>&&|\|\||==|!=|[=!,(){}])
      | (?P<word>[A-Za-z0-9_.\-/]+)
    )""",
    re.VERBOSE,
)


def parse_selector(text: str, place: str, field: str) -> Selector:
    """Parse a selector.

    Args:
        text: As it was written.
        place: Where, for errors.
        field: The field that it was written in.

    Raises:
        ConfigError: it is not one; names what is expected and where in the text.
    """
    try:
        return _parse(text)
    except _SyntaxError as exc:
        raise ConfigError(place, field, f"{exc}, in selector {text!r}") from exc


def selects(text: str, labels: Labels | None) -> bool:
    """Say whether a selector that was parsed before selects labels; unknown ones only if it takes all."""
    selector = _parse(text)
    if labels is None:
        return selector == All()
    return selector.matches(labels)


@lru_cache(maxsize=256)
def _parse(text: str) -> Selector:
    return _Parser(text).parse() if text.strip() else All()


# Far more than anybody writes, and less than what Python's stack holds.
_MOST_NESTED = 32


class _SyntaxError(Exception):
    """What was expected instead of what."""


class _Parser:
    """A text, its tokens and how far they were read."""

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        self._at = 0
        self._depth = 0
        place, end = 0, len(text.rstrip())
        while place < end:
            match = _TOKEN.match(text, place)
            if match is None:
                raise _SyntaxError(f"expected a label, value or operator, got {text[place:].strip()[0]!r}")
            kind = match.lastgroup or ""
            self._tokens.append((kind, match[kind]))
            place = match.end()

    def parse(self) -> Selector:
        selector = self._list()
        if self._at < len(self._tokens):
            raise self._expected("&&, || or a comma")
        return selector

    def _list(self) -> Selector:
        return self._joined(",", lambda: self._joined("||", self._factor, AnyOf), All)

    def _factor(self) -> Selector:
        return self._joined("&&", self._unary, All)

    def _joined(
        self,
        operator: str,
        part: "Callable[[], Selector]",
        join: "Callable[[tuple[Selector, ...]], Selector]",
    ) -> Selector:
        parts = [part()]
        while self._took(operator):
            parts.append(part())
        return parts[0] if len(parts) == 1 else join(tuple(parts))

    def _unary(self) -> Selector:
        if self._depth == _MOST_NESTED:
            raise _SyntaxError(f"expected at most {_MOST_NESTED} '!' and '(' within one another")
        self._depth += 1
        try:
            return self._nested()
        finally:
            self._depth -= 1

    def _nested(self) -> Selector:
        if self._took("!"):
            return Not(self._unary())
        if self._took("("):
            inner = self._list()
            self._take(")")
            return inner
        return self._requirement()

    def _requirement(self) -> Selector:
        key = self._word("a label")
        if self._took("("):
            return self._call(key)
        equal = self._took("==") or self._took("=")
        if equal or self._took("!="):
            # Kubernetes' empty value: `a=`, `a!=`.
            same = In(key, (self._value() if self._is_value() else "",))
            return same if equal else Not(same)
        return self._comparison(key)

    def _comparison(self, key: str) -> Selector:
        """Parse what a word says about a label; nothing, when it is to be there."""
        word = self._peek("word")
        if word is None:
            return Has(key)
        self._at += 1
        match word:
            case "in":
                return In(key, self._set())
            case "not" | "notin":
                if word == "not":
                    self._take("in")
                return Not(In(key, self._set()))
            case "contains" | "starts" | "ends":
                if word != "contains":
                    self._take("with")
                return Like(key, word, self._value())
        self._at -= 1
        raise self._expected("=, ==, !=, in, not in, notin, contains, starts with or ends with")

    def _call(self, name: str) -> Selector:
        match name:
            case "all" | "global":
                self._take(")")
                return All()
            case "has":
                key = self._word("a label")
                self._take(")")
                return Has(key)
        self._at -= 2
        raise self._expected("all(), global() or has(…)")

    def _set(self) -> tuple[str, ...]:
        close = ")" if self._took("(") else "}"
        if close == "}" and not self._took("{"):
            raise self._expected("( or {")
        values: list[str] = []
        if not self._took(close):
            values.append(self._item())
            while self._took(","):
                values.append(self._item())
            self._take(close)
        return tuple(values)

    def _item(self) -> str:
        """Parse a value of a set: empty before a comma or the end, as in Kubernetes' `a in (x,)`."""
        is_empty = self._is_next(",") or self._is_next(")") or self._is_next("}")
        return "" if is_empty else self._value()

    def _is_value(self) -> bool:
        return self._peek("value") is not None or self._peek("word") is not None

    def _is_next(self, text: str) -> bool:
        return self._at < len(self._tokens) and self._tokens[self._at] == (_kind(text), text)

    def _value(self) -> str:
        quoted = self._peek("value")
        if quoted is not None:
            self._at += 1
            return quoted[1:-1]
        return self._word("a value")

    def _word(self, what: str) -> str:
        word = self._peek("word")
        if word is None:
            raise self._expected(what)
        self._at += 1
        return word

    def _peek(self, kind: str) -> str | None:
        if self._at < len(self._tokens) and self._tokens[self._at][0] == kind:
            return self._tokens[self._at][1]
        return None

    def _took(self, text: str) -> bool:
        """Go past a token if it is this one."""
        if self._at < len(self._tokens) and self._tokens[self._at] == (_kind(text), text):
            self._at += 1
            return True
        return False

    def _take(self, text: str) -> None:
        if not self._took(text):
            raise self._expected(text)

    def _expected(self, what: str) -> _SyntaxError:
        got = repr(self._tokens[self._at][1]) if self._at < len(self._tokens) else "the end"
        return _SyntaxError(f"expected {what}, got {got}")


def _kind(text: str) -> str:
    return "word" if text.isalpha() else "operator"
