"""Which nodes say the same address of themselves: an operator is told, once for each.

A Node that came anew under another name (the old one is still there) is the usual case: routes to both lead
to the same machine, which is right. One that says an address of this very node is wrong, and gets no routes
by it (`cni.routing.desired`).
"""

from collections import defaultdict
from collections.abc import Iterable

from nodeplane.datapath.rtnl import Address


class Claims:
    """Who says which address; a change costs what it changes."""

    def __init__(self) -> None:
        self._of_node: dict[str, frozenset[Address]] = {}
        self._nodes: defaultdict[Address, set[str]] = defaultdict(set)

    def take(self, name: str, addresses: Iterable[Address]) -> list[str]:
        """Take in what a node says; return a line for each address that it newly shares with others."""
        before, now = self._of_node.get(name, frozenset()), frozenset(addresses)
        for address in before - now:
            self._nodes[address].discard(name)
            if not self._nodes[address]:
                del self._nodes[address]
        for address in now - before:
            self._nodes[address].add(name)
        if now:
            self._of_node[name] = now
        else:
            self._of_node.pop(name, None)
        shared = [address for address in now - before if len(self._nodes[address]) > 1]
        return [
            f"{address} is of {', '.join(sorted(self._nodes[address]))}"
            for address in sorted(shared, key=str)
        ]
