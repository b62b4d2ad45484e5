"""What the real `cni-agent` does for addresses: it frees what is left behind, and shows the figures."""

import urllib.request
from pathlib import Path

import pytest

from ipam.allocator import Allocator
from ipam.check import find_contradictions, read_snapshot
from ipam.datastore import open_datastore
from ipam.model import Pool
from nodeplane.datapath import netns
from tests.cni.agent_process import agent
from tests.cni.conftest import Node, address_of
from tests.ipam.values import network, request
from tests.netns_fixture import eventually, namespace
from tests.ready_process import stop

pytestmark = pytest.mark.netns


def held(node: Node) -> set[str]:
    """Return the addresses in use; the datastore must be sound."""
    with open_datastore(node.datastore) as datastore:
        snapshot = datastore.read(read_snapshot)
    assert find_contradictions(snapshot) == []
    return {str(item.address) for item in snapshot.allocations}


def series(node: Node) -> dict[str, float]:
    """Return the metrics, by name and labels."""
    with netns.inside(node.path):
        # The agent's own page, on the node's loopback.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        text = opener.open("http://127.0.0.1:9094/metrics", timeout=30).read().decode()
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def test_an_address_that_was_left_behind_comes_free(node: Node, pod: Path, tmp_path: Path) -> None:
    config = tmp_path / "agent.yaml"
    config.write_text(f"datastore: sqlite://{tmp_path}/ipam.sqlite\ngcInterval: 50ms\ngcGrace: 200ms\n")
    with agent(node.path, "n1", config, None) as process:
        alive = address_of(node.add(pod))
        with namespace("dying") as dying:
            lost = address_of(node.add(dying, container="c2", args="K8S_POD_NAMESPACE=a;K8S_POD_NAME=b"))
            assert held(node) == {alive, lost}

        # Its namespace is gone, and no DEL was ever sent.
        eventually(lambda: held(node), lambda addresses: addresses == {alive})

        reclaimed = 'ipam_allocations_gc_reclamations{ippool="default",node="n1"}'
        found = eventually(lambda: series(node), lambda shown: shown.get(reclaimed) == 1)
        labels = 'operation="ADD",outcome="ok"'
        assert found[f"nodeplane_ipam_request_duration_seconds_count{{{labels}}}"] == 2
        assert found['ipam_blocks{ippool="default",node="n1"}'] == 1
        # One each, and one more for whenever another writer was faster.
        assert found["nodeplane_ipam_transactions_total"] >= 2
        in_use = 'ipam_allocations_in_use{ippool="default",node="n1"}'
        eventually(lambda: series(node), lambda shown: shown.get(in_use) == 1)
        code, log = stop(process)

    assert code == 0
    assert f"address freed address={lost} handle=c2/eth0 reason=" in log
    assert held(node) == {alive}


def test_blocks_on_a_link_get_no_routes(node: Node, pod: Path, tmp_path: Path) -> None:
    """A bridge's own route leads to its pods; a blackhole for their block would win over it."""
    config = tmp_path / "agent.yaml"
    config.write_text(f"datastore: sqlite://{tmp_path}/ipam.sqlite\nmetricsBindAddress: ''\n")
    bridged = Pool("bridged", network("10.22.0.0/24"), 26, on_link=True)
    with open_datastore(node.datastore) as datastore:
        Allocator(datastore, (bridged,)).assign(request(7, node="n1"))
    node.add(pod)
    with open_datastore(node.datastore) as datastore:
        [routed] = [block.network for block in datastore.blocks() if block.pool != "bridged"]

    with agent(node.path, "n1", config, None):
        blackholes = [line for line in node.routes() if line.startswith("blackhole")]

    assert blackholes == [f"blackhole {routed}"]


def test_a_datastore_that_is_gone_is_awaited(node: Node, pod: Path, tmp_path: Path) -> None:
    """An empty one in its place would take the routes away, and give the pod's address out again."""
    path = tmp_path / "ipam.sqlite"
    config = tmp_path / "agent.yaml"
    config.write_text(f"datastore: sqlite://{path}\n")
    with agent(node.path, "n1", config, None) as process:
        alive = address_of(node.add(pod))
        routes = eventually(node.routes, lambda found: any("blackhole" in line for line in found))
        for file in tmp_path.glob("ipam.sqlite*"):
            file.rename(file.with_name(f"kept-{file.name}"))

        assert process.stderr is not None
        # The second line says what it found when it looked again.
        next(line for line in process.stderr if "datastore lost" in line)
        assert "there is no datastore" in next(line for line in process.stderr if "cni.agent.daemon" in line)
        assert not path.exists()
        assert node.routes() == routes

        for file in tmp_path.glob("kept-*"):
            file.rename(file.with_name(file.name.removeprefix("kept-")))
        assert held(node) == {alive}
