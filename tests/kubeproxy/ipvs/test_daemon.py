"""The daemon in mode ipvs: it follows the node's addresses, waits for connections, and looks for damage."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec

from kubeproxy.config.settings import Settings
from kubeproxy.daemon import Daemon
from kubeproxy.health.proxy_health import ProxyHealth
from kubeproxy.ipvs.family import IpvsFamily
from kubeproxy.metrics import Metrics
from kubeproxy.proxier import Proxier
from kubeproxy.rule_inputs import Options
from nodeplane.datapath.ipvs.service import DeleteService
from nodeplane.datapath.local_addresses import FakeAddresses
from nodeplane.datapath.nft.monitor import FakeMonitor
from nodeplane.kube.objects import ServicePort
from nodeplane.kube.store import diff_objects
from tests.kubeproxy.daemon_stand import ScriptedSource, until
from tests.kubeproxy.ipvs.test_family import BACKING, FEWER, VIP, B, Node
from tests.kubeproxy.objects import additions, service

WEB = service(ports=(ServicePort(80, "http", node_port=30080),))


class World:
    """What a scenario can do and look at."""

    def __init__(self) -> None:
        self.node = Node()
        self.source = ScriptedSource()
        self.addresses = FakeAddresses("127.0.0.1", "fe80::1", "192.0.2.1")
        self.metrics = Metrics()

    def run(self, scenario: Callable[[], Awaitable[None]]) -> None:
        """Run a scenario beside a daemon."""

        def build(_: Options) -> Proxier:
            return Proxier("n1", [IpvsFamily("ip", self.node.table, self.node.balancer())])

        async def main() -> None:
            daemon = Daemon(
                "n1",
                build,
                msgspec.structs.replace(Settings(), sync_period_s=0.05),
                addresses=self.addresses,
                open_watch=FakeMonitor,
                metrics=self.metrics,
                health=ProxyHealth(("ip",), limit_s=60.0),
                is_ipvs=True,
            )
            task = asyncio.create_task(daemon.run(self.source))
            try:
                self.source.deliver(additions(WEB, BACKING))
                await scenario()
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError, BaseExceptionGroup):
                    await task

        asyncio.run(main())


def test_node_ports_follow_the_addresses() -> None:
    """A virtual service for each of them, loopback and link-local ones apart."""
    world = World()

    async def scenario() -> None:
        await until(lambda: "TCP 192.0.2.1:30080" in world.node.held())
        assert len(world.node.held()) == 2
        world.addresses.assign("127.0.0.1", "192.0.2.1", "192.0.2.77")
        await until(lambda: "TCP 192.0.2.77:30080" in world.node.held())
        world.addresses.assign("127.0.0.1", "192.0.2.77")
        await until(lambda: "TCP 192.0.2.1:30080" not in world.node.held())

    world.run(scenario)


def test_connections_are_waited_for() -> None:
    """Nobody tells that the last one has ended: it is looked for."""
    world = World()

    async def scenario() -> None:
        await until(lambda: "TCP 10.96.0.1:80" in world.node.held())
        world.node.ipvs.connect(VIP, B, active=1)
        world.source.deliver(diff_objects({BACKING.key: BACKING}, {FEWER.key: FEWER}))
        await until(lambda: world.node.ipvs.servers(VIP)[B].server.weight == 0)
        world.node.ipvs.connect(VIP, B, active=0)
        await until(lambda: B not in world.node.ipvs.servers(VIP))

    world.run(scenario)


def test_damage_is_looked_for() -> None:
    """IPVS tells nobody, so it is compared from time to time; what was wrong is counted."""
    world = World()

    async def scenario() -> None:
        await until(lambda: "TCP 10.96.0.1:80" in world.node.held())
        world.node.ipvs.apply([DeleteService(VIP)])
        await until(lambda: "TCP 10.96.0.1:80" in world.node.held())
        await until(lambda: world.metrics.tally.repairs == 1)

    world.run(scenario)
