"""The kernel out of a boot loader's file."""

import gzip
import lzma
import struct

import pytest

from netns_lab.vm.kernel_image import unpack_kernel
from nodeplane.errors import SetupError

KERNEL = b"\x7fELF" + bytes(range(256)) * 9
SIZE = struct.pack("<I", len(KERNEL))


def image(payload: bytes, *, magic: bytes = b"HdrS", setup_sectors: int = 3) -> bytes:
    """Return a file with a boot sector, setup sectors, code and the payload."""
    head = bytearray((setup_sectors + 1) * 512)
    head[0x1F1] = setup_sectors
    head[0x202:0x206] = magic
    struct.pack_into("<II", head, 0x248, 64, len(payload))
    return bytes(head) + bytes(64) + payload + b"behind"


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(lzma.compress(KERNEL) + SIZE, id="xz"),
        pytest.param(gzip.compress(KERNEL)[:-4] + SIZE, id="gzip, whose own last field is the size"),
    ],
)
@pytest.mark.parametrize("setup_sectors", [1, 27])
def test_unpack(payload: bytes, setup_sectors: int) -> None:
    assert unpack_kernel(image(payload, setup_sectors=setup_sectors)) == KERNEL


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(b"", "boot header", id="empty"),
        pytest.param(image(b"x", magic=b"HdrT"), "boot header", id="no kernel"),
        pytest.param(image(b"\x02\x21L\x18"), "packed with xz or gzip", id="another packer"),
        pytest.param(image(lzma.compress(b"no kernel")), "packed with xz or gzip", id="something else in it"),
    ],
)
def test_what_is_no_kernel(data: bytes, words: str) -> None:
    with pytest.raises(SetupError, match=words):
        unpack_kernel(data)
