r"""The part of Go's templates (text/template) that makes a record of a query's name.

    text {{ pipeline }} text        pipeline: command | command …
                                    command:  operand, or a function with its operands
                                    operand:  .Name .Group.a "text" `text` 42 (pipeline)

Decides what a template says of given data. What leaves no text where it stands (`if`, `range`, variables) is
not read.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

_ACTION = re.compile(r"(?P<before>\s+(?=\{\{- ))?\{\{(?:- )?(?P<code>.*?)(?: -\}\}\s*|\}\})", re.DOTALL)
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<text>"(?:[^"\\]|\\.)*"|`[^`]*`)
      | (?P<number>-?[0-9]+)
      | (?P<field>(?:\.[A-Za-z_][A-Za-z0-9_]*)+)
      | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<sign>[()|])
    )""",
    re.VERBOSE,
)
_VERB = re.compile(r"%([-0]?[0-9]*)([sdvxX%])|%")

Value = Any
"""What an expression gives: a text, a number, a sequence of texts or a mapping of texts."""
Data = Mapping[str, Value]
Expression = Callable[[Data], Value]


class TemplateError(ValueError):
    """A text that is no template, or one that has no meaning for some data."""


class Template(msgspec.Struct, frozen=True, eq=False):
    """A template that can be filled in; `fields` are the paths that it names, without their first dot."""

    pieces: tuple[str | Expression, ...]
    fields: frozenset[str]

    def render(self, data: Data) -> str:
        """Fill it in.

        Raises:
            TemplateError: it has no meaning for these data.
        """
        return "".join(piece if isinstance(piece, str) else str(piece(data)) for piece in self.pieces)


@lru_cache(maxsize=1024)
def parse_template(text: str) -> Template:
    """Parse a template.

    Raises:
        TemplateError: it is none, or more than is read here.
    """
    pieces: list[str | Expression] = []
    fields: set[str] = set()
    at = 0
    for match in _ACTION.finditer(text):
        pieces += text[at : match.start()], _Parser(match["code"], fields).parse()
        at = match.end()
    pieces.append(text[at:])
    if any("{{" in piece or "}}" in piece for piece in pieces if isinstance(piece, str)):
        raise TemplateError("expected each {{ to have its }}")
    return Template(tuple(piece for piece in pieces if piece), frozenset(fields))


class _Parser:
    """Reads one action."""

    def __init__(self, code: str, fields: set[str]) -> None:
        self._fields = fields
        self._tokens: list[tuple[str, str]] = []
        at = 0
        while code[at:].strip():
            match = _TOKEN.match(code, at)
            if match is None:
                raise TemplateError(f"expected a field, a function or a value, got {code[at:].strip()!r}")
            self._tokens.append((match.lastgroup or "", match[match.lastgroup or 0]))
            at = match.end()

    def parse(self) -> Expression:
        expression = self._pipeline()
        if self._tokens:
            raise TemplateError(f"expected nothing more, got {self._tokens[0][1]!r}")
        return expression

    def _pipeline(self) -> Expression:
        expression = self._command(None)
        while self._take("|"):
            expression = self._command(expression)
        return expression

    def _command(self, piped: Expression | None) -> Expression:
        """Read a function with its operands, or an operand; `piped` is the last operand."""
        kind, text = self._tokens[0] if self._tokens else ("", "")
        if kind != "word":
            if piped is not None:
                raise TemplateError(f"expected a function after |, got {text!r}")
            return self._operand()
        function = _FUNCTIONS.get(text)
        if function is None:
            known = ", ".join(sorted(_FUNCTIONS))
            raise TemplateError(f"expected one of the functions {known}, got {text!r}")
        del self._tokens[0]
        operands = []
        while self._tokens and self._tokens[0][1] not in {")", "|"}:
            operands.append(self._operand())
        if piped is not None:
            operands.append(piped)
        return _call(text, function, operands)

    def _operand(self) -> Expression:
        kind, text = self._tokens.pop(0) if self._tokens else ("", "")
        if kind == "field":
            self._fields.add(text[1:])
            path = text[1:].split(".")
            return lambda data: _look_up(data, path)
        if kind == "text":
            value: Value = text[1:-1] if text[0] == "`" else re.sub(r"\\(.)", r"\1", text[1:-1])
            return lambda _: value
        if kind == "number":
            number = int(text)
            return lambda _: number
        if text == "(":
            expression = self._pipeline()
            if not self._take(")"):
                raise TemplateError("expected a ')'")
            return expression
        raise TemplateError(f"expected a field or a value, got {text!r}")

    def _take(self, sign: str) -> bool:
        if self._tokens and self._tokens[0] == ("sign", sign):
            del self._tokens[0]
            return True
        return False


def _call(name: str, function: Callable[..., Value], operands: Sequence[Expression]) -> Expression:
    def call(data: Data) -> Value:
        values = [operand(data) for operand in operands]
        try:
            return function(*values)
        except (TypeError, ValueError, LookupError) as exc:
            raise TemplateError(f"{name}: {exc}") from exc

    return call


def _look_up(data: Data, path: Sequence[str]) -> Value:
    value: Value = data
    for name in path:
        # What a map does not have is empty, as in Go.
        value = value.get(name, "")
    return value


def _index(value: Value, *keys: Value) -> Value:
    for key in keys:
        value = value.get(str(key), "") if isinstance(value, Mapping) else value[key]
    return value


def _parse_int(text: str, base: int, bits: int) -> int:
    # Digits alone: Python takes signs, blanks and underscores too.
    if not (text.isascii() and text.isalnum()) or int(text, base) >> bits:
        raise ValueError(f"expected a number of {bits} bits, got {text!r}")
    return int(text, base)


def _printf(form: str, *values: Value) -> str:
    # Go's verbs for texts and numbers are C's, and %v is whatever fits.
    return _VERB.sub(_translate_verb, form) % values


def _translate_verb(match: re.Match[str]) -> str:
    if match[2] is None:
        raise ValueError("expected one of the verbs %s, %d, %v, %x, %X")
    return f"%{match[1]}{'s' if match[2] == 'v' else match[2]}"


_FUNCTIONS: Mapping[str, Callable[..., Value]] = {
    "index": _index,
    "len": len,
    "parseInt": _parse_int,
    "print": lambda *values: "".join(map(str, values)),
    "printf": _printf,
}
