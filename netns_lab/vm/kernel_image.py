"""The kernel itself out of the file that a boot loader takes (kernel Documentation/arch/x86/boot.rst).

QEMU starts an unpacked kernel as well (PVH). Unpacking it here, once, saves the emulated machine a third
of the work of every start.
"""

import gzip
import lzma
import struct
from collections.abc import Callable

from nodeplane.errors import SetupError

_MAGIC_AT, _MAGIC = 0x202, b"HdrS"
_SETUP_SECTORS_AT = 0x1F1
_PAYLOAD_AT = 0x248
_SECTOR_BYTES = 512
_ELF = b"\x7fELF"

_PACKERS: dict[bytes, Callable[[bytes], bytes]] = {
    # Not `lzma.decompress`: behind it stand four bytes with the unpacked size.
    b"\xfd7zXZ": lambda data: lzma.LZMADecompressor().decompress(data),
    b"\x1f\x8b": gzip.decompress,
}


def unpack_kernel(image: bytes) -> bytes:
    """Return the ELF file that is packed in a bzImage.

    Raises:
        SetupError: it is none, or packed in a way that is not known here.
    """
    if image[_MAGIC_AT : _MAGIC_AT + len(_MAGIC)] != _MAGIC:
        raise SetupError("expected a Linux kernel for x86 with a boot header")
    # "The offset from the beginning of the protected-mode code", which is behind the setup sectors.
    start = (image[_SETUP_SECTORS_AT] + 1) * _SECTOR_BYTES
    offset, length = struct.unpack_from("<II", image, _PAYLOAD_AT)
    payload = image[start + offset : start + offset + length]
    unpack = next((unpack for magic, unpack in _PACKERS.items() if payload.startswith(magic)), None)
    kernel = b"" if unpack is None else unpack(payload)
    if not kernel.startswith(_ELF):
        raise SetupError(
            f"expected a kernel that is packed with xz or gzip, its payload begins with {payload[:6]!r}"
        )
    return kernel
