"""The administrator's own tool goes on in every state of the matrix: listing, as JSON, and watching."""

import json
import subprocess
from pathlib import Path

import pytest

from kubeproxy.rules.addresses import FAMILIES
from kubeproxy.rules.layout import TABLE
from nodeplane.datapath import netns
from tests.kubeproxy.matrix.lab import STATES, WITH_LARGE, Lab
from tests.kubeproxy.matrix.rows import ROWS
from tests.kubeproxy.matrix.shapes import SHAPES
from tests.kubeproxy.matrix.topology import address_of
from tests.netns_fixture import eventually, run_in

pytestmark = pytest.mark.netns


@pytest.mark.parametrize("state", STATES)
def test_nft_lists_every_state(lab: Lab, state: str) -> None:
    """As text and as JSON, clients that are remembered among it."""
    lab.enter(state)
    for client in ("pod", "client"):
        for version in (4, 6):
            host, port = lab.door("sticky", "cluster", version)
            lab.ask(client, "tcp", host, port, version)
    text = run_in(lab.node, "nft", "list", "ruleset")
    document = run_in(lab.node, "nft", "-j", "list", "ruleset")

    assert (text.returncode, text.stderr) == (0, "")
    assert document.returncode == 0
    # nft 1.0.6 puts `update @map { … }` of anybody's into its JSON as text, and says so.
    assert set(document.stderr.splitlines()) <= {"warning: stmt ops map have no json callback"}
    tables = [item["table"] for item in json.loads(document.stdout)["nftables"] if "table" in item]
    assert sorted(table["family"] for table in tables if table["name"] == TABLE) == sorted(FAMILIES)
    assert text.stdout.count(f" {TABLE} {{") == len(FAMILIES)


def test_every_state_has_rows() -> None:
    """No configuration is there for nothing."""
    assert {row.state for row in ROWS} == STATES.keys()


@pytest.mark.parametrize("state", STATES)
def test_nft_monitor_goes_on(lab: Lab, tmp_path: Path, state: str) -> None:
    """`nft monitor` beside us prints, in every state, how endpoints change.

    `test_neighbours` has what it makes of all other changes.
    """
    lab.enter(state)
    log = tmp_path / "log"
    with netns.inside(lab.node), log.open("wb") as output:
        monitor = subprocess.Popen(["nft", "monitor"], stdout=output, stderr=subprocess.STDOUT)
    try:
        # It says nothing until something happens, and starts anew if that is while it reads what is there.
        every_s = 2.0 if state == WITH_LARGE else 0.2
        eventually(lambda: _heard(lab, log), lambda text: "add table ip heard" in text, every_s=every_s)
        for shape in ("web", "local", "sticky", "weighted"):
            lab.change(shape, "other")
            lab.change(shape, SHAPES[shape].endpoints)
        # Nothing else of ours is at these addresses.
        ends = [f"{address_of('other', version)} . 8080 }}" for version in (4, 6)]
        for map_name in ("slots", "member-addresses"):
            for change in ("create", "delete"):
                for family, end in zip(FAMILIES, ends, strict=True):
                    start = f"{change} element {family} {TABLE} {map_name} "
                    eventually(lambda start=start, end=end: _printed(log, start, end), bool)  # type: ignore[misc]
        assert monitor.poll() is None
    finally:
        monitor.kill()
        monitor.wait(60)


def _heard(lab: Lab, log: Path) -> str:
    run_in(lab.node, "nft", "add table ip heard; delete table ip heard")
    return log.read_text()


def _printed(log: Path, start: str, end: str) -> bool:
    return any(line.startswith(start) and line.endswith(end) for line in log.read_text().splitlines())
