"""Packets a second on links, out of the kernel's counters (/proc/net/dev, proc(5))."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from nodeplane.datapath import netns
from nodeplane.errors import KernelError

# /proc/net would show the namespace of the process's first thread.
_COUNTERS = Path("/proc/thread-self/net/dev")

Link = tuple[str, str]
"""A place's name and a link's."""


class Count(msgspec.Struct, frozen=True):
    """Packets that a link has received and sent."""

    received: int
    sent: int


class Rate(msgspec.Struct, frozen=True):
    """Packets a second."""

    received: float
    sent: float


def parse_counters(text: str) -> dict[str, Count]:
    """Read counters by link."""
    found = {}
    for line in text.splitlines()[2:]:
        name, colon, rest = line.partition(":")
        fields = rest.split()
        if colon and len(fields) >= 10:
            found[name.strip()] = Count(int(fields[1]), int(fields[9]))
    return found


def rates(before: Mapping[Link, Count], after: Mapping[Link, Count], seconds: float) -> dict[Link, Rate]:
    """Say how many packets a second there were between two readings; a link that began anew has none."""
    found = {}
    for link, count in after.items():
        old = before.get(link)
        if old is None or seconds <= 0 or old.received > count.received or old.sent > count.sent:
            continue
        found[link] = Rate((count.received - old.received) / seconds, (count.sent - old.sent) / seconds)
    return found


def read_counters(places: Mapping[str, str]) -> dict[Link, Count]:
    """Read the counters of places, given with their namespaces; one that is not there has none."""
    found: dict[Link, Count] = {}
    for place, namespace in places.items():
        try:
            with netns.inside(netns.NETNS_DIR / namespace):
                text = _COUNTERS.read_text()
        except KernelError:
            continue
        found |= {(place, link): count for link, count in parse_counters(text).items() if link != "lo"}
    return found
