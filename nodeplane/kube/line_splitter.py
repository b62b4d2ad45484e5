"""A watch's bytes as lines: an event is a line, whatever pieces the network brings it in."""

from nodeplane.errors import ProtocolError

# Far above the largest object: etcd takes 1.5 MiB in a request, managed fields and escapes come on top.
_MAX_LINE_BYTES = 32 * 1024 * 1024


class LineSplitter:
    """Cuts a stream of bytes into lines; a line may come in any number of pieces."""

    def __init__(self, max_line_bytes: int = _MAX_LINE_BYTES) -> None:
        self._max_line_bytes = max_line_bytes
        self._pieces: list[bytes] = []
        self._size = 0

    @property
    def is_inside_line(self) -> bool:
        """Whether the bytes so far end in the middle of a line."""
        return self._size > 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take bytes in and return the lines that they complete; empty ones are left out.

        Raises:
            ProtocolError: a line is longer than any object can be.
        """
        *lines, rest = chunk.split(b"\n")
        if lines:
            lines[0] = b"".join((*self._pieces, lines[0]))
            self._pieces.clear()
            self._size = 0
        if rest:
            self._pieces.append(rest)
            self._size += len(rest)
        if self._size > self._max_line_bytes:
            raise ProtocolError(f"expected lines of at most {self._max_line_bytes} bytes")
        return [line for line in lines if line and not line.isspace()]
