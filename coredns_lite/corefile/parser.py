"""The Corefile's syntax: server blocks of directives, each with arguments and maybe a block of its own.

    cluster.local:53 example.org {        # labels, then the server block
        bind 10.96.0.10                   # a directive with its arguments, to the end of the line
        kubernetes cluster.local {        # a directive with a block
            manifests "/var/lib/my cluster"
        }
    }

Decides what a directive and a block are (CoreDNS takes them from the Caddyfile); what they mean is
`coredns_lite.config`'s matter.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from coredns_lite.corefile.imports import expand
from coredns_lite.corefile.lexer import Line, Token, lex
from nodeplane.errors import ConfigError


class Directive(msgspec.Struct, frozen=True):
    """A plugin or an option: its name, its arguments and, if it has a block, the directives in there."""

    name: Token
    args: tuple[Token, ...] = ()
    block: "tuple[Directive, ...] | None" = None


class Block(msgspec.Struct, frozen=True):
    """A server block: the zones it is for, and its directives."""

    labels: tuple[Token, ...]
    directives: tuple[Directive, ...]


def read_corefile(path: Path, environ: Mapping[str, str] = os.environ) -> tuple[Block, ...]:
    """Read and parse a Corefile and what it imports.

    Raises:
        ConfigError: a file can't be read, or its syntax is wrong; names file, line and token.
    """
    return load_corefile(path, environ)[0]


def load_corefile(path: Path, environ: Mapping[str, str] = os.environ) -> tuple[tuple[Block, ...], str]:
    """Read and parse a Corefile and what it imports; return also a digest of all that was read.

    Raises:
        ConfigError: a file can't be read, or its syntax is wrong; names file, line and token.
    """
    digest = hashlib.sha512()

    def read(file: Path) -> list[Line]:
        text = _read_text(file)
        digest.update(text.encode())
        return lex(text, str(file), environ)

    blocks = _parse(expand(read(path), read), str(path))
    return blocks, digest.hexdigest()


def parse_corefile(text: str, file: str, environ: Mapping[str, str] | None = None) -> tuple[Block, ...]:
    """Parse a Corefile's text; `file` is the name that errors carry, and that imports are relative to.

    Raises:
        ConfigError: the syntax is wrong, or an imported file can't be read; names file, line and token.
    """
    environ = environ or {}

    def read(path: Path) -> list[Line]:
        return lex(_read_text(path), str(path), environ)

    return _parse(expand(lex(text, file, environ), read), file)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as exc:
        raise ConfigError(str(path), "", f"expected UTF-8 text, byte {exc.start} is not") from exc
    except OSError as exc:
        raise ConfigError(str(path), "", f"expected a readable file: {exc.strerror}") from exc


def _parse(source: list[Line], file: str) -> tuple[Block, ...]:
    blocks = []
    lines = _Lines(source)
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

    def __init__(self, lines: list[Line]) -> None:
        self._lines = iter(lines)
        self.line = next(self._lines, [])
        self._number = 0

    def take_words(self) -> list[Token]:
        """Take the tokens up to a brace or the line's end."""
        words = []
        while self.line and not self.line[0].kind:
            number = self._number
            words.append(self._take())
            if self._number != number:
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
            number = self._number
            name, *args = self.take_words()
            # A block opens on its directive's own line.
            is_near = may_nest and self._number == number
            brace = self.take_brace("{") if is_near else None
            block = self.take_directives(brace, may_nest=False) if brace else None
            directives.append(Directive(name, tuple(args), block))
        return tuple(directives)

    def _take(self) -> Token:
        token, *rest = self.line
        if not rest:
            self._number += 1
        self.line = rest or next(self._lines, [])
        return token
