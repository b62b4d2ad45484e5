"""The trace's table, of every kind: the kernel takes it, nft prints it, and it changes no packet."""

import pytest

from netns_lab.trace.mark import Mark, build_mark
from netns_lab.trace.table import TABLE, build_trace_table
from nodeplane.datapath import netns
from nodeplane.datapath.nft.expr import Family
from nodeplane.datapath.nft.kernel import KernelTable
from tests.netns_fixture import namespace, run_in

_MARKS = [build_mark(protocol, 80, 0x12345678) for protocol in ("tcp", "udp", "sctp")]


@pytest.mark.netns
@pytest.mark.parametrize("of_bridge", [False, True], ids=["of nodes", "of bridges"])
@pytest.mark.parametrize("family", ["ip", "ip6"])
@pytest.mark.parametrize("mark", _MARKS, ids=lambda mark: mark.protocol)
def test_it_can_be_printed(mark: Mark, family: Family, of_bridge: bool) -> None:
    table = build_trace_table(family, mark, of_bridge=of_bridge)
    with namespace() as ns:
        with netns.inside(ns):
            edge = KernelTable(table.family, TABLE, 1 << 16)
        with edge:
            edge.create_owned(table)
            printed = run_in(ns, "nft", "list", "ruleset")
        after = run_in(ns, "nft", "list", "ruleset")

    assert printed.stderr == ""
    assert printed.stdout.count("meta nftrace set 1") == len(
        [rule for rule in table.rules if "its answer" not in rule.comment]
    )
    assert not any(word in printed.stdout for word in ("drop", "reject", "nat to", "mark set"))
    assert after.stdout == ""
