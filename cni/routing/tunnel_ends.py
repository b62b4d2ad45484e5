"""The nodes' own addresses in pools, their ends of the tunnels, as the datastore tells of them.

A node may have several of a family for a while, when pools come and go; its link has one
(`cni.routing.tunnels.choose_tunnel`).
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Set

from cni.routing.tunnels import choose_tunnel
from cni.routing.vxlan import FAMILIES
from ipam.model import Address, Pool
from ipam.watch import Tunnel

_Link = tuple[str, int]
"""A node, and the family of its link."""


class TunnelEnds:
    """All nodes' addresses; a change costs what it changes."""

    def __init__(self) -> None:
        self._tunnels: dict[str, Tunnel] = {}
        self._of_link: defaultdict[_Link, dict[str, Tunnel]] = defaultdict(dict)

    @property
    def keys(self) -> Set[str]:
        """The keys of all addresses in the store."""
        return self._tunnels.keys()

    def held(self, node: str) -> list[Tunnel]:
        """Return what a node has."""
        return [item for version in FAMILIES for item in self._of_link.get((node, version), {}).values()]

    def take(
        self, changed: Mapping[str, Tunnel | None], pools: Collection[Pool]
    ) -> Iterator[tuple[str, int, Address | None]]:
        """Take in what has changed; yield each node and family concerned, and the link's address now."""
        touched: set[_Link] = set()
        for key, tunnel in changed.items():
            old = self._tunnels.pop(key, None)
            if old is not None:
                touched.add(_link_of(old))
                del self._of_link[_link_of(old)][key]
            if tunnel is not None:
                touched.add(_link_of(tunnel))
                self._tunnels[key] = self._of_link[_link_of(tunnel)][key] = tunnel
        yield from self._choose(touched, pools)

    def choose_again(self, pools: Collection[Pool]) -> Iterator[tuple[str, int, Address | None]]:
        """Yield each node and family, and its link's address now that the pools are others."""
        yield from self._choose(set(self._of_link), pools)

    def _choose(
        self, links: Set[_Link], pools: Collection[Pool]
    ) -> Iterator[tuple[str, int, Address | None]]:
        for link in links:
            held = self._of_link[link]
            if not held:
                del self._of_link[link]
            yield *link, choose_tunnel(pools, held.values())


def _link_of(tunnel: Tunnel) -> _Link:
    return tunnel.node, tunnel.address.version
