"""What the agent's metrics say."""

import asyncio
import secrets
from contextlib import suppress

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from cni.agent.collector import Round
from cni.agent.ipam_metrics import IpamMetrics
from cni.agent.stats_listener import listen_for_stats
from ipam.leaks import Leak
from ipam.model import Block, Lent, Pool, Released
from ipam.reclaim import Reclaim
from ipam.request_stats import RequestStats, decode_stats, send_stats
from tests.ipam.values import allocation, network

POOL = Pool("default", network("10.0.0.0/24"), 26, (network("10.0.0.0/30"),))
OWN = Block(network("10.0.0.64/26"), "default", "n1", 5, (Released(1, 50),), lent=(Lent(2, "n2"),))
OTHER = Block(network("10.0.0.128/26"), "default", "n2", 3, lent=(Lent(0, "n1"), Lent(1, "n3")))


class Shown(IpamMetrics):
    """The metrics, with what shows them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        super().__init__(self.registry, "n1")


def lines(metrics: Shown) -> set[str]:
    """Return the series about addresses."""
    text = generate_latest(metrics.registry).decode()
    return {line for line in text.splitlines() if "ipam_" in line and not line.startswith("#")}


def test_blocks() -> None:
    """Series with a node are this node's; a pool is counted over all nodes."""
    metrics = Shown()
    metrics.take_blocks((POOL,), (OWN, OTHER))

    assert lines(metrics) >= {
        # Three of its own four are used here, and one of n2's.
        'ipam_allocations_in_use{ippool="default",node="n1"} 4.0',
        'ipam_allocations_borrowed{ippool="default",node="n1"} 1.0',
        'ipam_blocks{ippool="default",node="n1"} 1.0',
        'ipam_ippool_size{ippool="default"} 256.0',
        # Less four that are reserved, four and three in use.
        'nodeplane_ipam_pool_free{ippool="default"} 245.0',
    }
    assert not any('node="n2"' in line for line in lines(metrics))


def test_collection() -> None:
    metrics = Shown()
    one, two = allocation(1, "10.0.0.64"), allocation(2, "10.0.0.65")
    metrics.take_round(Round((one, two), (), ()))
    metrics.take_round(Round((two,), (Leak(one, "gone"),), (Reclaim(OWN, "give back"),)))

    assert lines(metrics) >= {
        'ipam_allocations_gc_candidates{ippool="default",node="n1"} 1.0',
        'ipam_allocations_gc_reclamations{ippool="default",node="n1"} 1.0',
        "nodeplane_ipam_blocks_reclaimed_total 1.0",
    }


def test_requests() -> None:
    metrics = Shown()
    metrics.take_stats(RequestStats("ADD", "ok", 0.003, 2, 1, 1))
    metrics.take_stats(RequestStats("ADD", "ok", 0.0001, 1))
    metrics.take_stats(RequestStats("DEL", "error", 70.0, 1))
    metrics.take_stats(RequestStats("anything", "else", -1.0, -5))

    assert lines(metrics) >= {
        'nodeplane_ipam_request_duration_seconds_bucket{le="0.0005",operation="ADD",outcome="ok"} 1.0',
        'nodeplane_ipam_request_duration_seconds_bucket{le="0.004",operation="ADD",outcome="ok"} 2.0',
        'nodeplane_ipam_request_duration_seconds_bucket{le="60.0",operation="DEL",outcome="error"} 0.0',
        'nodeplane_ipam_request_duration_seconds_count{operation="DEL",outcome="error"} 1.0',
        'nodeplane_ipam_request_duration_seconds_count{operation="other",outcome="error"} 1.0',
        "nodeplane_ipam_transactions_total 4.0",
        "nodeplane_ipam_conflicts_total 1.0",
        "nodeplane_ipam_reads_total 1.0",
    }


def test_what_a_plugin_tells_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a real socket, under a name of this test's own; a second agent does without."""
    address = f"\0nodeplane-test-{secrets.token_hex(8)}"
    monkeypatch.setattr("ipam.request_stats.ADDRESS", address)
    monkeypatch.setattr("cni.agent.stats_listener.ADDRESS", address)
    metrics = Shown()

    asyncio.run(hear(metrics))

    assert any(line.startswith("nodeplane_ipam_transactions_total") for line in lines(metrics))


def test_stats_that_are_none() -> None:
    assert [decode_stats(datagram) for datagram in (b"", b"{}", b"\xff", b"[1]")] == [None] * 4


def test_without_a_listener_nothing_happens() -> None:
    send_stats(RequestStats("ADD", "ok", 0.1))


async def hear(metrics: Shown) -> None:
    """Listen until something has come."""
    listening = asyncio.create_task(listen_for_stats(metrics))
    async with asyncio.timeout(30):
        # It has the name once it has run.
        await asyncio.sleep(0)
        await listen_for_stats(Shown())
        while not any("duration_seconds_count" in line for line in lines(metrics)):
            send_stats(RequestStats("ADD", "ok", 0.1, 1))
            await asyncio.sleep(0.01)
    listening.cancel()
    with suppress(asyncio.CancelledError):
        await listening
