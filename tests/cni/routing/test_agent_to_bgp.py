"""A pool that goes over to BGP and comes back, under a running agent: there is always a way."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from cni.bgp.bird import PID_NAME
from ipam.model import Mode
from nodeplane.datapath.rtnl import Network
from tests.cni.routing.lookups import lookups
from tests.cni.routing.racks import ADDRESSES, Racks, racks
from tests.netns_fixture import answers, eventually

pytestmark = pytest.mark.netns

PAIR = ("n1", "n2")
BIRD = 12


@pytest.fixture
def nodes(open_path: Path) -> Iterator[Racks]:
    try:
        with racks(open_path) as built:
            built.write_nodes({node: ADDRESSES[node] for node in PAIR})
            yield built
    finally:
        # They outlive their agents, which start another as long as they live.
        for node in PAIR:
            with suppress(OSError, ValueError):
                os.kill(int((open_path / f"bird-{node}" / PID_NAME).read_text()), signal.SIGKILL)


@pytest.mark.parametrize("mode", ["direct", "vxlan"])
def test_to_bgp_and_back(nodes: Racks, open_path: Path, mode: Mode) -> None:
    """Ours go when bird's have come, and are there before bird's go."""
    nodes.set_mode(mode)
    pods = {node: nodes.assign(node) for node in PAIR}
    for node in PAIR:
        nodes.run_agent(node, bgp={"asNumber": 64512, "directory": str(open_path / f"bird-{node}")})
    nodes.converge(mode, *PAIR)
    peers = {node: {block.network for block in nodes.blocks(node)} for node in PAIR}

    with lookups(nodes.paths["n1"], pods["n2"]) as lost:
        nodes.set_mode("bgp")
        eventually(lambda: birds(nodes, "n1"), lambda found: found == peers["n2"])
        eventually(lambda: set(nodes.routes("n1")), lambda found: found == peers["n1"])
        for address in pods["n2"]:
            eventually(lambda a=address: answers(nodes.paths["n1"], str(a), 0.5), bool)  # type: ignore[misc]

        nodes.set_mode(mode)
        nodes.converge(mode, *PAIR)
        eventually(lambda: birds(nodes, "n1"), lambda found: found == set())
        assert answers(nodes.paths["n1"], str(pods["n2"][0]))
        assert lost() == []


def birds(nodes: Racks, node: str) -> set[Network]:
    """Return the destinations of bird's routes."""
    rtnl = nodes.rtnl(node)
    return {route.destination for family in (4, 6) for route in rtnl.routes(BIRD, family=family)}
