"""How the kernel finds a file (path_resolution(7)): which entry of which directory, link by link.

Whoever wants to know that a path leads elsewhere has to watch these entries: the links themselves, and what
the last of them leads to.
"""

import os
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

# The kernel follows no more (path_resolution(7)).
_MOST_LINKS = 40


class Lookup(NamedTuple):
    """One step: an entry of a directory, itself named without links; `target` is where a link leads."""

    directory: str
    entry: str
    target: str | None
    is_directory: bool


def lookups(directory: str, path: str) -> Iterator[Lookup]:
    """Yield the steps from a directory along a path, until the file, or the first entry that is not there."""
    parts, links = deque(path.split("/")), 0
    at = "/" if path.startswith("/") else directory
    while parts:
        part = parts.popleft()
        if part in {"", "."}:
            continue
        if part == "..":
            # Without links in it, the name says where it belongs.
            at = os.path.dirname(at)
            continue
        place = os.path.join(at, part)
        try:
            target = os.readlink(place)
        except OSError:
            # No link, or nothing at all.
            step = Lookup(at, part, None, os.path.isdir(place))
            yield step
            if not step.is_directory:
                return
            at = place
            continue
        yield Lookup(at, part, target, False)
        links += 1
        if links > _MOST_LINKS:
            return
        parts.extendleft(reversed(target.split("/")))
        if target.startswith("/"):
            at = "/"
