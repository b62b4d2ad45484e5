"""Snippets and imports: what stands elsewhere, put in the place of the line that names it.

(common) {             # a snippet: kept, not served
    errors
    log
}
. {
    import common      # its lines
    import extra/*     # the lines of files, relative to this file
}
import sites/*.conf    # whole server blocks
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from coredns_lite.corefile.lexer import Line, Token

# Whoever needs more has a loop of imports.
_MAX_DEPTH = 20
_NESTING = {"{": 1, "}": -1}

Lexer = Callable[[Path], list[Line]]
"""Reads a file into its lines; raises ConfigError if it can't."""


def expand(lines: list[Line], read: Lexer) -> list[Line]:
    """Return the lines with every snippet taken out and every import replaced.

    Raises:
        ConfigError: no such snippet or file, a snippet twice or without its end, a loop of imports.
    """
    return _Expansion(read).expand(lines, 0)


class _Expansion:
    def __init__(self, read: Lexer) -> None:
        self._read = read
        self._snippets: dict[str, list[Line]] = {}

    def expand(self, lines: list[Line], depth: int) -> list[Line]:
        expanded: list[Line] = []
        rest = iter(lines)
        nesting = 0
        for line in rest:
            if not nesting and _is_snippet(line):
                self._keep(line, rest)
                continue
            for piece in _pieces(line):
                if piece[0].text == "import" and not piece[0].kind:
                    expanded += self._import(piece, depth)
                else:
                    expanded.append(piece)
                    nesting += sum(_NESTING.get(token.kind, 0) for token in piece)
        return expanded

    def _keep(self, line: Line, rest: Iterator[Line]) -> None:
        """Take a snippet's lines, up to the brace that closes it."""
        name, opening, *tokens = line
        if name.text in self._snippets:
            raise name.error("expected each snippet once")
        body: list[Line] = []
        nesting = 1
        current: Line | None = tokens
        while current is not None:
            for at, token in enumerate(current):
                nesting += _NESTING.get(token.kind, 0)
                if not nesting:
                    if current[at + 1 :]:
                        raise current[at + 1].error("expected nothing behind the end of a snippet")
                    self._snippets[name.text] = [*body, current[:at]] if at else body
                    return
            if current:
                body.append(current)
            current = next(rest, None)
        raise opening.error("expected a '}' that closes it")

    def _import(self, piece: Line, depth: int) -> list[Line]:
        if len(piece) != 2:
            raise piece[0].error(f"expected one snippet, file or pattern after it, got {len(piece) - 1}")
        name = piece[1]
        if depth == _MAX_DEPTH:
            raise name.error("expected imports without a loop")
        snippet = self._snippets.get(f"({name.text})")
        if snippet is not None:
            return self.expand(snippet, depth + 1)
        return [line for path in _find_files(name) for line in self.expand(self._read(path), depth + 1)]


def _is_snippet(line: Line) -> bool:
    return (
        len(line) > 1 and line[0].text.startswith("(") and line[0].text.endswith(")") and line[1].kind == "{"
    )


def _pieces(line: Line) -> Iterator[Line]:
    """Split a line where an import stands behind a brace or before one: `. { import common }`."""
    piece: Line = []
    for token in line:
        begins = bool(piece and piece[-1].kind) and token.text == "import"
        ends = bool(piece) and piece[0].text == "import" and bool(token.kind)
        if begins or ends:
            yield piece
            piece = []
        piece.append(token)
    yield piece


def _find_files(name: Token) -> list[Path]:
    """Find the files that an import names; a pattern may match none, and skips names with a dot first."""
    folder = Path(name.file).parent
    if not any(char in name.text for char in "*?["):
        path = folder / name.text
        if not path.is_file():
            raise name.error("expected a snippet or a file, there is neither")
        return [path]
    pattern = Path(name.text)
    if pattern.is_absolute():
        folder, pattern = Path(pattern.anchor), pattern.relative_to(pattern.anchor)
    try:
        found = sorted(folder.glob(str(pattern)))
    except ValueError as exc:
        raise name.error(f"expected a pattern of file names: {exc}") from exc
    return [path for path in found if path.is_file() and not path.name.startswith(".")]
