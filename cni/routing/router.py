"""What the agent knows of the cluster and of its own kernel, and the sync that it leads to.

    nodes, blocks, tunnels, pools ──► desired (`cni.routing.desired`) ──► kernel (`cni.routing.kernel`)
    what others do to the kernel ───► everything is read again ──────────┘

A change of a block is written by itself. Before nodes and blocks are complete nothing is: what is missing
would be taken for what is gone.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping

from cni.edge import Calls
from cni.routing.claims import Claims
from cni.routing.desired import Changed, Desired
from cni.routing.forwarding import ensure_forwarding
from cni.routing.kernel import KernelState, Step, StepReport
from cni.routing.link_grace import LinkGrace
from cni.routing.links import Own, read_own
from cni.routing.ownership import Watched, concerns_agent
from cni.routing.peers import Peer, read_peer
from cni.routing.sync_log import SyncLog
from cni.routing.tunnel_ends import TunnelEnds
from cni.routing.tunnel_guard import Guard
from cni.routing.tunnels import TUNNELLED, TunnelPlan, plan_tunnels
from cni.routing.vxlan import LINK_NAMES, VxlanConfig, VxlanLink, build_link
from ipam.model import Pool
from ipam.watch import LedgerNews
from nodeplane.datapath.rtnl import Address, Network, Route, Rtnl
from nodeplane.datapath.rtnl.monitor import Event
from nodeplane.datapath.sysctl import Sysctls
from nodeplane.errors import NodeplaneError
from nodeplane.kube.objects import Node
from nodeplane.kube.source import Batch
from nodeplane.reconcile.runner import Runner

log = logging.getLogger(__name__)

# Bounds a fight with somebody who deletes our routes as fast as we write them. A change after a quiet moment
# waits for nothing.
_MIN_INTERVAL_S = 0.02
_RESYNC_INTERVAL_S = 600.0


class Router:
    """Keeps one node's routes.

    Args:
        node: This node's name.
        kernel: Runs steps on rtnetlink.
        edge: What the agent has in the kernel, for `kernel`'s thread, and its netlink port.
        sysctls: The node's settings.
        config: Of the VXLAN links.

    Attributes:
        node: This node's name.
        runner: Runs the syncs.
        pools: All pools.
        desired: All that must be there.
        own: This node as the kernel has it.
        labels: This node's labels.
        is_in_cluster: Whether the cluster has this node, as far as nodes are known.
        written_s: When each route was written, in seconds since the epoch; of those that this agent wrote.
        on_synced: Called after each sync that went through, with its duration in seconds.
        on_failed: Called after each that failed.
        on_announced: Called with what this node announces by BGP, at first and when it changes.
        on_tunnels: Called after each sync with what there is to do about the node's own addresses.
        on_tunnel_links: Called with the indexes of our VXLAN links, each time they are read.
    """

    def __init__(
        self,
        node: str,
        kernel: Calls[Rtnl],
        edge: tuple[KernelState, int],
        sysctls: Sysctls,
        config: VxlanConfig,
    ) -> None:
        self.runner = Runner(self._sync, min_interval_s=_MIN_INTERVAL_S, resync_interval_s=_RESYNC_INTERVAL_S)
        self.pools: tuple[Pool, ...] = ()
        self.desired = Desired(node)
        self.own = Own()
        self.labels: Mapping[str, str] = {}
        self.is_in_cluster = True
        self.written_s: dict[Network, float] = {}
        self.on_synced: Callable[[StepReport, float], None] = lambda _report, _duration_s: None
        self.on_failed: Callable[[], None] = lambda: None
        self.on_announced: Callable[[frozenset[Network]], None] = lambda _networks: None
        self.on_tunnels: Callable[[TunnelPlan], None] = lambda _plan: None
        self.on_tunnel_links: Callable[[Iterable[int]], None] = lambda _indexes: None
        self.node = node
        self._kernel = kernel
        self._state, self._port = edge
        self._sysctls = sysctls
        self._config = config
        self._names: set[str] | None = None
        self._waiting: dict[str, Node | None] = {}
        self._claims = Claims()
        self._has_blocks = False
        self._peer = Peer()
        self._tunnels = TunnelEnds()
        self._links: tuple[VxlanLink, ...] = ()
        self._grace = LinkGrace(self.look_again)
        self._leftovers: Mapping[Network, Route] = {}
        self._sync_log = SyncLog()
        self._announced: frozenset[Network] | None = None

    @property
    def has_blocks(self) -> bool:
        """Whether the blocks have been read."""
        return self._has_blocks

    @property
    def node_names(self) -> frozenset[str] | None:
        """All nodes by name; None before they are known."""
        return None if self._names is None else frozenset(self._names)

    @property
    def is_complete(self) -> bool:
        """Whether nodes and blocks are known."""
        return self._names is not None and self._has_blocks

    def take_nodes(self, batch: Batch) -> None:
        """Take the snapshot of all nodes in, then changes.

        A list without this node says nothing about others (a wrong --node-name, a Node that is not there yet,
        or that somebody deleted): what there is stays until it is in there.
        """
        self._waiting |= {
            change.key.name: change.new if isinstance(change.new, Node) else None
            for change in batch
            if change.key.kind is Node
        }
        names = (self._names or set()) | self._waiting.keys()
        names -= {name for name, node in self._waiting.items() if node is None}
        self.is_in_cluster = self.node in names
        if not self.is_in_cluster:
            return
        is_own = self._names is None
        for name, node in self._waiting.items():
            peer = None if node is None else read_peer(node)
            if node is not None and name == self.node:
                self.labels = node.labels
                is_own = is_own or peer != self._peer
                self._peer = peer or Peer()
            self.desired.set_peer(name, peer)
            for line in self._claims.take(name, () if peer is None else peer.addresses):
                log.warning("nodes say one InternalIP, each ought to have its own error=%r", line)
        self._waiting = {}
        self._names = names
        if is_own or self.desired.has_changed:
            self._trigger(full=is_own)

    def be_alone(self) -> None:
        """Do without other nodes: nobody tells of any."""
        self._names = set()
        self._trigger(full=True)

    def take_news(self, news: LedgerNews) -> None:
        """Take in what has changed in the datastore."""
        if news.is_whole:
            there = news.unreadable.keys()
            for key in self.desired.block_keys() - news.blocks.keys() - there:
                self.desired.set_block(key, None)
            gone = self._tunnels.keys - news.tunnels.keys() - there
            self._set_tunnels(self._tunnels.take(dict.fromkeys(gone), self.pools))
        if news.pools is not None:
            self.pools = news.pools
            self.desired.set_modes({pool.name: None if pool.on_link else pool.mode for pool in self.pools})
            self._set_tunnels(self._tunnels.choose_again(self.pools))
        self._set_tunnels(self._tunnels.take(news.tunnels, self.pools))
        for reason in news.unreadable.values():
            log.error("unreadable record, what it said before stays in force error=%r", reason)
        for key, block in news.blocks.items():
            self.desired.set_block(key, block)
        # Each address that comes or goes is news, and most are no change of a route. A sync for nothing would
        # make the next one wait.
        is_first, self._has_blocks = not self._has_blocks, True
        if is_first or news.pools is not None or news.tunnels or self.desired.has_changed:
            self._trigger(full=False)

    def take_event(self, event: Event) -> bool:
        """Take the kernel's word that something changed; say whether it matters here."""
        watched = Watched(
            self.desired.routes,
            self._leftovers,
            self.desired.entries,
            self.own.vxlan_links,
            self.own.uplinks,
            self._port,
            self.own.facts,
        )
        is_heeded = concerns_agent(event, watched)
        if is_heeded:
            self._trigger(full=True)
        return is_heeded

    def plan_tunnels(self) -> TunnelPlan:
        """Say what is to be done about this node's own addresses."""
        linked = [version for version, name in LINK_NAMES.items() if name in self.own.vxlan_links.values()]
        held = self._tunnels.held(self.node)
        return plan_tunnels(self._routed(), held, self.own.underlays, linked)

    def _routed(self) -> list[Pool]:
        return [pool for pool in self.pools if not pool.on_link]

    def _set_tunnels(self, found: Iterable[tuple[str, int, Address | None]]) -> None:
        for node, version, address in found:
            self.desired.set_tunnel(node, version, address)

    def _trigger(self, *, full: bool) -> None:
        if self.is_complete:
            self.runner.trigger(full=full)

    async def _sync(self, full: bool) -> None:
        started = time.perf_counter()
        try:
            report = await self._write(full)
        except NodeplaneError:
            self.on_failed()
            raise
        duration_s = time.perf_counter() - started
        wanted = len(self.desired.routes)
        self._sync_log.take(report, wanted, full=full, duration_ms=duration_s * 1000)
        self.on_synced(report, duration_s)
        announced = frozenset(self.desired.announced)
        if announced != self._announced:
            self._announced = announced
            self.on_announced(announced)
        self.on_tunnels(self.plan_tunnels())

    async def _write(self, full: bool) -> StepReport:
        if full:
            await self._read_own()
        links, kept = self._choose_links()
        versions = {link.vxlan.local.version for link in links} | kept
        full = full or links != self._links or not self._present() <= versions
        self.desired.set_own(self.own.subnets, frozenset(versions), self.own.subnet_links)
        changed = self.desired.take_changed()
        guard = None
        if versions:
            guard = Guard(self._config.port, self._config.vni, self.desired.others, self.pools)
        step = self._build_step(None if full else changed, links, kept, guard)
        report = await self._kernel(lambda _: self._state.apply(step))
        self._links, self._leftovers = links, report.leftovers
        now_s = time.time()
        self.written_s.update((network, now_s) for network in report.written)
        for network in changed.destinations:
            if network not in self.desired.routes and network not in self._leftovers:
                self.written_s.pop(network, None)
        if report.links:
            # What they are now.
            await self._read_own()
        return report

    async def _read_own(self) -> None:
        peer, has_ipv6 = self._peer, any(pool.network.version == 6 for pool in self.pools)

        def read(rtnl: Rtnl) -> Own:
            ensure_forwarding(self._sysctls, rtnl, has_ipv6=has_ipv6)
            return read_own(rtnl, peer)

        self.own = await self._kernel(read)
        self.on_tunnel_links(self.own.vxlan_links)

    def _build_step(
        self,
        changed: Changed | None,
        links: tuple[VxlanLink, ...],
        kept: frozenset[int],
        guard: Guard | None,
    ) -> Step:
        desired = self.desired
        if changed is None:
            # Copies: news come in while the kernel is written.
            routes, entries = dict(desired.routes), dict(desired.entries)
            return Step(routes, frozenset(desired.held), entries, links, kept, guard)
        return Step(
            {key: desired.routes[key] for key in changed.destinations if key in desired.routes},
            changed.destinations & desired.held,
            {key: desired.entries[key] for key in changed.entries if key in desired.entries},
            guard=guard,
            changed=changed,
        )

    def _choose_links(self) -> tuple[tuple[VxlanLink, ...], frozenset[int]]:
        """Return the VXLAN links that are wanted, and the families of others that stay for a while."""
        links = []
        for version in sorted({pool.network.version for pool in self._routed() if pool.mode in TUNNELLED}):
            underlay, tunnel = self.own.underlays.get(version), self.desired.tunnel(self.node, version)
            if underlay is not None and tunnel is not None:
                links.append(build_link(self.node, self._config, *underlay, tunnel))
        wanted = {link.vxlan.local.version for link in links}
        left = {route.link for route in self._leftovers.values()}
        led_to = [version for version, name in LINK_NAMES.items() if name in left]
        return tuple(links), self._grace.keep(self._present() - wanted, led_to)

    def _present(self) -> set[int]:
        return {version for version, name in LINK_NAMES.items() if name in self.own.vxlan_links.values()}

    def look_again(self) -> None:
        """Read all that there is, and bring it in line."""
        self._trigger(full=True)
