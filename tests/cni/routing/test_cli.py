"""`cni-agent routes`: with an agent, without one, and over nothing."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cni.agent_process import AGENT
from tests.cni.routing.racks import ADDRESSES, Racks, racks
from tests.netns_fixture import run_in
from tests.ready_process import stop

pytestmark = pytest.mark.netns


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Racks]:
    with racks(tmp_path) as built:
        yield built


def rows(nodes: Racks, config: Path) -> dict[str, dict[str, Any]]:
    done = run_in(
        nodes.paths["n1"], AGENT, "routes", "--config", str(config), "--node-name", "n1", "-o", "json"
    )
    assert (done.returncode, done.stderr) == (0, "")
    return {row["destination"]: row for row in json.loads(done.stdout)}


def test_with_an_agent_and_without(nodes: Racks, tmp_path: Path) -> None:
    """What the kernel and the datastore have is told in any case; since when, the agent alone knows."""
    nodes.set_mode("cross-subnet")
    for node in ADDRESSES:
        nodes.assign(node)
    processes = {node: nodes.run_agent(node, metricsBindAddress="127.0.0.1:9094") for node in ADDRESSES}
    nodes.converge("cross-subnet", *ADDRESSES)
    config = tmp_path / "n1.yaml"

    found = rows(nodes, config)

    ours = {key: row for key, row in found.items() if row["protocol"] == "nodeplane"}
    assert {
        key: f"{row['via'][0]} {row['dev'][0]}" if row["dev"] else row["via"][0] for key, row in ours.items()
    } == (nodes.ways("n1"))
    assert {row["state"] for row in ours.values()} == {"active", "resolved"}
    assert {row["origin"] for row in ours.values()} == {"own block", "block of n2", "block of n3"}
    assert all(row["age_s"] >= 0 for row in ours.values())

    stop(processes["n1"])
    run_in(nodes.paths["n1"], "ip", "neigh", "flush", "dev", "np-vxlan4", "nud", "permanent")
    run_in(nodes.paths["n1"], "ip", "route", "del", str(nodes.blocks("n2")[0].network))

    after = rows(nodes, config)
    expected = {
        key: {**row, "age_s": None, "state": "unresolved" if row["dev"] == ["np-vxlan4"] else row["state"]}
        for key, row in found.items()
    }
    missing = str(nodes.blocks("n2")[0].network)
    expected[missing] |= {"via": [], "dev": [], "protocol": "", "state": "missing"}
    assert after == expected


def test_as_a_table(nodes: Racks, tmp_path: Path) -> None:
    nodes.set_mode("direct")
    nodes.assign("n2")
    config = tmp_path / "agent.yaml"
    config.write_text(json.dumps({"datastore": nodes.url}))

    done = run_in(nodes.paths["n1"], AGENT, "routes", "--config", str(config), "--node-name", "n1")

    head, *lines = done.stdout.splitlines()
    assert head.split() == ["DESTINATION", "ORIGIN", "MODE", "VIA", "DEV", "PROTOCOL", "STATE", "AGE", "S"]
    assert [line.split() for line in lines] == [
        [str(block.network), "block", "of", "n2", "direct", "missing"] for block in nodes.blocks("n2")
    ]


def test_without_a_datastore(nodes: Racks, tmp_path: Path) -> None:
    """One that was mistyped is not made."""
    config = tmp_path / "agent.yaml"
    config.write_text(f"datastore: sqlite://{tmp_path}/none.sqlite\n")

    done = run_in(nodes.paths["n1"], AGENT, "routes", "--config", str(config))

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"cni-agent: {tmp_path}/none.sqlite: there is no datastore\n"
    assert not (tmp_path / "none.sqlite").exists()
