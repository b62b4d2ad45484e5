"""Packets of several links in one file, in the pcapng format (draft-ietf-opsawg-pcapng)."""

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from netns_lab.look.capturing import Captured, Link

_SECTION = 0x0A0D0D0A
_INTERFACE = 0x00000001
_PACKET = 0x00000006
_BYTE_ORDER = 0x1A2B3C4D
_ETHERNET = 1

# Options: an interface's name, and that its times are in units of 10^-9 s.
_IF_NAME = 2
_IF_TSRESOL = 9
_END_OF_OPTIONS = struct.pack("=HH", 0, 0)


class PcapngWriter:
    """Writes a file that begins with its links; Wireshark shows each packet's."""

    def __init__(self, target: BinaryIO, links: "Sequence[Link]") -> None:
        self._target = target
        self._target.write(_block(_SECTION, struct.pack("=IHHq", _BYTE_ORDER, 1, 0, -1)))
        for link in links:
            options = _option(_IF_NAME, link.name.encode()) + _option(_IF_TSRESOL, bytes([9]))
            self._target.write(
                _block(_INTERFACE, struct.pack("=HHI", _ETHERNET, 0, 0) + options + _END_OF_OPTIONS)
            )
        self._target.flush()

    def write(self, packet: "Captured") -> None:
        """Write a packet; a reader of the growing file sees it at once."""
        high, low = packet.time_ns >> 32, packet.time_ns & 0xFFFFFFFF
        head = struct.pack("=5I", packet.link, high, low, len(packet.data), packet.length)
        self._target.write(_block(_PACKET, head + _padded(packet.data)))
        self._target.flush()


def _block(kind: int, body: bytes) -> bytes:
    # Its length stands before and behind it.
    length = struct.pack("=I", len(body) + 12)
    return struct.pack("=I", kind) + length + body + length


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("=HH", code, len(value)) + _padded(value)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
