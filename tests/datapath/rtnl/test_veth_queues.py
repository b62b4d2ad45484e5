"""How many queues the kernel makes for a veth pair of ours."""

import json

import pytest

from nodeplane.datapath.rtnl import open_rtnl
from tests.netns_fixture import namespace, run_in


@pytest.mark.netns
def test_both_ends_have_one_queue() -> None:
    """More are out of use from the start, and to make and unmake them keeps all of rtnetlink waiting."""
    with namespace("near") as near, namespace("far") as far:
        with open_rtnl(near) as rtnl:
            rtnl.add_veth("v0", "eth0", far)

        for place, name in ((near, "v0"), (far, "eth0")):
            (link,) = json.loads(run_in(place, "ip", "-details", "-json", "link", "show", "dev", name).stdout)
            assert (link["num_tx_queues"], link["num_rx_queues"]) == (1, 1)
