"""All that a node needs to reach the others' pods, kept up to date change by change.

Each block's share is worked out by itself (`cni.routing.ways`), so that the change of a block costs the same
however many there are; the change of a node costs what its blocks do. What must be looked at in the kernel
gathers until it is taken.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec

from cni.routing.peers import Peer
from cni.routing.vxlan import Entry, EntryKey, build_entries, entry_key
from cni.routing.ways import BlockRoutes, Surroundings, build_block_routes
from ipam.model import Block, Mode
from nodeplane.datapath.rtnl import Address, Network, Route

_NOTHING = BlockRoutes()
_NO_LINKS: Mapping[Network, str] = {}


class Changed(msgspec.Struct, frozen=True):
    """Destinations and entries that are, or may be, others than before."""

    destinations: frozenset[Network] = frozenset()
    entries: frozenset[EntryKey] = frozenset()


class Desired:
    """The routes, neighbours and forwarding entries of one node.

    Attributes:
        routes: By destination.
        held: Destinations at which what there is of ours stays; see `BlockRoutes`.
        announced: What this node tells others by BGP.
        entries: Neighbours and forwarding entries, by key.
    """

    def __init__(self, node: str) -> None:
        self.routes: dict[Network, Route] = {}
        self.held: set[Network] = set()
        self.announced: set[Network] = set()
        self.entries: dict[EntryKey, Entry] = {}
        self._node = node
        self._peers: dict[str, Peer] = {}
        self._tunnels: dict[tuple[str, int], Address] = {}
        self._subnets: frozenset[Network] = frozenset()
        self._subnet_links: Mapping[Network, str] = {}
        self._vxlan_versions: frozenset[int] = frozenset()
        self._modes: Mapping[str, Mode | None] = {}
        self._blocks: dict[str, Block] = {}
        self._parts: dict[str, BlockRoutes] = {}
        self._of_node: defaultdict[str, set[str]] = defaultdict(set)
        self._entries_of: dict[tuple[str, int], dict[EntryKey, Entry]] = {}
        self._changed_destinations: set[Network] = set()
        self._changed_entries: set[EntryKey] = set()
        self._has_changed = False
        self._others: frozenset[Address] | None = None

    @property
    def has_changed(self) -> bool:
        """Whether anything may be another thing than at the last `take_changed`."""
        return self._has_changed or bool(self._changed_destinations or self._changed_entries)

    @property
    def others(self) -> frozenset[Address]:
        """The addresses of all other nodes."""
        if self._others is None:
            own = self._peers.get(self._node, Peer()).addresses
            said = (peer.addresses for name, peer in self._peers.items() if name != self._node)
            self._others = frozenset(address for each in said for address in each).difference(own)
        return self._others

    def take_changed(self) -> Changed:
        """Return what may have changed since the last call."""
        changed = Changed(frozenset(self._changed_destinations), frozenset(self._changed_entries))
        self._changed_destinations, self._changed_entries = set(), set()
        self._has_changed = False
        return changed

    def set_peer(self, name: str, peer: Peer | None) -> None:
        """Take in what a node is now; None: it is gone."""
        if self._peers.get(name) == peer:
            return
        if peer is None:
            del self._peers[name]
        else:
            self._peers[name] = peer
        self._others, self._has_changed = None, True
        # What is ours is nobody else's, whoever says so.
        touched = [*self._peers] if name == self._node else [name]
        for version in (4, 6):
            for each in touched:
                self._rebuild_entries(each, version)
        self._rebuild(self._blocks if name == self._node else self._of_node.get(name, ()))

    def set_tunnel(self, name: str, version: int, address: Address | None) -> None:
        """Take in a node's own address in a family's pool; None: it has none."""
        if self._tunnels.get((name, version)) == address:
            return
        if address is None:
            del self._tunnels[name, version]
        else:
            self._tunnels[name, version] = address
        self._rebuild_entries(name, version)
        self._rebuild(self._of_node.get(name, ()))

    def set_own(
        self,
        subnets: frozenset[Network],
        vxlan_versions: frozenset[int],
        subnet_links: Mapping[Network, str] = _NO_LINKS,
    ) -> None:
        """Take in the networks around this node, the families of its VXLAN links, and the networks' links."""
        now = (subnets, vxlan_versions, subnet_links)
        if now == (self._subnets, self._vxlan_versions, self._subnet_links):
            return
        self._subnets, self._vxlan_versions, self._subnet_links = now
        for name, version in self._tunnels:
            self._rebuild_entries(name, version)
        self._rebuild(self._blocks)

    def set_modes(self, modes: Mapping[str, Mode | None]) -> None:
        """Take in the modes of all pools; None is a pool that needs no routes (its pods are on a link)."""
        before, self._modes = self._modes, dict(modes)
        moved = {name for name in before.keys() | modes.keys() if self._mode(name) != _mode_in(before, name)}
        self._rebuild(key for key, block in self._blocks.items() if block.pool in moved)

    def set_block(self, key: str, block: Block | None) -> None:
        """Take in what a block is now; None: it is gone."""
        old = self._blocks.get(key)
        for name in _nodes_of(old):
            self._of_node[name].discard(key)
            if not self._of_node[name]:
                del self._of_node[name]
        if block is None:
            self._blocks.pop(key, None)
        else:
            self._blocks[key] = block
            for name in _nodes_of(block):
                self._of_node[name].add(key)
        # Each address that comes or goes is a change of its block, most of them of none of its routes.
        if old is None or block is None or _shape(old) != _shape(block):
            self._rebuild([key])

    def block_keys(self) -> set[str]:
        """Return the keys of all blocks."""
        return set(self._blocks)

    def tunnel(self, name: str, version: int) -> Address | None:
        """Return a node's own address in a family's pool."""
        return self._tunnels.get((name, version))

    @property
    def blocks(self) -> Iterable[Block]:
        """All blocks, as they are whenever somebody looks."""
        return self._blocks.values()

    def _around(self) -> Surroundings:
        return Surroundings(
            self._node,
            self._peers,
            self._tunnels,
            self._subnets,
            self._vxlan_versions,
            self._subnet_links,
        )

    def _rebuild(self, keys: Iterable[str]) -> None:
        around = self._around()
        for key in list(keys):
            block = self._blocks.get(key)
            mode = None if block is None else self._mode(block.pool)
            part = _NOTHING
            if block is not None and mode is not None:
                part = build_block_routes(around, block, mode)
            self._put_part(key, part)

    def _put_part(self, key: str, part: BlockRoutes) -> None:
        old = self._parts.pop(key, _NOTHING)
        if part != _NOTHING:
            self._parts[key] = part
        if part == old:
            return
        self._has_changed = True
        for destination in old.routes.keys() | old.held:
            self.routes.pop(destination, None)
            self.held.discard(destination)
        self.routes.update(part.routes)
        self.held |= part.held
        self._changed_destinations |= old.routes.keys() | old.held | part.routes.keys() | part.held
        self.announced -= old.announced
        self.announced |= part.announced

    def _rebuild_entries(self, name: str, version: int) -> None:
        old = self._entries_of.pop((name, version), {})
        new: dict[EntryKey, Entry] = {}
        tunnel = self._tunnels.get((name, version))
        underlay = next(iter(self._around().addresses(name, version)), None)
        if name != self._node and underlay and tunnel and version in self._vxlan_versions:
            new = {entry_key(entry): entry for entry in build_entries(name, underlay, tunnel)}
            self._entries_of[name, version] = new
        for key in old:
            self.entries.pop(key, None)
        self.entries.update(new)
        self._changed_entries |= {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}

    def _mode(self, pool: str) -> Mode | None:
        return _mode_in(self._modes, pool)


def _mode_in(modes: Mapping[str, Mode | None], pool: str) -> Mode | None:
    # A block of a pool that nobody knows any more has pods still.
    return modes.get(pool, "direct")


def _nodes_of(block: Block | None) -> set[str]:
    return set() if block is None else {block.node, *(item.node for item in block.lent)}


def _shape(block: Block) -> tuple[object, ...]:
    return block.network, block.pool, block.node, block.lent
