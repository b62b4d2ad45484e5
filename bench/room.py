"""Room in the kernel that nodes share in one machine, and that machines of their own would not."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NEIGHBOURS = Path("/proc/sys/net/ipv4/neigh/default/gc_thresh3")
"""arp(7): the most neighbours of all namespaces together."""

INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")
"""inotify(7): how often a user may watch files."""


@contextmanager
def room(setting: Path, needed: int) -> Iterator[None]:
    """Let there be so many of something, for a while."""
    before = int(setting.read_text())
    if before >= needed:
        yield
        return
    setting.write_text(str(needed))
    try:
        yield
    finally:
        setting.write_text(str(before))
