"""The archive that Linux unpacks into its first file system: the "newc" format of cpio.

Source: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst. Written here because not
every machine has cpio.
"""

import stat
from collections.abc import Iterable

import msgspec

_ALIGNMENT = 4
_TRAILER = "TRAILER!!!"


class Entry(msgspec.Struct, frozen=True):
    """A file, directory, symbolic link or device; the data of a link is where it leads."""

    path: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def directory(path: str) -> Entry:
    """Return a directory."""
    return Entry(path, stat.S_IFDIR | 0o755)


def regular(path: str, data: bytes, mode: int = 0o644) -> Entry:
    """Return a file."""
    return Entry(path, stat.S_IFREG | mode, data)


def character_device(path: str, major: int, minor: int) -> Entry:
    """Return a character device."""
    return Entry(path, stat.S_IFCHR | 0o600, device=(major, minor))


def render_archive(entries: Iterable[Entry]) -> bytes:
    """Return the archive; a directory must come before what is in it."""
    numbered = enumerate([*entries, Entry(_TRAILER, 0)], start=1)
    return b"".join(_render(entry, inode) for inode, entry in numbered)


def _render(entry: Entry, inode: int) -> bytes:
    name = entry.path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    owner, group, changed, device, checksum = 0, 0, 0, (0, 0), 0
    fields = (
        *(inode, entry.mode, owner, group, links, changed, len(entry.data)),
        *(*device, *entry.device, len(name), checksum),
    )
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    return _padded(head) + _padded(entry.data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGNMENT)
