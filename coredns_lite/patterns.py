r"""Regular expressions of a Corefile, as CoreDNS has them: RE2, whose time grows with the name and no faster.

Python's own try one way after another. With `(.*)\.(.*)\.(.*)\.x` a name of 127 labels took 780 ms, in which
nobody else is answered; RE2 takes 3 µs. What RE2 leaves out for that (look-around, back references) is an
error here as it is there.
"""

from functools import lru_cache
from typing import Any

import msgspec

from coredns_lite.corefile.lexer import Token


class Found(msgspec.Struct, frozen=True):
    """What an expression matched: the whole first, then its groups, empty where they took no part."""

    groups: tuple[str, ...]
    named: dict[str, str]


class Pattern(msgspec.Struct, frozen=True):
    """A regular expression."""

    expression: str

    @classmethod
    def decode(cls, token: Token) -> "Pattern":
        """Decode an expression.

        Raises:
            ConfigError: it is none.
        """
        # Late, as few Corefiles have one: it costs 3 ms and 2.4 MB.
        import re2

        try:
            _compile(token.text)
        except re2.error as exc:
            reason = exc.args[0].decode(errors="replace")
            raise token.error(f"expected a regular expression (RE2): {reason}") from exc
        return cls(token.text)

    @property
    def group_count(self) -> int:
        """How many groups it has."""
        count: int = _compile(self.expression).groups
        return count

    @property
    def group_names(self) -> frozenset[str]:
        """The names of those groups that have one."""
        return frozenset(_compile(self.expression).groupindex)

    def matches(self, text: str) -> bool:
        """Whether it is found anywhere in a text."""
        return _compile(self.expression).search(text) is not None

    def find(self, text: str) -> Found | None:
        """Find it in a text, at its first place."""
        match = _compile(self.expression).search(text)
        if match is None:
            return None
        groups = (match[0], *(group or "" for group in match.groups()))
        return Found(groups, {name: group or "" for name, group in match.groupdict().items()})


@lru_cache(maxsize=1024)
def _compile(expression: str) -> Any:
    import re2

    options = re2.Options()
    # It would write to stderr what we say better.
    options.log_errors = False
    return re2.compile(expression, options)
