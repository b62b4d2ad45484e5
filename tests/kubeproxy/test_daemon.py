"""The daemon between a source and a table: when it writes, and when it must not."""

import asyncio
import errno
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_network

import msgspec
import pytest

from kubeproxy import audit_pace
from kubeproxy.config.settings import LocalTraffic, NodePortAddresses, Settings
from kubeproxy.daemon import Daemon, RestartNeeded
from kubeproxy.family_proxier import FamilyProxier
from kubeproxy.health.proxy_health import ProxyHealth
from kubeproxy.metrics import Metrics
from kubeproxy.own_node import TO_BE_DELETED_TAINT
from kubeproxy.proxier import Proxier
from kubeproxy.rule_inputs import Options
from kubeproxy.rules.addresses import pack_address
from kubeproxy.rules.layout import FRONTENDS, NODE_PORT_IPS, SLOTS
from kubeproxy.rules.rule_options import SourceNetwork
from kubeproxy.rules.skeleton import build_skeleton
from nodeplane.datapath.local_addresses import FakeAddresses
from nodeplane.datapath.nft.fake import FakeTable
from nodeplane.datapath.nft.monitor import FakeMonitor, Writer
from nodeplane.datapath.nft.table import ElementChange
from nodeplane.errors import KernelError
from nodeplane.kube.objects import Metadata, Node, NodeAddress, NodeSpec, NodeStatus, Object, Taint
from nodeplane.kube.source import Batch
from nodeplane.kube.store import diff_objects
from nodeplane.kube.trigger_time import TRIGGER_TIME_ANNOTATION
from tests.kubeproxy.objects import additions, endpoint, endpoint_slice, node, service

SKELETON = build_skeleton("ip")
DEFAULT = Settings(min_sync_interval_s=0)
WEB, BACKING = service(), endpoint_slice(endpoint("10.244.0.1"))


class ScriptedSource:
    """Delivers what a test puts in, when it puts it in."""

    def __init__(self) -> None:
        self._batches: asyncio.Queue[Batch] = asyncio.Queue()

    def deliver(self, batch: Batch) -> None:
        self._batches.put_nowait(batch)

    async def batches(self, kinds: Collection[type[Object]]) -> AsyncGenerator[Batch, None]:
        while True:
            yield await self._batches.get()


def frontends(edge: FakeTable) -> int:
    state = edge.read(SKELETON)
    return len(state.elements[FRONTENDS]) if state else 0


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not fact():
            await asyncio.sleep(0.005)


@dataclass
class Seen:
    """What a scenario can do and look at."""

    source: ScriptedSource
    edge: FakeTable
    addresses: FakeAddresses
    watch: FakeMonitor
    metrics: Metrics
    health: ProxyHealth
    built: list[Options]
    task: "asyncio.Task[None]"

    def deliver(self, batch: Batch) -> None:
        self.source.deliver(batch)

    def elements(self, name: str) -> set[bytes]:
        state = self.edge.read(build_skeleton("ip"))
        return set(state.elements[name]) if state else set()


def with_daemon(
    edge: FakeTable, scenario: Callable[[Seen], Awaitable[None]], settings: Settings = DEFAULT
) -> None:
    """Run a scenario beside a daemon over `edge`."""

    async def main() -> None:
        source, addresses = ScriptedSource(), FakeAddresses("127.0.0.1", "10.0.0.1")
        metrics, health = Metrics(), ProxyHealth(("ip",), limit_s=60.0)
        built: list[Options] = []

        def build(options: Options) -> Proxier:
            built.append(options)
            return Proxier("n1", [FamilyProxier("ip", edge, options["ip"])])

        watch = FakeMonitor()
        daemon = Daemon(
            "n1",
            build,
            settings,
            addresses=addresses,
            open_watch=lambda: watch,
            metrics=metrics,
            health=health,
        )
        task = asyncio.create_task(daemon.run(source))
        seen = Seen(source, edge, addresses, watch, metrics, health, built, task)
        try:
            await scenario(seen)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError, BaseExceptionGroup):
                await task

    asyncio.run(main())


def table_of_another_time() -> FakeTable:
    edge = FakeTable()
    before = Proxier("n1", [FamilyProxier("ip", edge)])
    before.take(additions(WEB, BACKING))
    before.sync(full=True)
    return edge


def test_nothing_before_the_snapshot() -> None:
    """As long as the source has not delivered, the table of the last run stays in force (law 4)."""
    edge = table_of_another_time()

    async def scenario(source: Seen) -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        assert (frontends(edge), edge.batches) == (1, 1)
        source.deliver(())
        await until(lambda: edge.batches == 2)
        assert frontends(edge) == 0

    with_daemon(edge, scenario)


def test_restart_and_change() -> None:
    """A restart over a correct table is silent; the next change is one transaction (laws 2 and 5)."""
    edge = table_of_another_time()

    async def scenario(source: Seen) -> None:
        source.deliver(additions(WEB, BACKING))
        source.deliver(diff_objects({WEB.key: WEB}, {}))
        await until(lambda: frontends(edge) == 0)
        assert edge.batches == 2

    with_daemon(edge, scenario)


def test_damage_is_repaired() -> None:
    """Somebody's write is noticed without any change of the cluster (law 3)."""
    edge = FakeTable()

    async def scenario(source: Seen) -> None:
        source.deliver(additions(WEB, BACKING))
        await until(lambda: frontends(edge) == 1)
        state = edge.read(SKELETON)
        assert state is not None
        edge.update(SKELETON, {SLOTS: ElementChange(remove=list(state.elements[SLOTS]))})
        source.watch.disturb()
        await until(lambda: edge.read(SKELETON) == state)

    with_daemon(edge, scenario)


def test_refused_change_is_followed_by_a_resync() -> None:
    """When the kernel is not what we believe, the next sync reads it and puts it right."""
    edge = FakeTable()

    async def scenario(source: Seen) -> None:
        source.deliver(additions(WEB, BACKING))
        await until(lambda: frontends(edge) == 1)
        edge.delete()
        source.deliver(diff_objects({}, {(other := service("other", "10.96.0.9")).key: other}))
        await until(lambda: frontends(edge) == 2)

    with_daemon(edge, scenario)


def in_pods(*cidrs: str, taints: tuple[Taint, ...] = ()) -> Node:
    return Node(Metadata("n1"), NodeSpec(pod_cidrs=cidrs or None, taints=taints))


def change(old: Object, new: Object) -> Batch:
    return diff_objects({old.key: old}, {new.key: new})


BY_NODE = Settings(local_traffic=LocalTraffic("NodeCIDR"))


def test_waits_for_pod_cidrs(caplog: pytest.LogCaptureFixture) -> None:
    """In mode NodeCIDR nothing is written before this node has podCIDRs; then the rules know them."""

    async def scenario(seen: Seen) -> None:
        seen.deliver(additions(WEB, BACKING, in_pods()))
        await until(lambda: "waiting for podCIDRs" in caplog.text)
        seen.deliver(additions(node("n2")))
        for _ in range(20):
            await asyncio.sleep(0)
        assert (seen.built, seen.edge.batches) == ([], 0)
        seen.deliver(change(in_pods(), in_pods("10.244.7.0/24")))
        await until(lambda: seen.edge.batches == 1)
        assert seen.built[0]["ip"].local_detector == SourceNetwork(ip_network("10.244.7.0/24"))

    with caplog.at_level("INFO"):
        with_daemon(FakeTable(), scenario, BY_NODE)
    assert caplog.text.count("waiting for podCIDRs") == 1


def test_other_pod_cidrs_ask_for_a_restart() -> None:
    """The rules are made of them; that they go missing is no reason."""

    async def scenario(seen: Seen) -> None:
        first, second = in_pods("10.244.7.0/24"), in_pods("10.244.8.0/24")
        seen.deliver(additions(first))
        seen.deliver(change(first, in_pods()))
        seen.deliver(change(in_pods(), first))
        await until(lambda: seen.edge.batches == 1)
        assert not seen.task.done()
        seen.deliver(change(first, second))
        with pytest.raises(BaseExceptionGroup) as caught:
            await seen.task
        assert [type(each) for each in caught.value.exceptions] == [RestartNeeded]

    with_daemon(FakeTable(), scenario, BY_NODE)


@pytest.mark.parametrize(
    "settings", [DEFAULT, BY_NODE, Settings(node_port_addresses=NodePortAddresses(True))]
)
def test_a_wrong_node_ends_nothing(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """An API server takes any address of a Node: what is none is said, and the rest is done without it."""

    async def scenario(seen: Seen) -> None:
        addresses = NodeStatus(
            tuple(NodeAddress("InternalIP", text) for text in ("host.example", "010.0.0.1"))
        )
        wrong = Node(Metadata("n1"), NodeSpec(pod_cidrs=("bad",)), addresses)
        seen.deliver(additions(WEB, BACKING, wrong))
        await until(lambda: "spec.podCIDRs[0]" in caplog.text)
        right = msgspec.structs.replace(wrong, spec=NodeSpec(pod_cidrs=("10.244.7.0/24", "bad")))
        seen.deliver(change(wrong, right))
        await until(lambda: frontends(seen.edge) == 1)
        seen.deliver(diff_objects({}, {(other := service("other", "10.96.0.9")).key: other}))
        await until(lambda: frontends(seen.edge) == 2)

    with_daemon(FakeTable(), scenario, settings)
    assert "status.addresses[0].address: expected an IP address, got 'host.example'" in caplog.text


def node_ports(*cidrs: str) -> Settings:
    networks = tuple(map(ip_network, cidrs))
    return Settings(node_port_addresses=NodePortAddresses(is_primary=not cidrs, networks=networks))


def test_node_ports_follow_interfaces() -> None:
    """What nodePortAddresses chooses is there from the first write on, and follows the interfaces."""

    async def scenario(seen: Seen) -> None:
        seen.deliver(())
        await until(lambda: seen.edge.batches == 1)
        assert seen.elements(NODE_PORT_IPS) == {pack_address("10.0.0.1")}
        assert seen.built[0]["ip"].node_port_everywhere is False
        seen.addresses.assign("127.0.0.1", "10.0.0.2", "192.0.2.1")
        await until(lambda: seen.elements(NODE_PORT_IPS) == {pack_address("10.0.0.2")})

    with_daemon(FakeTable(), scenario, node_ports("10.0.0.0/8", "127.0.0.0/8"))


def test_node_ports_follow_the_node() -> None:
    """`primary` is what the Node object says."""

    async def scenario(seen: Seen) -> None:
        first = node("n1", "192.0.2.1", "192.0.2.2")
        seen.deliver(additions(first))
        await until(lambda: seen.elements(NODE_PORT_IPS) == {pack_address("192.0.2.1")})
        seen.deliver(change(first, node("n1", "192.0.2.3")))
        await until(lambda: seen.elements(NODE_PORT_IPS) == {pack_address("192.0.2.3")})

    with_daemon(FakeTable(), scenario, node_ports())


def test_node_that_goes_is_not_eligible() -> None:
    """The autoscaler's taint reaches the health page; another node's does not."""

    async def scenario(seen: Seen) -> None:
        going = in_pods(taints=(Taint(TO_BE_DELETED_TAINT),))
        seen.deliver(additions(in_pods(), msgspec.structs.replace(going, metadata=Metadata("n2"))))
        await until(lambda: seen.edge.batches == 1)
        assert seen.health.is_eligible
        seen.deliver(change(in_pods(), going))
        await until(lambda: not seen.health.is_eligible)

    with_daemon(FakeTable(), scenario)


class RefusingTable(FakeTable):
    """A kernel that refuses to read the table as often as it is told."""

    def __init__(self, refusals: Iterator[int]) -> None:
        super().__init__()
        self._refusals = refusals

    def replace(self, *arguments: object) -> None:
        if next(self._refusals, None) is not None:
            raise KernelError("replace", errno.EBUSY)
        super().replace(*arguments)  # type: ignore[arg-type]  # as they came


def test_failures_are_counted_and_wait() -> None:
    """A sync that fails leaves the change waiting, for the health page to see; one that succeeds does not."""

    async def scenario(seen: Seen) -> None:
        seen.deliver(additions(WEB, BACKING))
        await until(lambda: seen.metrics.tally.sync_failures == 1)
        later_s = time.monotonic() + 61
        assert not seen.health.check(later_s).is_live
        assert seen.metrics.tally.service_changes_pending == 1
        await until(lambda: frontends(seen.edge) == 1)
        assert seen.health.check(later_s + 61).is_live
        assert seen.metrics.tally.service_changes_pending == 0

    with_daemon(RefusingTable(iter([1])), scenario)


def test_repairs_are_counted() -> None:
    """Damage that was repaired has a metric; looking and finding nothing has none."""
    edge = FakeTable()

    async def scenario(seen: Seen) -> None:
        seen.deliver(additions(WEB, BACKING))
        await until(lambda: frontends(edge) == 1)
        state = edge.read(SKELETON)
        assert state is not None
        assert seen.metrics.tally.repairs == 0
        edge.update(SKELETON, {SLOTS: ElementChange(remove=list(state.elements[SLOTS]))})
        seen.watch.disturb()
        await until(lambda: seen.metrics.tally.repairs == 1)
        assert seen.metrics.tally.repaired_elements == len(state.elements[SLOTS])

    with_daemon(edge, scenario)


def test_programming_latency() -> None:
    """A slice that changed after the start counts when it is synced; one of the snapshot does not."""

    async def scenario(seen: Seen) -> None:
        def triggered(name: str) -> Object:
            # A minute from now, so that it is after the start whatever the clock's steps are.
            text = datetime.fromtimestamp(time.time() + 60, UTC).isoformat()
            metadata = msgspec.structs.replace(BACKING.metadata, name=name)
            annotated = msgspec.structs.replace(metadata, annotations={TRIGGER_TIME_ANNOTATION: text})
            return msgspec.structs.replace(BACKING, metadata=annotated)

        def counted() -> float | None:
            return seen.metrics.registry.get_sample_value(
                "kubeproxy_network_programming_duration_seconds_count", {"ip_family": "IPv4"}
            )

        seen.deliver(additions(WEB, triggered("one")))
        await until(lambda: seen.edge.batches == 1)
        assert counted() == 0
        seen.deliver(additions(triggered("two")))
        await until(lambda: counted() == 1)

    with_daemon(FakeTable(), scenario)


def damage_slots(edge: FakeTable) -> None:
    state = edge.read(SKELETON)
    assert state is not None
    edge.update(SKELETON, {SLOTS: ElementChange(remove=list(state.elements[SLOTS]))})


@pytest.mark.parametrize(
    ("is_damaged", "repairs"),
    [
        pytest.param(False, 0, id="our own writes alone"),
        pytest.param(True, 1, id="another's among them"),
    ],
)
def test_lost_notifications(is_damaged: bool, repairs: int, caplog: pytest.LogCaptureFixture) -> None:
    """When notifications were lost, the kernel's generation says whether anybody but us wrote."""
    edge = FakeTable()

    async def scenario(seen: Seen) -> None:
        seen.deliver(additions(WEB, BACKING))
        await until(lambda: frontends(edge) == 1)
        if is_damaged:
            damage_slots(edge)
        seen.watch.disturb(is_lost=True)
        # Behind it, so that the first has been judged.
        seen.watch.disturb(Writer(7, "marker"))
        await until(lambda: seen.metrics.tally.repairs == repairs and "marker" in caplog.text)

    with caplog.at_level("INFO"):
        with_daemon(edge, scenario)
    assert ("notifications were lost" in caplog.text) == is_damaged


def test_damage_names_its_author(caplog: pytest.LogCaptureFixture) -> None:
    """The log says which process has written to our tables."""
    edge = FakeTable()

    async def scenario(seen: Seen) -> None:
        seen.deliver(additions(WEB, BACKING))
        await until(lambda: frontends(edge) == 1)
        damage_slots(edge)
        seen.watch.disturb(Writer(4711, "nft"))
        await until(lambda: seen.metrics.tally.repairs == 1)

    with_daemon(edge, scenario)
    assert "damage by another program repaired elements=1 process=nft pid=4711" in caplog.text


def test_a_rival_is_named(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another kubeproxy that undoes what this one does is an error that says so, once."""
    monkeypatch.setattr(audit_pace, "FIRST_S", 0.001)
    edge = FakeTable()

    async def scenario(seen: Seen) -> None:
        seen.deliver(additions(WEB, BACKING))
        await until(lambda: frontends(edge) == 1)
        for number in range(1, 5):
            damage_slots(edge)
            seen.watch.disturb(Writer(4711, "kubeproxy"))
            await until(lambda: seen.metrics.tally.repairs == number)  # noqa: B023  # awaited here

    with_daemon(edge, scenario)
    assert caplog.text.count("another kubeproxy seems to run in this network namespace") == 1
