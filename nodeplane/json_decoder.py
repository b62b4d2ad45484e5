"""JSON decoded into our types in any thread: each decoder is built once, by one thread at a time.

For msgspec a Struct is known, but not whole, until the types of all its fields have been looked at. A thread
that decodes it for the first time in that moment reads what is not there yet, and the process ends with
SIGSEGV (msgspec 0.22, src/msgspec/_core.c: StructInfo_Convert notes it before it is whole, since a type may
contain itself). So whatever may be decoded in several threads is decoded by this.
"""

import threading
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_lock = threading.Lock()
_decoders: dict[tuple[Any, bool], "msgspec.json.Decoder[Any]"] = {}


def decode_json(data: bytes, kind: type[T], *, strict: bool = True) -> T:
    """Decode as `msgspec.json.decode` does.

    Raises:
        msgspec.DecodeError: it is not JSON, or (`msgspec.ValidationError`) not of that kind.
        UnicodeDecodeError: it is not UTF-8.
    """
    decoder = _decoders.get((kind, strict))
    if decoder is None:
        with _lock:
            decoder = _decoders[kind, strict] = msgspec.json.Decoder(kind, strict=strict)
    found: T = decoder.decode(data)
    return found
