"""Domain names: between the text that people write and the bytes on the wire (RFC 1035 section 3.1).

Inside the program a name is its uncompressed wire form, ended by the empty root label: one hashable value
in which a suffix of labels is a suffix of bytes. Names that take part in comparisons are lower-cased
(`lower_name`); a query's own spelling is kept for the reply.
"""

from collections.abc import Iterator

from nodeplane.errors import ProtocolError

MAX_LABEL_BYTES = 63
MAX_NAME_BYTES = 255
ROOT = b"\0"

# The two high bits of a length octet: 00 label, 11 pointer, the others reserved (RFC 1035 section 4.1.4).
_POINTER = 0xC0
# A pointer may lead to a pointer, but no encoder needs a long chain of them (dnspython draws the same line).
_MAX_POINTERS = 16


class NameFormatError(ProtocolError):
    """Bytes or text that are not a domain name."""


def encode_label(label: bytes) -> bytes:
    """Put the length octet before a label.

    Raises:
        NameFormatError: the label is empty or longer than 63 bytes.
    """
    if not 0 < len(label) <= MAX_LABEL_BYTES:
        raise NameFormatError(f"expected a label of 1 to {MAX_LABEL_BYTES} bytes, got {len(label)}")
    return bytes((len(label),)) + label


def encode_name(text: str) -> bytes:
    r"""Turn `a.example.` into wire form; the final dot may be left out, `\.` and `\DDD` are escapes.

    Raises:
        NameFormatError: an empty or overlong label, a name over 255 bytes, a broken escape, non-ASCII text.
    """
    if not text:
        raise NameFormatError("expected a domain name, got an empty text")
    wire = b"".join(encode_label(label) for label in _labels(text)) + ROOT
    if len(wire) > MAX_NAME_BYTES:
        raise NameFormatError(f"expected a name of at most {MAX_NAME_BYTES} bytes, got {len(wire)}")
    return wire


def decode_name(name: bytes) -> str:
    """Turn a wire name into text with a final dot, escaped as in zone files (RFC 1035 section 5.1)."""
    return "".join(_label_text(name[at + 1 : at + 1 + name[at]]) + "." for at in label_offsets(name)) or "."


def lower_name(name: bytes) -> bytes:
    """Lower-case A to Z (RFC 4343); length octets are at most 63 and so below every letter."""
    return name.lower()


def label_offsets(name: bytes) -> Iterator[int]:
    """Yield where each label starts, longest suffix first, the root's empty label left out."""
    at = 0
    while name[at]:
        yield at
        at += name[at] + 1


def read_name(message: bytes, start: int) -> tuple[bytes, int]:
    """Read a name that may be compressed; return it whole and the offset behind it in the message.

    Raises:
        NameFormatError: it runs off the message, exceeds 255 bytes, uses a reserved label type, or has a
            pointer to anything but an earlier name (RFC 1035 section 4.1.4: "a prior occurrence").
    """
    labels: list[bytes] = []
    size_bytes, at, end, pointers = 1, start, 0, 0
    try:
        while length := message[at]:
            if length >= _POINTER:
                target = (length - _POINTER) << 8 | message[at + 1]
                pointers += 1
                if target >= start or pointers > _MAX_POINTERS:
                    raise NameFormatError("expected a pointer to an earlier name")
                end = end or at + 2
                # The earlier name ends before the piece that points to it begins: no loop, no overlap.
                message, at, start = message[:start], target, target
                continue
            if length > MAX_LABEL_BYTES:
                raise NameFormatError("expected a label or a pointer, got a reserved label type")
            labels.append(message[at : at + 1 + length])
            size_bytes += 1 + length
            if size_bytes > MAX_NAME_BYTES:
                raise NameFormatError(f"expected a name of at most {MAX_NAME_BYTES} bytes")
            at += 1 + length
    except IndexError as exc:
        raise NameFormatError("expected the name to end inside the message") from exc
    return b"".join(labels) + ROOT, end or at + 1


def skip_name(message: bytes, start: int) -> int:
    """Return the offset behind a name without following its pointer, so the cost is the name's own length.

    Raises:
        NameFormatError: a reserved label type.
        IndexError: the name runs off the message.
    """
    at = start
    while length := message[at]:
        if length >= _POINTER:
            return at + 2
        if length > MAX_LABEL_BYTES:
            raise NameFormatError("expected a label or a pointer, got a reserved label type")
        at += 1 + length
    return at + 1


def _labels(text: str) -> Iterator[bytes]:
    """Split presentation text into labels, escapes resolved."""
    if text == ".":
        return
    try:
        rest = iter(text.encode("ascii"))
    except UnicodeEncodeError as exc:
        raise NameFormatError("expected ASCII text") from exc
    label = bytearray()
    ended = False
    for char in rest:
        ended = char == ord(".")
        if ended:
            yield bytes(label)
            label.clear()
        else:
            label.append(_escaped(rest) if char == ord("\\") else char)
    if not ended:
        yield bytes(label)


def _escaped(rest: Iterator[int]) -> int:
    r"""Read what follows a backslash: three decimal digits, or one character taken as it is."""
    first = next(rest, None)
    if first is None:
        raise NameFormatError("expected a character after the backslash")
    if not chr(first).isdigit():
        return first
    digits = bytes((first, next(rest, 0), next(rest, 0)))
    if not digits.isdigit() or int(digits) > 0xFF:
        raise NameFormatError("expected three digits from 000 to 255 after the backslash")
    return int(digits)


def _label_text(label: bytes) -> str:
    return "".join(_char_text(char) for char in label)


def _char_text(char: int) -> str:
    if char in b'.\\"();@$':
        return "\\" + chr(char)
    return chr(char) if 0x20 < char < 0x7F else f"\\{char:03d}"
