"""The machine that the tests run on, as the doctor sees it."""

import json
import subprocess
from pathlib import Path

import pytest

from netns_lab.commands import program_path
from netns_lab.doctor.facts import read_facts, state_of
from netns_lab.state import StateDirectory
from nodeplane.datapath import netns


@pytest.mark.netns
def test_this_machine_runs_labs() -> None:
    """Its kernel is known: what the issue says that it lacks is found to be lacking, and nothing is left."""
    facts = read_facts()

    assert facts.lacks == ""
    assert {"nf_tables", "NAT", "veth", "bridge", "VXLAN", "tbf"} <= {*facts.features}
    assert {"nft", "ip", "unshare"} <= {*facts.programs}
    assert not [name for name in netns.names() if name.startswith("netns-lab-doctor-")]


@pytest.mark.netns
def test_the_command(tmp_path: Path) -> None:
    """Without the programs it says so, and exits with 1."""
    done = subprocess.run(
        (program_path("netns-lab"), "doctor", "-o", "json"),
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    report = json.loads(done.stdout)
    assert (done.returncode, report["state"]) == (1, "unfit")
    missing = {each["name"]: each["advice"] for each in report["findings"] if each["state"] == "missing"}
    assert missing["nft"] == "apt-get install nftables"


def test_a_lab_without_files(tmp_path: Path) -> None:
    assert state_of(StateDirectory("x", tmp_path)) is None


def test_a_lab_that_a_command_works_on(tmp_path: Path) -> None:
    state = StateDirectory("x", tmp_path)
    with state.locked():
        assert state_of(state) == "busy"
