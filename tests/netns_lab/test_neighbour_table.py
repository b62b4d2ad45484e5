"""Which labs the machine's neighbour table is too small for."""

import msgspec
import pytest

from netns_lab.neighbour_table import (
    LARGE,
    LabSize,
    Shortage,
    count_refusals,
    find_shortage,
    find_shortages,
    read_limit,
    read_refusals,
)
from tests.netns_lab.samples import TOPOLOGY

# Two processors; arp_cache has the same columns (net/core/neighbour.c: neigh_stat_seq_show).
STATISTICS = """\
entries  allocs   destroys table_fulls
00000002 0001029c 000144bf            0000000a
00000002 000101b8 0000bf93            00000001
"""


@pytest.mark.parametrize(
    ("size", "limit", "command"),
    [
        pytest.param(LabSize(3, 10), 1024, None, id="small"),
        pytest.param(LabSize(20, 200), 1024, None, id="a few are found again by the collector"),
        pytest.param(LARGE, 1024, "sysctl -w net.ipv4.neigh.default.gc_thresh3=65536", id="large"),
        pytest.param(LabSize(40, 0), 1024, "sysctl -w net.ipv4.neigh.default.gc_thresh3=8192", id="middle"),
        pytest.param(LARGE, 65536, None, id="large, and enlarged as was said"),
        pytest.param(LARGE, None, None, id="not to be seen"),
    ],
)
def test_find_shortage(size: LabSize, limit: int | None, command: str | None) -> None:
    shortage = find_shortage(4, size.needed, limit)

    assert (shortage and shortage.command) == command


def test_what_is_said() -> None:
    assert str(Shortage(6, 1024, 22000)) == (
        "the machine's neighbour table of IPv6 has 1024 entries, such a lab takes up to 22000: "
        "sysctl -w net.ipv6.neigh.default.gc_thresh3=65536"
    )


def test_each_family_of_a_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netns_lab.neighbour_table.read_limit", lambda family: family)
    network = msgspec.structs.replace(TOPOLOGY.network, pod_pool="10.244.0.0/16,fd00:10:244::/56")

    shortages = find_shortages(msgspec.structs.replace(TOPOLOGY, network=network))

    assert [(each.family, each.limit) for each in shortages] == [(4, 4), (6, 6)]


def test_count_refusals() -> None:
    assert count_refusals(STATISTICS) == 11


def test_this_machine() -> None:
    """Also where it can't be seen, in a namespace."""
    assert (read_limit(4) or 1) > 0
    assert read_refusals() >= 0
