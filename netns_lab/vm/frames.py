"""What the host and the guest's agent say to one another: a kind, a length, and so many bytes.

Standard input is sent when it is asked for, one piece each time, so neither side ever holds more than one,
and a command that reads nothing takes no more from the caller. The agent imports this: the standard library
only.
"""

import struct

_HEAD = struct.Struct("!cI")

PIECE_BYTES = 32 * 1024
"""The largest piece of a stream in one frame; drivers/char/virtio_console.c takes no more in one write."""

REQUEST = b"R"
"""To the guest: what to run, see `encode_request`."""
STDIN = b"I"
"""To the guest: a piece of standard input; empty, its end."""
SIGNAL = b"S"
"""To the guest: a signal's number, for the command."""
SIZE = b"W"
"""To the guest: the terminal's lines and columns."""

READY = b"B"
"""From the guest: it has booted, and asks for the request."""
MORE = b"M"
"""From the guest: there is room for a piece of standard input."""
STDOUT = b"1"
"""From the guest: a piece of standard output."""
STDERR = b"2"
"""From the guest: a piece of standard error."""
FAILED = b"F"
"""From the guest: why the command could not be started, and with which exit code that ends."""
EXIT = b"X"
"""From the guest: the command's exit code; the last frame."""

Frame = tuple[bytes, bytes]


def encode_frame(kind: bytes, payload: bytes = b"") -> bytes:
    """Return the bytes of one frame."""
    return _HEAD.pack(kind, len(payload)) + payload


class FrameDecoder:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Frame]:
        """Take the next bytes and return the frames that they complete."""
        self._rest += data
        frames: list[Frame] = []
        while len(self._rest) >= _HEAD.size:
            kind, length = _HEAD.unpack_from(self._rest)
            end = _HEAD.size + length
            if len(self._rest) < end:
                break
            frames.append((kind, self._rest[_HEAD.size : end]))
            self._rest = self._rest[end:]
        return frames


def encode_size(lines: int, columns: int) -> bytes:
    """Return the payload of a terminal's size."""
    return struct.pack("!HH", lines, columns)


def decode_size(payload: bytes) -> tuple[int, int]:
    """Return a terminal's lines and columns."""
    lines, columns = struct.unpack("!HH", payload)
    return lines, columns


class Request:
    """What to run: words, environment (`NAME=value`), kernel modules, the size of a terminal if on one."""

    def __init__(
        self,
        directory: bytes,
        words: list[bytes],
        environment: list[bytes],
        modules: list[bytes],
        size: tuple[int, int] | None = None,
    ) -> None:
        self.directory = directory
        self.words = words
        self.environment = environment
        self.modules = modules
        self.size = size


def encode_request(request: Request) -> bytes:
    """Return the payload of a request; no string of an execve(2) holds a zero byte."""
    size = [] if request.size is None else [encode_size(*request.size).hex().encode()]
    lists = ([request.directory], request.words, request.environment, request.modules, size)
    # With a character before it no string is empty, so two zero bytes are the end of a list.
    return b"\0\0".join(b"\0".join(b"=" + each for each in strings) for strings in lists)


def decode_request(payload: bytes) -> Request:
    """Return the request."""
    (directory,), words, environment, modules, size = (
        [each[1:] for each in strings.split(b"\0")] if strings else [] for strings in payload.split(b"\0\0")
    )
    decoded = decode_size(bytes.fromhex(size[0].decode())) if size else None
    return Request(directory, words, environment, modules, decoded)
