"""The words of a Corefile, line by line: quotes, comments, braces, variables of the environment.

Every token keeps its place, so that an error can name file, line and token.
"""

import re
from collections.abc import Mapping

import msgspec

from nodeplane.errors import ConfigError

_LEXEMES = re.compile(
    r"""
    (?P<blank>   [^\S\n]+ | \ufeff | \#[^\n]* )
  | (?P<newline> \n )
  | " (?P<quoted> (?: [^"\\\n] | \\[^\n] )* ) "
  | (?P<open>    " )
  | (?P<word>    \S+ )
    """,
    re.VERBOSE,
)
_VARIABLE = re.compile(r"\{\$(?P<unix>[^{}$%]+)\}|\{%(?P<windows>[^{}$%]+)%\}")


class Token(msgspec.Struct, frozen=True):
    """One word of a Corefile and where it stands; `kind` is the word itself for a brace, else empty."""

    text: str
    file: str
    line: int
    kind: str = ""

    def error(self, expected: str) -> ConfigError:
        """Build the error that this token is not what was expected."""
        text = self.text if self.text.isprintable() else ascii(self.text)
        return ConfigError(f"{self.file}:{self.line}", text, expected)


Line = list[Token]
"""The tokens of one line; it has at least one."""


def lex(text: str, file: str, environ: Mapping[str, str]) -> list[Line]:
    """Return the lines that have tokens; `file` is the name that errors carry.

    `{$NAME}` and `{%NAME%}` become the variable's value, nothing if there is none; a value with blanks in it
    stays part of its one token, as in a Caddyfile.

    Raises:
        ConfigError: a quote without its end.
    """
    lines: list[Line] = []
    number = 1
    tokens: Line = []
    for match in _LEXEMES.finditer(text):
        if match.lastgroup == "newline":
            if tokens:
                lines.append(tokens)
            number, tokens = number + 1, []
        elif match.lastgroup == "open":
            raise Token(match.string[match.start() :].splitlines()[0], file, number).error(
                "expected a closing quote"
            )
        elif match.lastgroup == "quoted":
            # Only the quote itself needs a backslash, as in a Caddyfile; others stay as they are.
            quoted = match["quoted"].replace(r"\"", '"')
            tokens.append(Token(_substitute(quoted, environ), file, number))
        elif match.lastgroup == "word":
            word = _substitute(match["word"], environ)
            # A word that is nothing but an unset variable is no word.
            if word:
                tokens.append(Token(word, file, number, word if match["word"] in {"{", "}"} else ""))
    if tokens:
        lines.append(tokens)
    return lines


def _substitute(text: str, environ: Mapping[str, str]) -> str:
    if "{" not in text:
        return text
    return _VARIABLE.sub(lambda match: environ.get(match["unix"] or match["windows"], ""), text)
