"""`cni-agent run`: this node's routes to the pods of all others, and its addresses' upkeep.

    Nodes (source) ──────┐
    blocks (datastore) ──┼─► desired routes ─► diff ─► rtnetlink ─► ready: plugin installed, Node condition
    kernel's events ─────┘
    every gcInterval ────► what was left behind ─► freed (`cni.collector`)

The routes outlive the agent: it writes none before it knows all nodes and all blocks, and removes none when
it stops.
"""

import asyncio
import logging
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path

from cni import plugin
from cni.agent_config import AgentConfig
from cni.agent_pages import AgentHealth, AgentMetrics, build_health_pages, build_metrics_pages
from cni.call_lock import find_socket, lock_file
from cni.call_metrics import CallMetrics
from cni.call_server import CallServer
from cni.collector import Collector, keep_collecting
from cni.edge import Calls, open_edge
from cni.install import File, keep_installed
from cni.ipam_metrics import IpamMetrics
from cni.node_condition import NodeCondition
from cni.pod_link_keeper import PodLinkKeeper
from cni.route_table import RouteTable, SyncReport
from cni.routes import build_routes, concerns_agent, find_next_hops
from cni.stats_listener import listen_for_stats
from ipam.datastore import open_datastore
from ipam.errors import DatastoreError
from ipam.model import Block, Pool
from ipam.watch import changes
from nodeplane.datapath.rtnl import Route, Rtnl, open_rtnl
from nodeplane.datapath.rtnl_monitor import Event, RtnlMonitor
from nodeplane.datapath.sysctl import KernelSysctls, Sysctls
from nodeplane.errors import NodeplaneError
from nodeplane.kube.objects import Node
from nodeplane.kube.source import Batch, Source
from nodeplane.kube.store import Store
from nodeplane.reconcile.runner import Runner
from nodeplane.runtime.http import keep_serving, route
from nodeplane.runtime.listen import ListenAddress
from nodeplane.runtime.metrics import create_registry
from nodeplane.runtime.sd_notify import notify

log = logging.getLogger(__name__)

_FORWARD = "net.ipv4.ip_forward"
# Bounds a fight with somebody who deletes our routes as fast as we write them. A change after a quiet moment
# waits for nothing.
_MIN_INTERVAL_S = 0.02
_RESYNC_INTERVAL_S = 600.0
_REOPEN_S = 1.0
_SWITCH_INTERVAL_S = 0.0005
# Reading all blocks takes at most a tenth of the time, however busy and large the cluster is. A change after
# a quiet moment waits for nothing here either.
_REST_SHARE = 9


class Agent:
    """What the agent knows, and the sync that it leads to."""

    def __init__(
        self,
        node_name: str,
        table: RouteTable,
        kernel: Calls[Rtnl],
        sysctls: Sysctls,
        metrics: AgentMetrics,
    ) -> None:
        self.runner = Runner(self._sync, min_interval_s=_MIN_INTERVAL_S, resync_interval_s=_RESYNC_INTERVAL_S)
        self._node_name = node_name
        self._table = table
        self._kernel = kernel
        self._sysctls = sysctls
        self._health = metrics.health
        self._metrics = metrics
        self._nodes = Store()
        self._has_nodes = False
        self._blocks: tuple[Block, ...] = ()
        self._has_blocks = False
        self._desired: Mapping[IPv4Network, Route] = {}
        self._refused: frozenset[str] = frozenset()
        self.ready = asyncio.Event()
        self._health.wait_for("routes")

    @property
    def has_blocks(self) -> bool:
        """Whether the blocks have been read."""
        return self._has_blocks

    @property
    def node_names(self) -> frozenset[str] | None:
        """All nodes by name; None before they are known."""
        if not self._has_nodes:
            return None
        return frozenset(item.metadata.name for item in self._nodes.of_kind(Node))

    def take_nodes(self, batch: Batch) -> None:
        """Take the snapshot of all nodes in, then changes."""
        self._nodes.apply(batch)
        self._has_nodes = True
        self._trigger()

    def take_blocks(self, blocks: Iterable[Block]) -> None:
        """Take all blocks in."""
        self._blocks = tuple(blocks)
        self._has_blocks = True
        self._trigger()

    def take_event(self, event: Event, own_port: int) -> None:
        """Take the kernel's word that something changed."""
        if concerns_agent(event, self._desired, own_port):
            self._trigger(full=True)

    def _trigger(self, *, full: bool = False) -> None:
        # Before both are complete, what is missing would be taken for what is gone.
        if self._has_nodes and self._has_blocks:
            self.runner.trigger(full=full)

    async def _sync(self, full: bool) -> None:
        try:
            await self._sync_routes(full)
        except NodeplaneError:
            self._health.failed(time.monotonic())
            self._metrics.count_failure()
            raise
        self._health.succeeded()
        if not self.ready.is_set():
            self._health.done("routes")
            self.ready.set()
            notify("READY=1")

    async def _sync_routes(self, full: bool) -> None:
        started = time.perf_counter()
        nodes = (item for item in self._nodes.of_kind(Node) if isinstance(item, Node))
        desired = build_routes(self._node_name, find_next_hops(nodes), self._blocks)
        self._desired = desired
        if full:
            await self._kernel(lambda _: ensure_forwarding(self._sysctls))
        report = await self._kernel(lambda _: self._table.sync(desired, full=full))
        duration_s = time.perf_counter() - started
        self._metrics.count_sync(report, len(desired), duration_s)
        self._log(report, full=full, duration_ms=duration_s * 1000)

    def _log(self, report: SyncReport, *, full: bool, duration_ms: float) -> None:
        for reason in sorted(report.refused - self._refused):
            log.warning("route refused, the others are in force error=%r", reason)
        self._refused = report.refused
        log.log(
            logging.INFO if report.written or report.deleted else logging.DEBUG,
            "routes synced full=%s wanted=%d written=%d deleted=%d refused=%d duration_ms=%.2f",
            full, len(self._desired), report.written, report.deleted, len(report.refused), duration_ms,
        )  # fmt: skip


def ensure_forwarding(sysctls: Sysctls) -> None:
    """Make this node a router if it is none: the kernel then forwards on every link."""
    if sysctls.read(_FORWARD) != "1":
        sysctls.write(_FORWARD, 1)


async def run(
    node_name: str,
    source: Source | None,
    config: AgentConfig,
    files: Sequence[File] = (),
    condition: NodeCondition | None = None,
) -> None:
    """Keep the node's routes in step for as long as the task lives; without a source there are no peers.

    What was left behind of addresses is freed now and then, and the metrics are shown.

    Args:
        node_name: This node's name in the cluster.
        source: Where the nodes come from.
        config: The agent's configuration.
        files: What to install once the agent is ready.
        condition: What to tell the API server after that.

    Raises:
        ConfigError: the first snapshot of the nodes can't be had.
        DatastoreError: the blocks can't be read at the start.
        KernelError: rtnetlink can't be had.
    """
    metrics = AgentMetrics(create_registry(), AgentHealth())
    # The monitor listens before the first read, so that nothing falls between the two.
    with RtnlMonitor() as monitor:
        async with open_edge("rtnl", open_rtnl) as kernel:
            table, port = await kernel(lambda rtnl: (RouteTable(rtnl), rtnl.port))
            ipam_metrics = IpamMetrics(metrics.registry, node_name)
            agent = Agent(node_name, table, kernel, KernelSysctls(), metrics)
            lock = lock_file(config.socket_path or find_socket(os.environ))
            pods = PodLinkKeeper(config.datastore, KernelSysctls(), lock)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(agent.runner.run())
                tasks.create_task(_follow_nodes(agent, source, condition))
                tasks.create_task(_follow_blocks(agent, config.datastore, ipam_metrics))
                tasks.create_task(_follow_kernel(agent, pods, monitor, port))
                tasks.create_task(pods.run(agent.ready))
                if config.socket_path is not None:
                    tasks.create_task(_serve_calls(config.socket_path, metrics))
                tasks.create_task(_announce(agent, metrics.health, files, condition))
                tasks.create_task(listen_for_stats(ipam_metrics))
                if config.gc_interval_s:
                    collector = Collector(
                        node_name, config.datastore, config.gc_grace_s, is_forced=config.gc_all_gone
                    )
                    names = (lambda: None) if source is None else (lambda: agent.node_names)
                    tasks.create_task(
                        keep_collecting(collector, names, config.gc_interval_s, ipam_metrics.take_round)
                    )
                if config.healthz is not None:
                    pages = build_health_pages(metrics.health, time.monotonic)
                    tasks.create_task(keep_serving(config.healthz, route(pages)))
                if config.metrics is not None:
                    tasks.create_task(_serve_metrics(agent, config.metrics, metrics))


async def _serve_metrics(agent: Agent, address: ListenAddress, metrics: AgentMetrics) -> None:
    # What is wrong at the start is one line on stderr, and nothing else.
    await agent.ready.wait()
    await keep_serving(address, route(build_metrics_pages(metrics)))


async def _serve_calls(path: Path, metrics: AgentMetrics) -> None:
    """Answer the shims of this node, with the locks of a plugin that works without us."""
    answer = partial(plugin.answer, lock=lock_file(path))
    # A call that comes back from the kernel waits that long for the interpreter: not for the usual 5 ms.
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    await CallServer(path, answer, CallMetrics(metrics.registry)).run()


async def _announce(
    agent: Agent, health: AgentHealth, files: Sequence[File], condition: NodeCondition | None
) -> None:
    """Tell the runtime and the cluster, once pods of this node can be expected to work."""
    if files:
        health.wait_for("plugin")
    is_told = False

    def tell(is_installed: bool) -> None:
        nonlocal is_told
        if not is_installed:
            health.wait_for("plugin")
            return
        health.done("plugin")
        if condition is not None and not is_told:
            is_told = True
            condition.begin()

    await agent.ready.wait()
    async with asyncio.TaskGroup() as tasks:
        if condition is not None:
            tasks.create_task(condition.runner.run())
        if files:
            tasks.create_task(keep_installed(files, tell))
        else:
            tell(True)


async def _follow_nodes(agent: Agent, source: Source | None, condition: NodeCondition | None) -> None:
    if source is None:
        agent.take_nodes(())
        return
    async for batch in source.batches({Node}):
        agent.take_nodes(batch)
        if condition is not None:
            condition.take_nodes(batch)


async def _follow_blocks(agent: Agent, datastore_url: str, metrics: IpamMetrics) -> None:
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1, "ipam") as executor:
        while True:
            try:
                async with aclosing(changes(datastore_url)) as hints:
                    async for _ in hints:
                        started_s = loop.time()
                        pools, blocks = await loop.run_in_executor(executor, _read_blocks, datastore_url)
                        metrics.take_blocks(pools, blocks)
                        agent.take_blocks(_routed(pools, blocks))
                        # Each address that comes or goes anywhere changes a block; what happens meanwhile
                        # comes as one hint.
                        await asyncio.sleep(_REST_SHARE * (loop.time() - started_s))
            except DatastoreError as exc:
                if not agent.has_blocks:
                    raise
                log.warning("datastore lost, the last blocks stay in force error=%r", str(exc))
                await asyncio.sleep(_REOPEN_S)


async def _follow_kernel(agent: Agent, pods: PodLinkKeeper, monitor: RtnlMonitor, own_port: int) -> None:
    async with aclosing(monitor.events()) as events:
        async for event in events:
            agent.take_event(event, own_port)
            pods.take_event(event)


def _read_blocks(datastore_url: str) -> tuple[tuple[Pool, ...], list[Block]]:
    # Opened each time: the file may be another one by now (restored from a backup).
    with open_datastore(datastore_url) as datastore:
        return datastore.read(lambda ledger: (ledger.pools(), ledger.blocks()))


def _routed(pools: Iterable[Pool], blocks: Iterable[Block]) -> list[Block]:
    """Leave out blocks whose pods are on a link: the link's own route leads to them, also on this node."""
    on_link = {pool.name for pool in pools if pool.on_link}
    return [block for block in blocks if block.pool not in on_link]
