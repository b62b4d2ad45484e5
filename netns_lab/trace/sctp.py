"""One SCTP packet (RFC 9260): the INIT that opens an association, by hand where the kernel has no SCTP."""

import struct

_POLYNOMIAL = 0x82F63B78  # CRC32c (RFC 9260, appendix A), its bits reflected
_WINDOW_BYTES, _STREAMS = 65536, 1


def build_init(source_port: int, destination_port: int, tag: int) -> bytes:
    """Build an INIT with `tag` as its initiate tag and first TSN."""
    chunk = struct.pack(">BBHIIHHI", 1, 0, 20, tag, _WINDOW_BYTES, _STREAMS, _STREAMS, tag)
    header = struct.pack(">HHI", source_port, destination_port, 0)
    checksum = struct.pack("<I", crc32c(header + bytes(4) + chunk))
    return header + checksum + chunk


def crc32c(data: bytes) -> int:
    """Return the checksum of a packet whose own checksum field is zero."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
    return value ^ 0xFFFFFFFF
