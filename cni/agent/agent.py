"""What the agent has taken in, whom it tells of it, and whether it is ready.

nodes ────► router, speaker ──┐
blocks ───► router, speaker   ├─► syncs ─► ready, once; problems that an operator has to put right
tunnels ──► router            ┘
"""

import asyncio
import logging
import time
from collections.abc import Mapping

from cni.agent.pages import AgentMetrics
from cni.agent.problems import find_problems
from cni.bgp.speaker import Speaker
from cni.routing.kernel import StepReport
from cni.routing.router import Router
from cni.routing.tunnels import TunnelPlan
from ipam.watch import LedgerNews
from nodeplane.kube.source import Batch
from nodeplane.runtime.sd_notify import notify

log = logging.getLogger(__name__)


class Agent:
    """Whether the agent is ready, and what it tells of its syncs."""

    def __init__(self, router: Router, metrics: AgentMetrics, speaker: Speaker | None) -> None:
        self.router = router
        self.speaker = speaker
        self.ready = asyncio.Event()
        self.tunnels_due = asyncio.Event()
        self._has_tried_tunnels = False
        self._tried = TunnelPlan()
        self._problems: Mapping[str, str] = {}
        self._metrics = metrics
        router.on_synced = self._take_sync
        router.on_failed = self._take_failure
        router.on_tunnels = self._take_tunnel_plan
        if speaker is not None:
            router.on_announced = speaker.take_announced
        metrics.health.wait_for("routes")

    def take_nodes(self, batch: Batch) -> None:
        """Take the snapshot of all nodes in, then changes."""
        self.router.take_nodes(batch)
        self._judge()
        if self.speaker is not None:
            self.speaker.take_nodes(batch)

    def be_alone(self) -> None:
        """Do without other nodes: nobody tells of any."""
        self.router.be_alone()
        if self.speaker is not None:
            self.speaker.take_nodes(())

    def take_news(self, news: LedgerNews) -> None:
        """Take in what has changed in the datastore."""
        self.router.take_news(news)
        self._judge()
        if self.speaker is not None and news.pools is not None:
            self.speaker.take_pools(news.pools)

    def take_tunnels(self, tried: TunnelPlan) -> None:
        """Take in what was tried about the node's own addresses: what came of it, the datastore tells."""
        self._has_tried_tunnels = True
        self._tried = tried
        self.router.runner.trigger()

    def retry_tunnels(self) -> None:
        """Try again what has come to nothing."""
        self._tried = TunnelPlan()
        self.tunnels_due.set()

    def _judge(self) -> None:
        """Say what an operator has to put right, and wait for it."""
        health, before, router = self._metrics.health, self._problems, self.router
        self._problems = find_problems(
            router.node, router.pools, is_in_cluster=router.is_in_cluster, has_bgp=self.speaker is not None
        )
        for name in before.keys() - self._problems.keys():
            health.done(name)
        for name, problem in self._problems.items():
            health.wait_for(name)
            if problem != before.get(name):
                log.error("%s", problem)

    def _take_tunnel_plan(self, plan: TunnelPlan) -> None:
        if plan and plan != self._tried:
            self.tunnels_due.set()
        elif not plan:
            self._tried = plan

    def _take_sync(self, report: StepReport, duration_s: float) -> None:
        self._metrics.count_sync(report, len(self.router.desired.routes), duration_s)
        self._metrics.health.succeeded()
        # A pod that starts before its node has its end of the tunnels could not be answered.
        if not self.ready.is_set() and (self._has_tried_tunnels or not self.router.plan_tunnels()):
            self._metrics.health.done("routes")
            self.ready.set()
            notify("READY=1")

    def _take_failure(self) -> None:
        self._metrics.health.failed(time.monotonic())
        self._metrics.count_failure()
