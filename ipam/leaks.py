"""Allocations whose pod is gone: a runtime that died, or a machine that started anew, sends no DEL.

A namespace that is gone is the proof; where a pod's address is still in use can only be seen on its node. An
allocation of a node that the cluster has no more is gone with it. Nothing is freed on one look: see
`ipam.collection`.
"""

import os
from collections.abc import Callable, Collection, Iterable

import msgspec

from ipam.model import Allocation


class Leak(msgspec.Struct, frozen=True):
    """An allocation that nobody uses, and why; `is_certain` when no wait can bring its pod back."""

    allocation: Allocation
    reason: str
    is_certain: bool = False


def find_leaks(
    allocations: Iterable[Allocation],
    node: str,
    exists: Callable[[str], bool],
    *,
    boot_id: str = "",
    nodes: Collection[str] | None = None,
) -> list[Leak]:
    """Return what is left behind on a node, and of nodes that are gone.

    Args:
        allocations: What to look at.
        node: The node that we are on, whose namespaces can be seen.
        exists: Says whether a namespace's path is there.
        boot_id: This boot's; no namespace of an earlier one is left, so that its allocations are certain.
        nodes: All nodes of the cluster; None when they are not known, so that none counts as gone.
    """
    found = []
    for item in allocations:
        if item.node == node and item.use == "pod" and item.netns and not exists(item.netns):
            is_earlier = bool(boot_id and item.boot_id and item.boot_id != boot_id)
            found.append(Leak(item, f"its network namespace {item.netns} is gone", is_earlier))
        elif nodes is not None and item.node not in nodes and item.node != node:
            found.append(Leak(item, f"its node {item.node} is gone"))
    return found


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
