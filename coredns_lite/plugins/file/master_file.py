r"""Zone files (master files, RFC 1035 section 5; $TTL: RFC 2308 section 4) into records.

Decides what a line says. Types are those of `_DATA`, and any other as RFC 3597 writes it:
`TYPE99 \# 4 C0000201`.
"""

import base64
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address

import msgspec

from coredns_lite.wire.names import MAX_NAME_BYTES, ROOT, NameFormatError, encode_name, lower_name
from coredns_lite.wire.record import CLASS_NUMBERS, Record, RecordType, record_type
from nodeplane.errors import ConfigError

_MAX_TTL_S = 0x7FFFFFFF
_MAX_STRING_BYTES = 255
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_TTL = re.compile(r"(?:[0-9]+[smhdw]?)+", re.IGNORECASE)
_TTL_PART = re.compile(r"([0-9]+)([smhdw]?)", re.IGNORECASE)
_WORDS = re.compile(
    r"""
    (?P<blank> [^\S\n]+ | ;[^\n]* )
  | (?P<newline> \n )
  | (?P<brace> [()] )
  | " (?P<quoted> (?: [^"\\\n] | \\[^\n] )* ) "
  | (?P<word> (?: [^\s();"\\] | \\[^\n] )+ )
  | (?P<bad> . )
    """,
    re.VERBOSE,
)
_ESCAPE = re.compile(rb"\\([0-9]{3}|.)", re.DOTALL)


class Word(msgspec.Struct, frozen=True):
    """One word of a zone file."""

    text: str
    is_quoted: bool = False


class Line(msgspec.Struct, frozen=True):
    """An entry: its words, where it begins, and whether it begins with a blank (the owner before it)."""

    words: tuple[Word, ...]
    number: int
    is_continued: bool


def parse_zone(text: str, file: str, origin: bytes) -> tuple[Record, ...]:
    """Parse a zone file; owners are absolute and in lower case.

    Raises:
        ConfigError: what is wrong; names file and line.
    """
    reader = _Reader(origin)
    records = []
    for line in _lines(text, file):
        try:
            record = reader.read(line)
        except (ValueError, NameFormatError, struct.error) as exc:
            words = " ".join(word.text for word in line.words)
            raise ConfigError(f"{file}:{line.number}", words, str(exc)) from exc
        if record:
            records.append(record)
    return tuple(records)


def parse_record(text: str, ttl_s: int) -> Record:
    """Parse one record as a line of a zone file has it; names are absolute, with their final dot or without.

    `ttl_s` is its time to live unless it names one.

    Raises:
        ValueError: it is none.
    """
    try:
        (line,) = _lines(text, "")
        record = _Reader(ROOT, ttl_s).read(line)
    except (ValueError, NameFormatError, ConfigError, struct.error) as exc:
        raise ValueError(f"expected a record: {exc}") from exc
    if record is None:
        raise ValueError("expected a record, got a directive")
    return record


def _lines(text: str, file: str) -> Iterator[Line]:
    words: list[Word] = []
    number, begins, depth, is_continued, is_fresh = 1, 1, 0, False, True
    for match in _WORDS.finditer(f"{text}\n"):
        kind = match.lastgroup
        if kind == "bad":
            raise ConfigError(
                f"{file}:{number}", match[0], "expected a closing quote or a character behind it"
            )
        if kind == "newline":
            number += 1
            if not depth:
                if words:
                    yield Line(tuple(words), begins, is_continued)
                words, is_fresh, is_continued = [], True, False
            continue
        if is_fresh:
            begins, is_continued, is_fresh = number, kind == "blank" and match[0][0] != ";", False
        if kind == "brace":
            depth += 1 if match[0] == "(" else -1
            if depth < 0:
                raise ConfigError(f"{file}:{number}", ")", "expected a '(' before it")
        elif kind == "quoted":
            words.append(Word(match["quoted"], is_quoted=True))
        elif kind == "word":
            words.append(Word(match["word"]))
    if depth:
        raise ConfigError(f"{file}:{begins}", "(", "expected a ')' that closes it")


class _Reader:
    """Keeps what one line leaves to the next: origin, owner, time to live."""

    def __init__(self, origin: bytes, ttl_s: int | None = None) -> None:
        self._origin = origin
        self._owner: bytes | None = None
        self._default_ttl_s = ttl_s
        self._last_ttl_s: int | None = None

    def read(self, line: Line) -> Record | None:
        """Read a line into a record; None for what is said of the lines that follow."""
        words = [*line.words]
        if words[0].text.startswith("$") and not line.is_continued:
            self._direct(words)
            return None
        if not line.is_continued:
            self._owner = lower_name(self._name(words.pop(0)))
        if self._owner is None:
            raise ValueError("expected an owner on the first line")
        ttl_s = self._take_ttl_and_class(words)
        if not words:
            raise ValueError("expected a type")
        rtype = record_type(words.pop(0).text)
        rdata = self._data(rtype, words)
        if ttl_s is None:
            # RFC 2308 section 4, or else RFC 1035's "last stated value"; an SOA's own minimum before any.
            ttl_s = self._default_ttl_s if self._default_ttl_s is not None else self._last_ttl_s
        if ttl_s is None and rtype == RecordType.SOA:
            ttl_s = int.from_bytes(rdata[-4:])
        if ttl_s is None:
            raise ValueError("expected a TTL, here or by $TTL")
        self._last_ttl_s = ttl_s
        return Record(rtype, ttl_s, rdata, self._owner)

    def _direct(self, words: Sequence[Word]) -> None:
        name, *values = words
        if name.text.upper() not in {"$ORIGIN", "$TTL"} or len(values) != 1:
            raise ValueError("expected $ORIGIN or $TTL with one value; $INCLUDE and $GENERATE are not read")
        if name.text.upper() == "$ORIGIN":
            self._origin = self._name(values[0])
        else:
            self._default_ttl_s = _ttl(values[0].text)

    def _take_ttl_and_class(self, words: list[Word]) -> int | None:
        ttl_s = None
        while words:
            text = words[0].text
            if text.upper() == "IN":
                words.pop(0)
            elif text.upper() in CLASS_NUMBERS:
                raise ValueError("expected the class IN")
            elif ttl_s is None and _TTL.fullmatch(text):
                ttl_s = _ttl(text)
                words.pop(0)
            else:
                break
        return ttl_s

    def _data(self, rtype: int, words: Sequence[Word]) -> bytes:
        if words and words[0].text == r"\#":
            size, *digits = [word.text for word in words[1:]] or [""]
            data = bytes.fromhex("".join(digits))
            if not size.isdigit() or int(size) != len(data):
                raise ValueError(f"expected {size or 'a number of'} bytes, got {len(data)}")
            return data
        shape = _DATA.get(rtype)
        if shape is None:
            raise ValueError(r"expected data as in \# LENGTH HEX for a type that is not known here")
        return b"".join(self._fields(shape, words))

    def _fields(self, shape: str, words: Sequence[Word]) -> Iterator[bytes]:
        rest = [*words]
        for kind in shape.split():
            if not rest:
                raise ValueError(f"expected {len(shape.split())} values behind the type, got {len(words)}")
            if kind == "texts":
                yield from (_string(word) for word in rest)
                return
            if kind in {"hex", "base64"}:
                joined = "".join(word.text for word in rest)
                yield bytes.fromhex(joined) if kind == "hex" else base64.b64decode(joined, validate=True)
                return
            word = rest.pop(0)
            yield self._name(word) if kind == "name" else _FIELDS[kind](word)
        if rest:
            raise ValueError(f"expected {len(shape.split())} values behind the type, got {len(words)}")

    def _name(self, word: Word) -> bytes:
        if word.text == "@":
            return self._origin
        wire = encode_name(word.text)
        if not _is_absolute(word.text):
            wire = wire[:-1] + self._origin
            if len(wire) > MAX_NAME_BYTES:
                raise NameFormatError(f"expected a name of at most {MAX_NAME_BYTES} bytes, got {len(wire)}")
        return wire


def _is_absolute(text: str) -> bool:
    # A dot behind an odd number of backslashes is part of a label.
    return text.endswith(".") and (len(text) - 1 - len(text[:-1].rstrip("\\"))) % 2 == 0


def _ttl(text: str) -> int:
    if not _TTL.fullmatch(text):
        raise ValueError("expected a TTL such as 3600 or 1h")
    seconds = sum(int(count) * _UNITS[unit.lower()] for count, unit in _TTL_PART.findall(text))
    if seconds > _MAX_TTL_S:
        raise ValueError(f"expected a TTL of at most {_MAX_TTL_S} seconds")
    return seconds


def _string(word: Word) -> bytes:
    def unescape(match: re.Match[bytes]) -> bytes:
        return bytes((int(match[1]),)) if match[1].isdigit() and len(match[1]) == 3 else match[1]

    data = _ESCAPE.sub(unescape, word.text.encode())
    if len(data) > _MAX_STRING_BYTES:
        raise ValueError(f"expected texts of at most {_MAX_STRING_BYTES} bytes")
    return bytes((len(data),)) + data


def _number(form: str) -> Callable[[Word], bytes]:
    def read(word: Word) -> bytes:
        if not (word.text.isascii() and word.text.isdigit()):
            raise ValueError(f"expected a number, got {word.text!r}")
        return struct.pack(form, int(word.text))

    return read


_FIELDS: Mapping[str, Callable[[Word], bytes]] = {
    "ipv4": lambda word: IPv4Address(word.text).packed,
    "ipv6": lambda word: IPv6Address(word.text).packed,
    "u8": _number("!B"),
    "u16": _number("!H"),
    "u32": _number("!I"),
    "time": lambda word: struct.pack("!I", _ttl(word.text)),
    "text": _string,
    "tag": _string,
    "octets": lambda word: _string(word)[1:],
}
_DATA: Mapping[int, str] = {
    RecordType.A: "ipv4",
    RecordType.NS: "name",
    RecordType.CNAME: "name",
    RecordType.SOA: "name name u32 time time time time",
    RecordType.PTR: "name",
    RecordType.HINFO: "text text",
    RecordType.MX: "u16 name",
    RecordType.TXT: "texts",
    RecordType.AAAA: "ipv6",
    RecordType.SRV: "u16 u16 u16 name",
    RecordType.DNAME: "name",
    35: "u16 u16 text text text name",  # NAPTR, RFC 3403
    43: "u16 u8 u8 hex",  # DS, RFC 4034
    44: "u8 u8 hex",  # SSHFP, RFC 4255
    48: "u16 u8 u8 base64",  # DNSKEY, RFC 4034
    52: "u8 u8 u8 hex",  # TLSA, RFC 6698
    256: "u16 u16 octets",  # URI, RFC 7553
    257: "u8 tag octets",  # CAA, RFC 8659
}
