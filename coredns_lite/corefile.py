"""The Corefile's syntax: server blocks of directives, each with arguments and maybe a block of its own.

    cluster.local:53 example.org {        # labels, then the server block
        bind 10.96.0.10                   # a directive with its arguments, to the end of the line
        kubernetes cluster.local {        # a directive with a block
            manifests "/var/lib/my cluster"
        }
    }

Decides what a token, a directive and a block are (CoreDNS takes them from the Caddyfile); what they mean is
`coredns_lite.config`'s matter. Every token keeps its place, so that an error can name file, line and token.
"""

import re
from collections.abc import Iterator
from pathlib import Path

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


class Directive(msgspec.Struct, frozen=True):
    """A plugin or an option: its name, its arguments and, if it has a block, the directives in there."""

    name: Token
    args: tuple[Token, ...] = ()
    block: "tuple[Directive, ...] | None" = None


class Block(msgspec.Struct, frozen=True):
    """A server block: the zones it is for, and its directives."""

    labels: tuple[Token, ...]
    directives: tuple[Directive, ...]


def read_corefile(path: Path) -> tuple[Block, ...]:
    """Read and parse a Corefile.

    Raises:
        ConfigError: it can't be read, or its syntax is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as exc:
        raise ConfigError(str(path), "", f"expected UTF-8 text, byte {exc.start} is not") from exc
    except OSError as exc:
        raise ConfigError(str(path), "", f"expected a readable file: {exc.strerror}") from exc
    return parse_corefile(text, str(path))


def parse_corefile(text: str, file: str) -> tuple[Block, ...]:
    """Parse a Corefile's text; `file` is the name that errors carry.

    Raises:
        ConfigError: the syntax is wrong; names file, line and token.
    """
    blocks = []
    lines = _Lines(text, file)
    while lines.line:
        labels = lines.take_words()
        # As in a Caddyfile, a comma lets the zones go on, maybe on the next line.
        while lines.line and labels and labels[-1].text.endswith(","):
            labels += lines.take_words()
        if not labels:
            raise lines.line[0].error("expected a zone before it")
        opening = lines.take_brace("{")
        if opening is None:
            raise labels[-1].error("expected '{' after the zones of a server block")
        blocks.append(Block(tuple(labels), lines.take_directives(opening, may_nest=True)))
    if not blocks:
        raise ConfigError(file, "", "expected at least one server block")
    return tuple(blocks)


class _Lines:
    """A cursor over the lines of tokens that are left; `line` is the current one, empty at the end."""

    def __init__(self, text: str, file: str) -> None:
        self._lines = _lex(text, file)
        self.line = next(self._lines, [])

    def take_words(self) -> list[Token]:
        """Take the tokens up to a brace or the line's end."""
        words = []
        while self.line and not self.line[0].kind:
            number = self.line[0].line
            words.append(self._take())
            if not self.line or self.line[0].line != number:
                break
        return words

    def take_brace(self, brace: str) -> Token | None:
        """Take a brace if it is what comes next."""
        return self._take() if self.line and self.line[0].kind == brace else None

    def take_directives(self, opening: Token, *, may_nest: bool) -> tuple[Directive, ...]:
        """Take the directives of a block and the brace that closes it; options have no blocks themselves."""
        directives = []
        while not self.take_brace("}"):
            if not self.line:
                raise opening.error("expected a '}' that closes it")
            if self.line[0].kind:
                raise self.line[0].error("expected a plugin" if may_nest else "expected an option")
            name, *args = self.take_words()
            # A block opens on its directive's own line.
            is_near = may_nest and self.line and self.line[0].line == name.line
            brace = self.take_brace("{") if is_near else None
            block = self.take_directives(brace, may_nest=False) if brace else None
            directives.append(Directive(name, tuple(args), block))
        return tuple(directives)

    def _take(self) -> Token:
        token, *rest = self.line
        self.line = rest or next(self._lines, [])
        return token


def _lex(text: str, file: str) -> Iterator[list[Token]]:
    """Yield the tokens of each line that has any."""
    number = 1
    tokens: list[Token] = []
    for match in _LEXEMES.finditer(text):
        if match.lastgroup == "newline":
            if tokens:
                yield tokens
            number, tokens = number + 1, []
        elif match.lastgroup == "open":
            raise Token(match.string[match.start() :].splitlines()[0], file, number).error(
                "expected a closing quote"
            )
        elif match.lastgroup == "quoted":
            # Only the quote itself needs a backslash, as in a Caddyfile; others stay as they are.
            tokens.append(Token(match["quoted"].replace(r"\"", '"'), file, number))
        elif match.lastgroup == "word":
            word = match["word"]
            tokens.append(Token(word, file, number, word if word in {"{", "}"} else ""))
    if tokens:
        yield tokens
