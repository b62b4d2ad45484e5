"""A chunked body's bytes without their framing (RFC 9112 section 7.1), up to the chunk that ends it.

An API server sends each event of a watch as a chunk of its own. Whoever parses them one by one in Python pays
for a few method calls with each; here a buffer full of chunks is one call.
"""

from nodeplane.errors import ProtocolError

# A size in hexadecimal, and extensions that nobody uses.
_MAX_HEAD_BYTES = 1024
_HEX_DIGITS = b"0123456789abcdefABCDEF"


class ChunkSplitter:
    """Takes the framing off; `end` holds the bytes from the last chunk on, once it has come."""

    def __init__(self) -> None:
        self.end: bytes | None = None
        # What has come of a chunk's head.
        self._head = b""
        # How many bytes of the chunk are still to come.
        self._left = 0
        self._is_first = True

    def feed(self, piece: bytes) -> bytes:
        """Take bytes in and return what they hold of the body; none may follow once `end` is set.

        Raises:
            ProtocolError: they are not chunked.
        """
        if self._head:
            piece, self._head = self._head + piece, b""
        body: list[bytes] = []
        at, stop = 0, len(piece)
        while at < stop:
            if self._left:
                body.append(piece[at : at + self._left])
                at += len(body[-1])
                self._left -= len(body[-1])
                continue
            # A chunk ends with CRLF, which is read with the head of the next one.
            start = at if self._is_first else at + 2
            line_end = piece.find(b"\r\n", start)
            if line_end < 0:
                self._head = piece[at:]
                if len(self._head) > _MAX_HEAD_BYTES:
                    raise ProtocolError(f"expected the size of a chunk, got {self._head[:20]!r}")
                break
            if not self._is_first and not piece.startswith(b"\r\n", at):
                raise ProtocolError(f"expected the end of a chunk, got {piece[at : at + 20]!r}")
            size = _decode_size(piece[start:line_end])
            if size == 0:
                self.end = piece[start:]
                break
            self._is_first = False
            self._left = size
            at = line_end + 2
        return b"".join(body)


def _decode_size(head: bytes) -> int:
    digits = head.partition(b";")[0].strip(b" \t")
    if not digits or digits.strip(_HEX_DIGITS):
        raise ProtocolError(f"expected the size of a chunk, got {digits[:20]!r}")
    return int(digits, 16)
