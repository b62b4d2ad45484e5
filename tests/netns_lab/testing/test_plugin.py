"""The plugin for pytest, in runs of pytest of its own."""

import subprocess
import sys

import pytest

from netns_lab.commands import program_path
from netns_lab.names import lab_of
from nodeplane.datapath import netns

pytest_plugins = ["pytester"]

TOPOLOGY = """
name: beside
nodes: [{name: n1}]
pods:
  - {name: client, node: n1}
  - {name: web, node: n1, labels: {app: web}, ports: [{port: 8080}]}
manifests: [service.yaml]
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""
TESTS = """
def test_good(lab):
    assert "web" in lab.execute("client", "curl", "-s", "--max-time", "60", "http://web/").stdout

def test_same_lab(lab, request):
    assert lab.status()["state"] == "up"

def test_bad(lab):
    lab.execute("client", "curl", "-s", "--max-time", "60", "http://web:80/")
    assert lab.name == "beside"
"""


@pytest.fixture
def run(pytester: pytest.Pytester) -> pytest.Pytester:
    """Return a folder with the plugin, and nothing of our own suite's settings."""
    pytester.makeini("[pytest]\naddopts = -p netns_lab.testing.plugin\n")
    return pytester


def labs() -> set[str]:
    """Return the labs of the plugin's kind on this machine."""
    found = {lab_of(name) for name in netns.names()}
    return {name for name in found if name is not None and name.startswith("t") and len(name) == 11}


@pytest.mark.lab
def test_a_module_with_a_lab(run: pytest.Pytester) -> None:
    """One lab for the module; a failure has state and packets; with --keep-lab the lab stays, and is named.

    --pause-on-error waits for nobody where nobody is.
    """
    run.makefile(".yaml", test_web=TOPOLOGY, service=SERVICE)
    run.makepyfile(test_web=TESTS)

    result = run.runpytest_subprocess("-q", "--keep-lab", "--pause-on-error")

    try:
        result.assert_outcomes(passed=2, failed=1)
        output = result.stdout.str()
        (kept,) = [line for line in output.splitlines() if line.startswith("lab t")]
        name = kept.split()[1]
        assert f"netns-lab exec --lab {name} NODE|POD -- CMD" in output
        assert "Captured lab call" in output
        assert "default/web" in output
        # The request to the VIP, as the node saw it.
        assert "Captured packets call" in output
        assert "HTTP: GET / HTTP/1.1" in output
        assert name in labs()
    finally:
        for line in result.stdout.lines:
            if line.startswith("lab t"):
                subprocess.run((program_path("netns-lab"), "down", line.split()[1]), check=True, timeout=240)


@pytest.mark.lab
def test_nothing_is_left(run: pytest.Pytester) -> None:
    run.makefile(".yaml", lab="name: x\nnodes: [{name: n1}]\n")
    run.makepyfile(
        test_it="def test(lab):\n    print('the lab is', lab.name)\n    assert lab.status()['state'] == 'up'"
    )

    result = run.runpytest_subprocess("-q", "-s", "--lab-capture", "none")

    result.assert_outcomes(passed=1)
    (name,) = [line.split()[-1] for line in result.stdout.lines if "the lab is" in line]
    assert name not in labs()


@pytest.mark.parametrize(
    ("files", "text"),
    [
        pytest.param({}, "expected a topology beside the test: test_it.yaml or lab.yaml", id="no file"),
        pytest.param({"test_it": "[]"}, "expected a topology", id="no topology"),
        pytest.param({"lab": "name: x\nnodes: 5\n"}, "nodes: expected `array`", id="wrong field"),
    ],
)
def test_what_is_wrong_is_said(run: pytest.Pytester, files: dict[str, str], text: str) -> None:
    for name, topology in files.items():
        run.makefile(".yaml", **{name: topology})
    run.makepyfile(test_it="def test(lab): pass\n")

    result = run.runpytest_subprocess("-q")

    result.assert_outcomes(errors=1)
    assert text in result.stdout.str()


def test_others_fixtures_of_that_name_are_left_alone(run: pytest.Pytester) -> None:
    run.makepyfile(
        test_it="import pytest\n@pytest.fixture\ndef lab(): return 5\ndef test(lab): assert lab == 6\n"
    )

    result = run.runpytest_subprocess("-q", "--pause-on-error")

    result.assert_outcomes(failed=1)
    assert "Captured lab" not in result.stdout.str()


def test_importing_it_is_cheap() -> None:
    """Every run of pytest on the machine loads it."""
    code = "import sys, pytest, netns_lab.testing.plugin; print('msgspec' in sys.modules)"

    done = subprocess.run((sys.executable, "-c", code), capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"
