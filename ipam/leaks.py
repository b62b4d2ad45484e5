"""Allocations whose pod is gone: a runtime that died, or a machine that started anew, sends no DEL.

A namespace that is gone is the proof; where a pod's address is still in use can only be seen on its node. An
allocation of a node that the cluster has no more is gone with it, unless its namespace is seen here: then the
node is this one under another name. Nothing is freed on one look: see `ipam.collection`.
"""

import os
from collections.abc import Callable, Collection, Iterable

import msgspec

from ipam.boot import read_boot_id, read_machine_id
from ipam.model import Allocation


class Leak(msgspec.Struct, frozen=True):
    """An allocation that nobody uses, and why; `is_certain` when no wait can bring its pod back."""

    allocation: Allocation
    reason: str
    is_certain: bool = False


class Here(msgspec.Struct, frozen=True):
    """Where we look from: our node's name, this boot and this machine."""

    node: str
    boot_id: str = ""
    machine_id: str = ""

    def sees(self, item: Allocation) -> bool:
        """Say whether an allocation's namespace would be seen here: it is our node's, or of our boot."""
        return item.node == self.node or self.is_of_boot(item)

    def is_of_boot(self, item: Allocation) -> bool:
        """Say whether an allocation was made in this boot of this machine, whatever its node's name."""
        return bool(self.boot_id) and item.boot_id == self.boot_id

    def is_of_earlier_boot(self, item: Allocation) -> bool:
        """Say whether it was surely made on this machine before it started anew.

        Another boot alone may be another machine's that has our name.
        """
        is_ours = bool(self.machine_id) and item.machine_id == self.machine_id
        return is_ours and bool(self.boot_id and item.boot_id) and item.boot_id != self.boot_id


def look_from(node: str) -> Here:
    """Return where this process looks from."""
    return Here(node, read_boot_id(), read_machine_id())


def find_leaks(
    allocations: Iterable[Allocation],
    here: Here,
    exists: Callable[[str], bool],
    *,
    nodes: Collection[str] | None = None,
) -> list[Leak]:
    """Return what is left behind on a node, and of nodes that are gone.

    Args:
        allocations: What to look at.
        here: Where we are, whose namespaces can be seen.
        exists: Says whether a namespace's path is there.
        nodes: All nodes of the cluster; None when they are not known, so that none counts as gone.
    """
    found = []
    for item in allocations:
        if item.node == here.node:
            if item.use == "pod" and item.netns and not exists(item.netns):
                reason = f"its network namespace {item.netns} is gone"
                found.append(Leak(item, reason, here.is_of_earlier_boot(item)))
        elif nodes is not None and item.node not in nodes and not is_alive(item, here, exists):
            found.append(Leak(item, f"its node {item.node} is gone"))
    return found


def is_alive(item: Allocation, here: Here, exists: Callable[[str], bool]) -> bool:
    """Say whether an allocation's namespace is seen here; what can't be seen from here is not."""
    return here.sees(item) and item.use == "pod" and bool(item.netns) and exists(item.netns)


def find_misnamed(
    allocations: Iterable[Allocation],
    here: Here,
    exists: Callable[[str], bool],
    nodes: Collection[str] | None,
) -> list[str]:
    """Return the names, none of them a node's, under which pods of this very machine have addresses."""
    if nodes is None:
        return []
    return sorted(
        {
            item.node
            for item in allocations
            if item.node != here.node and item.node not in nodes and is_alive(item, here, exists)
        }
    )


def find_blind(
    allocations: Iterable[Allocation], here: Here, exists: Callable[[str], bool]
) -> tuple[str, ...]:
    """Return the directories to mount when no namespace of this boot can be seen, nor any other there.

    One that is gone is a leak; all of them, from an empty directory, is more likely a container that does not
    have the host's.
    """
    paths = [
        item.netns
        for item in allocations
        if item.node == here.node and here.is_of_boot(item) and item.use == "pod" and item.netns
    ]
    directories = sorted({os.path.dirname(path) for path in paths})
    if any(exists(path) for path in paths) or any(map(_has_entries, directories)):
        return ()
    return tuple(directories)


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


def _has_entries(directory: str) -> bool:
    try:
        with os.scandir(directory) as entries:
            return any(True for _ in entries)
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
        return False
    except OSError:
        return True
