"""The scenarios of examples/, in one lab that each leaves as it should; and one that fails."""

import json
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from netns_lab.processes import lab_processes
from netns_lab.removal import down
from netns_lab.scenarios.loader import read_scenario
from netns_lab.scenarios.runner import run_scenario
from netns_lab.state import StateDirectory
from netns_lab.status import read_status
from tests.lab.labs import COMMAND, remains, run
from tests.netns_fixture import eventually

pytestmark = pytest.mark.lab

EXAMPLES = sorted(Path(__file__).parents[2].joinpath("examples/scenarios").glob("*.yaml"))

FAILING = """
name: failing
topology: {topology}
steps:
  - fault: {{kind: kill, target: n2/kubeproxy}}
  - traffic: {{name: users, from: client, to: "http://web/"}}
  - within: 100ms
    expect: {{state: up}}
  - within: 100ms
    expect: {{service: default/web, endpoints: 7}}
  - clear: true
"""


@pytest.fixture(scope="module")
def state() -> Iterator[StateDirectory]:
    directory = StateDirectory(f"t{os.getpid():x}{secrets.token_hex(3)}")
    try:
        yield directory
    finally:
        down(directory)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path: Path, state: StateDirectory) -> None:
    """Every step holds, and the lab is left as its topology asks for it."""
    loaded = read_scenario(path)
    topology = msgspec.structs.replace(loaded.lab.topology, name=state.lab)
    lab = msgspec.structs.replace(loaded.lab, topology=topology)

    result = run_scenario(msgspec.structs.replace(loaded, lab=lab), state, lambda _step: None, keep=True)

    assert [step for step in result.steps if step.failure] == []
    status = read_status(state)
    assert (status["state"], status["faults"]) == ("up", [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_scenario_that_is_interrupted(number: int) -> None:
    """Its lab is removed, however far it has come."""
    name = f"t{os.getpid():x}{secrets.token_hex(3)}"
    command = [str(COMMAND), "run", str(EXAMPLES[0]), "--lab", name]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            eventually(lambda: len(lab_processes(name, [])), bool)
            process.send_signal(number)
            _, said = process.communicate(timeout=240)
        finally:
            process.kill()

    assert (process.returncode, said.splitlines()[-1]) == (130, "netns-lab: interrupted: the lab is removed")
    assert remains(name) == []


def test_scenario_that_fails(tmp_path: Path) -> None:
    """The step that does not hold is told, those behind it are not run, and nothing is left."""
    topology = Path(__file__).parents[2] / "examples/two-nodes.yaml"
    file, junit = tmp_path / "scenario.yaml", tmp_path / "out" / "junit.xml"
    file.write_text(FAILING.format(topology=topology))
    name = f"t{os.getpid():x}{secrets.token_hex(3)}"

    done = run("run", str(file), "--lab", name, "--junit", str(junit), "-o", "json", check=False)

    report = json.loads(done.stdout)
    assert (done.returncode, report["passed"]) == (1, False)
    assert [row["result"] for row in report["steps"]] == [*["passed"] * 4, "failed", "skipped"]
    assert report["steps"][4]["reason"] == "default/web has 2 endpoints, after 100ms"
    assert 'failures="1"' in junit.read_text()
    assert remains(name) == []
