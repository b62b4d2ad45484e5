"""Endpoints come and go while clients connect all the time, and kubeproxy is killed in the middle of it.

`bench/kubeproxy_churn.py` does the same with 10,000 services and against the clock. Here nothing is timed: a
removal counts from when the kernel was seen without the endpoint.
"""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import cluster_objects as objects
from bench.churn import churn_cluster, lateness, strangers
from kubeproxy.rules.addresses import pack_address
from kubeproxy.rules.layout import SLOTS, TABLE, PackedEndpoint, encode_endpoint
from nodeplane.datapath import netns
from nodeplane.datapath.nft.kernel import KernelTable
from tests.netns_fixture import eventually

SERVICES = 30
CHANGING = 10
CHANGES = 90
KILLS = {20, 45, 70}
REST_S = 0.002
# Generous: a packet that a busy machine loses is sent again.
LIMIT_S = 30.0


def endpoints_of(table: KernelTable) -> set[PackedEndpoint]:
    return {use.data for use in table.read_uses(SLOTS)}


def lacks(endpoint: PackedEndpoint) -> Callable[[set[PackedEndpoint]], bool]:
    return lambda endpoints: endpoint not in endpoints


@pytest.mark.netns
def test_nobody_meets_a_removed_endpoint_and_kills_break_nothing(tmp_path: Path) -> None:
    """Each connection reaches an endpoint that its Service has; none fails, also not through kill -9."""
    seen = []
    with churn_cluster(tmp_path, SERVICES) as cluster:
        with netns.inside(cluster.node):
            table = KernelTable("ip", TABLE)
        with (
            table,
            cluster.clients("changing", range(CHANGING), rest_s=REST_S, limit_s=LIMIT_S) as changing,
            cluster.clients(
                "unchanged", range(CHANGING, SERVICES), rest_s=REST_S, limit_s=LIMIT_S
            ) as unchanged,
        ):
            for number in range(CHANGES):
                step = cluster.change(number % CHANGING)
                if number in KILLS:
                    cluster.kill()
                    cluster.restart()
                removed = encode_endpoint(pack_address(step.removed), objects.TARGET_PORT)
                eventually(lambda: endpoints_of(table), lacks(removed), every_s=0.002)
                seen.append(time.monotonic())
        left = cluster.plan()

    made = [*changing, *unchanged]
    assert {attempt.service for attempt in made} == set(range(SERVICES))
    assert [attempt for attempt in made if attempt.error] == []
    assert strangers(made) == []
    assert lateness(changing, cluster.steps, seen) == []
    assert left == "[]"
