"""What a line of `rewrite` makes of a question."""

import re
from enum import StrEnum

import msgspec

from coredns_lite.corefile.lexer import Token
from coredns_lite.patterns import Pattern
from coredns_lite.wire.names import NameFormatError, decode_name, encode_name, lower_name
from coredns_lite.wire.query import Query

_GROUP = re.compile(r"\{([0-9]+)\}")
_TYPE_AND_CLASS_BYTES = 2


class Match(StrEnum):
    """Which part of a name has to fit."""

    EXACT = "exact"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    SUBSTRING = "substring"
    REGEX = "regex"


class Substitution(msgspec.Struct, frozen=True):
    """A regular expression on names as text, and what a name becomes that it is found in."""

    pattern: Pattern
    replacement: str

    @classmethod
    def decode(cls, token: Token, replacement: str) -> "Substitution":
        """Decode an expression and a replacement.

        Raises:
            ConfigError: not a regular expression, or one without the groups that the replacement has.
        """
        pattern = Pattern.decode(token)
        wanted = max((int(group) for group in _GROUP.findall(replacement)), default=0)
        if wanted > pattern.group_count:
            raise token.error(f"expected at least {wanted} groups, as {replacement} has them")
        return cls(pattern, replacement)

    def apply(self, text: str) -> str | None:
        """Return what a name becomes; None if the expression is not found in it."""
        found = self.pattern.find(text)
        if not found:
            return None
        return _GROUP.sub(lambda group: found.groups[int(group[1])], self.replacement)


class NameRule(msgspec.Struct, frozen=True):
    """Names that fit become others."""

    match: Match
    old: str
    new: str

    @classmethod
    def decode(cls, match: Match, old: Token, new: Token) -> "NameRule":
        """Decode the two words of a rule.

        Raises:
            ConfigError: not a name, not a regular expression.
        """
        if match is Match.REGEX:
            Substitution.decode(old, new.text)
            return cls(match, old.text, new.text)
        if match is Match.EXACT:
            for token in (old, new):
                _check_name(token)
        texts = [token.text.lower() for token in (old, new)]
        if match in (Match.EXACT, Match.SUFFIX):
            texts = [text if text.endswith(".") else f"{text}." for text in texts]
        return cls(match, *texts)

    def apply(self, name: str) -> str | None:
        """Return what a name (lower case, with its final dot) becomes; None if it does not fit."""
        match self.match:
            case Match.EXACT:
                return self.new if name == self.old else None
            case Match.PREFIX:
                return self.new + name[len(self.old) :] if name.startswith(self.old) else None
            case Match.SUFFIX:
                return name[: len(name) - len(self.old)] + self.new if name.endswith(self.old) else None
            case Match.SUBSTRING:
                return name.replace(self.old, self.new) if self.old in name else None
            case Match.REGEX:
                return Substitution(Pattern(self.old), self.new).apply(name)


class TypeRule(msgspec.Struct, frozen=True):
    """Questions of one type become questions of another."""

    old: int
    new: int


class ClassRule(msgspec.Struct, frozen=True):
    """Questions of one class become questions of another."""

    old: int
    new: int


Rule = NameRule | TypeRule | ClassRule


def rewrite_query(rule: Rule, query: Query) -> Query | None:
    """Return what a rule makes of a query; None if it does not fit.

    Raises:
        NameFormatError: what it makes is no name.
    """
    name, qtype, qclass = query.name, query.qtype, query.qclass
    match rule:
        case NameRule():
            text = rule.apply(decode_name(query.name))
            if text is None:
                return None
            name = lower_name(encode_name(text))
        case TypeRule():
            if qtype != rule.old:
                return None
            qtype = rule.new
        case ClassRule():
            if qclass != rule.old:
                return None
            qclass = rule.new
    question = name + qtype.to_bytes(_TYPE_AND_CLASS_BYTES) + qclass.to_bytes(_TYPE_AND_CLASS_BYTES)
    return msgspec.structs.replace(query, question=question, name=name, qtype=qtype, qclass=qclass)


def _check_name(token: Token) -> None:
    try:
        encode_name(token.text)
    except NameFormatError as exc:
        raise token.error(str(exc)) from exc
