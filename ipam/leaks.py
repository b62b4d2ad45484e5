"""Allocations whose pod is gone: a runtime that died, or a machine that started anew, sends no DEL."""

import os
from collections.abc import Callable, Iterable

from ipam.model import Allocation


def find_leaks(
    allocations: Iterable[Allocation], node: str, before_s: int, exists: Callable[[str], bool]
) -> list[Allocation]:
    """Return the node's allocations whose network namespace is gone.

    Those from after `before_s` (Unix time) are left alone, and those without a namespace's path: of them
    nothing can be known.
    """
    return [
        item
        for item in allocations
        if item.node == node and item.netns and item.assigned_at_s <= before_s and not exists(item.netns)
    ]


def netns_exists(path: str) -> bool:
    """Say whether a network namespace's path is there; True when that can't be found out."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
        # ESRCH: /proc/<pid>/ns/net of a process that has just ended.
        return False
    except OSError:
        return True
    return True
