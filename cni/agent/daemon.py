"""`cni-agent run`: this node's routes to the pods of all others, and its addresses' upkeep.

    Nodes (source) ──────┐
    blocks (datastore) ──┼─► `cni.routing` ─► rtnetlink ─► ready: plugin installed, Node condition
    kernel's events ─────┘
    every gcInterval ────► what was left behind ─► freed (`cni.agent.collector`)

The routes outlive the agent: it writes none before it knows all nodes and all blocks, and removes none when
it stops.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path

from cni.agent.agent import Agent
from cni.agent.collector import Collector, keep_collecting
from cni.agent.config import AgentConfig
from cni.agent.conflist import watch_conflist
from cni.agent.install import File, keep_in_step
from cni.agent.ipam_metrics import IpamMetrics
from cni.agent.node_condition import NodeCondition
from cni.agent.pages import AgentHealth, AgentMetrics, build_health_pages, build_metrics_pages
from cni.agent.pod_link_keeper import PodLinkKeeper
from cni.agent.stats_listener import listen_for_stats
from cni.bgp.metrics import BgpMetrics
from cni.bgp.speaker import Speaker
from cni.call_lock import find_socket, lock_file
from cni.calls.metrics import CallMetrics
from cni.calls.process import keep_serving_calls
from cni.edge import open_edge
from cni.features.node_table_keeper import NodeTableKeeper
from cni.routing.guard_rules import NAME as GUARD
from cni.routing.kernel import KernelState
from cni.routing.router import Router
from cni.routing.tunnels import carry_out
from ipam.errors import DatastoreError
from ipam.store_thread import store_thread
from ipam.watch import follow
from nodeplane.datapath.nft.kernel import KernelTable
from nodeplane.datapath.nft.monitor import TableMonitor
from nodeplane.datapath.rtnl import open_rtnl
from nodeplane.datapath.rtnl.monitor import AddressEvent, Overrun, RtnlMonitor
from nodeplane.datapath.sysctl import KernelSysctls
from nodeplane.file_watch import FileWatch
from nodeplane.kube.objects import Node
from nodeplane.kube.source import Source
from nodeplane.runtime.http import keep_serving, route
from nodeplane.runtime.listen import ListenAddress
from nodeplane.runtime.metrics import create_registry

log = logging.getLogger(__name__)

_REOPEN_S = 1.0
# Each address that comes or goes anywhere changes a block; what happens meanwhile comes as one. One after
# a quiet moment waits for nothing.
_FEED_REST_S = 0.02
# A pool that is full may have room again; a datastore that was busy may not be.
_TUNNEL_RETRY_S = 30.0


async def run(
    node_name: str,
    source: Source | None,
    config: AgentConfig,
    files: Sequence[File] = (),
    condition: NodeCondition | None = None,
    *,
    on_new_addresses: Callable[[], None] = lambda: None,
) -> None:
    """Keep the node's routes in step for as long as the task lives; without a source there are no peers.

    What was left behind of addresses is freed now and then, and the metrics are shown.

    Args:
        node_name: This node's name in the cluster.
        source: Where the nodes come from.
        config: The agent's configuration.
        files: What to install once the agent is ready.
        condition: What to tell the API server after that.
        on_new_addresses: Called when the node's addresses have changed.

    Raises:
        ConfigError: the first snapshot of the nodes can't be had.
        KernelError: rtnetlink can't be had.
    """
    metrics = AgentMetrics(create_registry(), AgentHealth())
    # The monitor listens before the first read, so that nothing falls between the two.
    own_ports: set[int] = set()
    with (
        RtnlMonitor(has_neighbours=True) as monitor,
        TableMonitor([("inet", GUARD)], own_ports) as guard_monitor,
        KernelTable("inet", GUARD) as guard,
    ):
        own_ports.add(guard.port)
        async with open_edge("rtnl", open_rtnl) as kernel:
            edge = await kernel(lambda rtnl: (KernelState(rtnl, KernelSysctls(), guard), rtnl.port))
            ipam_metrics = IpamMetrics(metrics.registry, node_name)
            router = Router(node_name, kernel, edge, KernelSysctls(), config.vxlan)
            # Each neighbour that the node talks to, and each route that the agent writes, would wake it.
            router.on_tunnel_links = partial(monitor.narrow, edge[1])
            agent = Agent(router, metrics, _open_speaker(node_name, config, metrics))
            lock = lock_file(config.socket_path or find_socket(os.environ))
            node_table = NodeTableKeeper(lock)
            pods = PodLinkKeeper(config.datastore, KernelSysctls(), lock)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(router.runner.run())
                tasks.create_task(_follow_nodes(agent, source, condition))
                tasks.create_task(_follow_blocks(agent, config.datastore, ipam_metrics, node_table))
                tasks.create_task(node_table.run())
                tasks.create_task(_follow_kernel(agent, pods, monitor, on_new_addresses))
                tasks.create_task(_follow_guard(router, guard_monitor))
                tasks.create_task(_keep_tunnels(agent, node_name, config.datastore))
                if agent.speaker is not None:
                    tasks.create_task(agent.speaker.run(source))
                tasks.create_task(pods.run(agent.ready))
                if config.socket_path is not None:
                    calls = CallMetrics(metrics.registry)
                    tasks.create_task(keep_serving_calls(config.socket_path, calls))
                conflist = _watch_conflist(config, node_name, files)
                tasks.create_task(_announce(agent, metrics.health, files, conflist, condition))
                tasks.create_task(listen_for_stats(ipam_metrics))
                if config.gc_interval_s:
                    collector = Collector(
                        node_name, config.datastore, config.gc_grace_s, is_forced=config.gc_all_gone
                    )
                    names = (lambda: None) if source is None else (lambda: router.node_names)
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
    await keep_serving(address, route(build_metrics_pages(metrics, agent.router.written_s)))


def _watch_conflist(config: AgentConfig, node_name: str, files: Sequence[File]) -> FileWatch[bytes] | None:
    if config.install is None:
        return None
    return watch_conflist(Path(config.install.conflist), node_name, config.datastore, files[-1].content)


async def _announce(
    agent: Agent,
    health: AgentHealth,
    files: Sequence[File],
    conflist: FileWatch[bytes] | None,
    condition: NodeCondition | None,
) -> None:
    """Tell the runtime and the cluster, once pods of this node can be expected to work."""
    if conflist is not None:
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
        if conflist is not None:
            tasks.create_task(keep_in_step(files, conflist, tell))
        else:
            tell(True)


async def _follow_nodes(agent: Agent, source: Source | None, condition: NodeCondition | None) -> None:
    if source is None:
        agent.be_alone()
        return
    async for batch in source.batches({Node}):
        agent.take_nodes(batch)
        if condition is not None:
            condition.take_nodes(batch)


async def _follow_blocks(
    agent: Agent, datastore_url: str, metrics: IpamMetrics, node_table: NodeTableKeeper
) -> None:
    router = agent.router
    known = ""
    while True:
        try:
            # Opened each time: the file may be another one by now (restored from a backup). One that is gone
            # is awaited: an empty one would take all routes away, and give running pods' addresses out again.
            following = follow(datastore_url, create=not router.has_blocks, rest_s=_FEED_REST_S)
            async with aclosing(following) as all_news:
                async for news in all_news:
                    known = ""
                    agent.take_news(news)
                    if news.pools is not None:
                        metrics.take_blocks(router.pools, router.desired.blocks)
                        node_table.take_pools(router.pools)
        except DatastoreError as exc:
            # Waited for at the start too, as an API server is: what an earlier agent left is in force, and
            # BIRD, which ends with a container, would end with each try.
            what = "the last blocks stay in force" if router.has_blocks else "all stays as it is until then"
            if str(exc) != known:
                log.warning("datastore lost, %s error=%r", what, str(exc))
            known = str(exc)
            await asyncio.sleep(_REOPEN_S)


async def _follow_kernel(
    agent: Agent, pods: PodLinkKeeper, monitor: RtnlMonitor, on_new_addresses: Callable[[], None]
) -> None:
    async with aclosing(monitor.events()) as events:
        async for event in events:
            # Pods' gateways of IPv6 come and go all the time, and no connection lies on one.
            if agent.router.take_event(event) and isinstance(event, AddressEvent | Overrun):
                on_new_addresses()
            pods.take_event(event)
            if agent.speaker is not None:
                agent.speaker.take_event(event)


async def _follow_guard(router: Router, monitor: TableMonitor) -> None:
    async with aclosing(monitor.disturbances()) as disturbances:
        async for _ in disturbances:
            router.look_again()


async def _keep_tunnels(agent: Agent, node_name: str, datastore_url: str) -> None:
    """Do what there is to do about the node's own addresses, when there is."""
    loop = asyncio.get_running_loop()
    router = agent.router
    known: tuple[str, ...] = ()
    retry: asyncio.TimerHandle | None = None
    with store_thread("tunnels") as (executor, ended):
        while True:
            await agent.tunnels_due.wait()
            agent.tunnels_due.clear()
            plan, labels = router.plan_tunnels(), router.labels
            if not plan:
                continue
            try:
                problems = await loop.run_in_executor(
                    executor, carry_out, datastore_url, node_name, labels, plan, ended
                )
            except DatastoreError as exc:
                problems = (str(exc),)
            for problem in set(problems) - set(known):
                log.warning("no tunnel address, routes by VXLAN wait error=%r", problem)
            known = problems
            agent.take_tunnels(plan)
            if retry is not None:
                # One clock, however many reasons there were to try.
                retry.cancel()
            retry = loop.call_later(_TUNNEL_RETRY_S, agent.retry_tunnels)


def _open_speaker(node_name: str, config: AgentConfig, metrics: AgentMetrics) -> Speaker | None:
    if config.bgp is None:
        return None
    health = metrics.health
    health.wait_for("bgp")
    return Speaker(node_name, config.bgp, BgpMetrics(metrics.registry), lambda: health.done("bgp"))
