"""The daemon between a source and a table: when it writes, and when it must not."""

import asyncio
import time
from datetime import UTC, datetime
from ipaddress import ip_network

import msgspec
import pytest

from kubeproxy.config.settings import LocalTraffic, NodePortAddresses, Settings
from kubeproxy.daemon import RestartNeeded
from kubeproxy.own_node import TO_BE_DELETED_TAINT
from kubeproxy.rules.addresses import pack_address
from kubeproxy.rules.layout import NODE_PORT_IPS
from kubeproxy.rules.rule_options import SourceNetwork
from nodeplane.datapath.nft.fake import FakeTable
from nodeplane.kube.objects import Metadata, Node, NodeAddress, NodeSpec, NodeStatus, Object, Taint
from nodeplane.kube.source import Batch
from nodeplane.kube.store import diff_objects
from nodeplane.kube.trigger_time import TRIGGER_TIME_ANNOTATION
from tests.kubeproxy.daemon_stand import (
    BACKING,
    DEFAULT,
    WEB,
    Seen,
    frontends,
    table_of_another_time,
    until,
    with_daemon,
)
from tests.kubeproxy.objects import additions, node, service


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
