"""`kubeproxy run`: the source feeds the proxier, the runner syncs it, watchers notice what else changes.

Everything runs in one task group of one event loop:

    source ──► proxier ──► runner ──► kernel        ruleset watcher: others' writes
                  ▲                                  servers: health, metrics, health checks of Services
    addresses ────┘                                  configuration watcher: ends it all, for a restart
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import aclosing

from kubeproxy.audit_pace import AuditPace
from kubeproxy.config.settings import Settings
from kubeproxy.events import Tell, nobody, refused_health_check
from kubeproxy.health.health_check_servers import HealthCheckServers
from kubeproxy.health.proxy_health import ProxyHealth
from kubeproxy.metrics import Metrics
from kubeproxy.node_port_ips import pack_all, pack_own, place_node_ports
from kubeproxy.own_node import find_node, is_eligible, pod_networks
from kubeproxy.programming_latency import trigger_times
from kubeproxy.proxier import WATCHED, Proxier, SyncReport
from kubeproxy.rule_inputs import Options, build_options, read_until_known
from kubeproxy.rules.addresses import Address, Network, PackedAddress
from nodeplane.datapath.local_addresses import LocalAddresses
from nodeplane.datapath.nft.expr import Family
from nodeplane.datapath.nft.monitor import TableWatch, Writer
from nodeplane.errors import KernelError
from nodeplane.kube.objects import Node
from nodeplane.kube.source import Batch, Source
from nodeplane.reconcile.runner import Runner
from nodeplane.runtime.loading import end_loading
from nodeplane.runtime.sd_notify import notify

# Each look for stale flows walks the kernel's whole table of them: 5 ms and more.
_CLEAN_INTERVAL_S = 0.1
_RESYNC_INTERVAL_S = 3600.0
_ADDRESS_RETRY_S = 1.0
_DRAIN_PAUSE_S = 1.0
_COMPARING_SHARE = 0.05

log = logging.getLogger(__name__)

BuildProxier = Callable[[Options], Proxier]


class RestartNeeded(Exception):  # noqa: N818  # nothing is wrong
    """What the rules are made of has changed: the program ends well, and whoever keeps it starts it again."""


class Daemon:
    """What `run` keeps between syncs.

    Args:
        node_name: This node's name.
        build_proxier: Builds the proxier once the rules' options are known.
        settings: The configuration in force.
        addresses: This namespace's addresses, for node ports.
        open_watch: Opens what tells of others' writes to our tables.
        metrics: Counts what happens.
        health: Is told what waits and what is done.
        tell: Takes the events for people.
        is_ipvs: Whether the mode is ipvs.
    """

    def __init__(
        self,
        node_name: str,
        build_proxier: BuildProxier,
        settings: Settings,
        *,
        addresses: LocalAddresses,
        open_watch: Callable[[], TableWatch],
        metrics: Metrics,
        health: ProxyHealth,
        tell: Tell = nobody,
        is_ipvs: bool = False,
    ) -> None:
        self._node_name = node_name
        self._is_ipvs = is_ipvs
        self._build_proxier = build_proxier
        self._settings = settings
        self._addresses = addresses
        self._open_watch = open_watch
        self._metrics = metrics
        self._health = health
        self._runner = Runner(
            self._sync,
            min_interval_s=settings.min_sync_interval_s,
            resync_interval_s=_RESYNC_INTERVAL_S,
            max_retry_s=settings.sync_period_s,
        )
        self._cleaning = Runner(self._clean_flows, min_interval_s=_CLEAN_INTERVAL_S, resync_interval_s=None)
        self._servers = HealthCheckServers(
            lambda: health.check(time.monotonic()).is_live,
            lambda key, port, error: tell(refused_health_check(node_name, key, port, error)),
        )
        self._node: Node | None = None
        self._pod_networks: tuple[Network, ...] = ()
        self._interface_ips: frozenset[Address] = frozenset()
        self._own_ips: set[PackedAddress] = set()
        self._node_port_ips: dict[Family, frozenset[Address] | None] = {}
        self._started_s = time.time()
        self._trigger_times: list[tuple[Family, float]] = []
        self._checks_version = -1
        self._has_synced = asyncio.Event()
        self._drains = asyncio.Event()
        self._is_dirty = False
        self._is_audit = False
        self._audits = AuditPace()
        self._writer: Writer | None = None

    async def run(self, source: Source) -> None:
        """Keep the kernel in step with the source for as long as the task lives.

        Raises:
            RestartNeeded: the rules' options have changed (in a group, as a task group has it).
        """
        async with asyncio.TaskGroup() as tasks, aclosing(source.batches(WATCHED)) as batches:
            # Only after the first complete snapshot: before it nothing is ours to judge (law 4).
            held = await read_until_known(batches, self._node_name, self._settings)
            for batch in held:
                self._follow_node(batch)
            self._pod_networks = pod_networks(self._node)
            self._proxier = self._build_proxier(build_options(self._settings, self._pod_networks))
            self._metrics.observe(lambda: self._proxier.families)
            tasks.create_task(self._runner.run())
            tasks.create_task(self._cleaning.run())
            tasks.create_task(self._servers.run())
            if self._settings.node_port_addresses.networks or self._is_ipvs:
                self._interface_ips = self._addresses.read()
                tasks.create_task(self._watch_addresses())
            tasks.create_task(self._drain())
            for batch in held:
                self._take(batch)
            held.clear()
            self._place_node_ports()
            tasks.create_task(self._watch_ruleset())
            async for batch in batches:
                is_node_changed = self._follow_node(batch)
                self._trigger_times += trigger_times(batch, self._started_s)
                self._take(batch)
                if is_node_changed:
                    self._place_node_ports()

    def _follow_node(self, batch: Batch) -> bool:
        """Take our own Node out of a batch; say whether it has changed.

        Raises:
            RestartNeeded: its pods have other networks than the rules say.
        """
        if not any(change.key.kind is Node and change.key.name == self._node_name for change in batch):
            return False
        self._node = find_node([batch], self._node_name)
        self._health.is_eligible = is_eligible(self._node)
        networks = pod_networks(self._node)
        if self._uses_pod_networks and self._pod_networks and networks and networks != self._pod_networks:
            raise RestartNeeded(f"podCIDRs changed from {_join(self._pod_networks)} to {_join(networks)}")
        return True

    @property
    def _uses_pod_networks(self) -> bool:
        return self._settings.local_traffic.mode == "NodeCIDR"

    def _take(self, batch: Batch) -> None:
        self._proxier.take(batch)
        self._metrics.taken(batch, time.time())
        self._want_sync()

    def _want_sync(self) -> None:
        self._is_dirty = True
        self._health.queued(time.monotonic())
        self._runner.trigger()

    def _place_node_ports(self) -> None:
        """Say on which addresses node ports and health checks are served now."""
        fresh = place_node_ports(self._settings, self._node, self._interface_ips)
        own = pack_own(self._interface_ips) if self._is_ipvs else set()
        if own != self._own_ips:
            self._own_ips = own
            self._proxier.set_own_ips(own)
            self._want_sync()
        if fresh == self._node_port_ips:
            return
        self._node_port_ips = fresh
        for family, addresses in fresh.items():
            where = "everywhere" if addresses is None else ",".join(sorted(map(str, addresses))) or "nowhere"
            log.info("node ports served family=%s addresses=%s", family, where)
        self._proxier.set_node_port_ips(pack_all(fresh))
        self._checks_version = -1
        self._want_sync()

    async def _sync(self, full: bool) -> None:
        # In mode ipvs each full sync is a look for damage: IPVS does not tell of it.
        is_look = self._is_audit or (self._is_ipvs and self._has_synced.is_set())
        is_repair = full and is_look and not self._is_dirty
        started = time.monotonic()
        try:
            report = self._proxier.sync(full=full)
        except KernelError:
            self._metrics.tally.sync_failures += 1
            raise
        self._is_dirty = self._is_audit = False
        self._health.updated(time.monotonic())
        self._metrics.synced(report, self._trigger_times, time.time(), full=full)
        self._trigger_times.clear()
        if full and self._is_ipvs:
            # IPVS tells nobody that somebody else has written to it. To compare ten thousand services takes a
            # second, mostly for the table: a twentieth of the time at most.
            took_s = time.monotonic() - started
            self._runner.resync_interval_s = max(self._settings.sync_period_s, took_s / _COMPARING_SHARE)
        if is_repair:
            self._audited(report)
        self._cleaning.trigger()
        if self._proxier.is_draining:
            self._drains.set()
        checks = self._proxier.health_checks
        if checks.version != self._checks_version:
            self._checks_version = checks.version
            self._servers.update(checks.checks, self._node_port_ips)
        if not self._has_synced.is_set():
            self._has_synced.set()
            end_loading()
            notify("READY=1")

    async def _clean_flows(self, _full: bool) -> None:
        if self._is_dirty:
            # A change that the kernel does not have yet is not to be judged by. Its sync asks again.
            return
        for family, report in (await self._proxier.clean_flows()).items():
            self._metrics.conntrack_cleaned(family, report.seconds, report.deleted)
            if report.deleted:
                log.info(
                    "stale flows removed family=%s flows=%d seconds=%.4f",
                    family,
                    report.deleted,
                    report.seconds,
                )

    async def _drain(self) -> None:
        """Take away what waits for its connections, when they have ended: IPVS does not tell."""
        while True:
            await self._drains.wait()
            began = time.monotonic()
            try:
                self._proxier.drain()
            except KernelError as exc:
                log.warning("not drained, trying again error=%r", str(exc))
                self._runner.trigger(full=True)
            if not self._proxier.is_draining:
                self._drains.clear()
            # Each look asks for every virtual service that has something to drain.
            await asyncio.sleep(max(_DRAIN_PAUSE_S, 20 * (time.monotonic() - began)))

    async def _watch_ruleset(self) -> None:
        """Ask for a full sync when somebody else has written to our tables (law 3)."""
        # Not earlier: the first load alone would be a hundred thousand notifications of our own.
        await self._has_synced.wait()
        while True:
            try:
                with self._open_watch() as watch:
                    if self._proxier.is_disturbed():
                        self._audit("the ruleset changed before it was watched", None)
                    async for disturbance in watch.disturbances():
                        if not disturbance.is_lost:
                            self._audit("another program wrote to our table", disturbance.writer)
                        elif self._proxier.is_disturbed():
                            self._audit("notifications were lost, and another program wrote", None)
                        else:
                            # A large write of our own alone is more than the kernel keeps for us.
                            continue
                        await asyncio.sleep(self._audits.pause_s)
            except KernelError as exc:
                log.warning("ruleset not watched, trying again error=%r", str(exc))
                await asyncio.sleep(self._audits.pause_s)

    def _audit(self, reason: str, writer: Writer | None) -> None:
        log.info("comparing our tables with the kernel's reason=%r %s", reason, writer or "process=unknown")
        self._writer = writer
        self._is_audit = True
        self._runner.trigger(full=True)

    def _audited(self, report: SyncReport) -> None:
        """Tell what an audit has found that nobody but others can have done."""
        found = bool(report.transactions or report.elements)
        self._audits.audited(time.monotonic(), found=found)
        if not found:
            return
        self._metrics.tally.repairs += 1
        self._metrics.tally.repaired_elements += report.elements
        log.warning(
            "damage by another program repaired elements=%d %s next_look_s=%.0f",
            report.elements,
            self._writer or "process=unknown",
            self._audits.pause_s,
        )
        if self._audits.is_rival(self._writer):
            log.error(
                "another kubeproxy seems to run in this network namespace, end one of them %s", self._writer
            )

    async def _watch_addresses(self) -> None:
        """Follow the addresses of this node's interfaces, which nodePortAddresses chooses from."""
        while True:
            try:
                async with aclosing(self._addresses.changes()) as changes:
                    async for _ in changes:
                        self._interface_ips = self._addresses.read()
                        self._place_node_ports()
            except KernelError as exc:
                log.warning("addresses not followed, trying again error=%r", str(exc))
            await asyncio.sleep(_ADDRESS_RETRY_S)


def _join(networks: tuple[Network, ...]) -> str:
    return ",".join(map(str, networks)) or "none"
