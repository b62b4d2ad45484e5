"""`netns-lab demo`, as `make demo` runs it."""

import json
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator

import pytest

from netns_lab.processes import lab_processes
from tests.lab.labs import COMMAND, LabUnderTest, remains, run
from tests.netns_fixture import eventually

pytestmark = pytest.mark.lab


@pytest.fixture
def name() -> Iterator[str]:
    """Yield a lab's name of our own; remove whatever has become of it."""
    lab = f"t{os.getpid():x}{secrets.token_hex(3)}"
    yield lab
    run("down", lab)


def test_demo_as_data(name: str) -> None:
    report = json.loads(run("demo", "--lab", name, "-o", "json").stdout)

    before, after = report["packets"]
    web = next(row for row in report["services"] if row["service"] == "default/web")
    assert report["passed"]
    assert [check for check in report["checks"] if not check["held"]] == []
    assert (len(report["nodes"]), len(report["pods"]), len(report["shares"])) == (3, 6, 4)
    assert report["answer"] == [
        {"name": "web.default.svc.cluster.local", "addresses": [web["cluster_ip"]], "server": "10.96.0.10"}
    ]
    assert sum(share["connections"] for share in report["shares"]) == 100
    assert before["destination"] == f"{web['cluster_ip']}:80"
    assert after["destination"] in web["endpoints"]
    assert (before["source"], before["sequence"]) == (after["source"], after["sequence"])
    assert remains(name) == []


def test_demo_for_people(name: str) -> None:
    """One line for the packet before translation, one for it behind."""
    lines = run("demo", "--lab", name).stdout.splitlines()

    assert [line.split()[0] for line in lines if line.startswith(("before ", "after "))] == [
        "before",
        "after",
    ]
    assert lines[-1] == "passed: true"


def test_demo_that_is_kept(name: str) -> None:
    run("demo", "--lab", name, "--keep")
    status = json.loads(run("status", name, "-o", "json").stdout)
    again = json.loads(run("demo", "--lab", name, "-o", "json").stdout)

    assert status["state"] == "up"
    assert again["passed"]
    assert remains(name) == []


def test_two_demos_of_one_name(name: str) -> None:
    """The second waits until the first has removed its lab; neither sees the other's packets."""
    with (
        subprocess.Popen([COMMAND, "demo", "--lab", name], stdout=subprocess.PIPE, text=True) as first,
        subprocess.Popen([COMMAND, "demo", "--lab", name], stdout=subprocess.PIPE, text=True) as second,
    ):
        printed = [process.communicate(timeout=480)[0] for process in (first, second)]

    # The whole of what the one that failed printed: only that says which claim.
    assert [lines for lines in printed if not lines.endswith("\npassed: true\n")] == []
    assert remains(name) == []


def test_demo_leaves_a_users_own_lab_alone(two_nodes: LabUnderTest) -> None:
    two_nodes.up()

    done = run("demo", "--lab", two_nodes.name, check=False)

    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert two_nodes.up()["changes"] == []


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, id="Ctrl-C"),
        pytest.param(signal.SIGTERM, 130, id="SIGTERM"),
        pytest.param(signal.SIGHUP, 130, id="closed terminal"),
    ],
)
def test_demo_that_is_interrupted(number: int, code: int, name: str) -> None:
    """It cleans up behind itself, however far it has come."""
    with subprocess.Popen(
        [COMMAND, "demo", "--lab", name], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as demo:
        eventually(lambda: len(lab_processes(name, [])), bool)
        demo.send_signal(number)
        printed, said = demo.communicate(timeout=240)

    assert (demo.returncode, printed) == (code, b"")
    assert said.splitlines()[-1] == b"netns-lab: interrupted: the lab is removed"
    assert remains(name) == []
