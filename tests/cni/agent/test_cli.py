"""The command line of cni-agent: wrong input is one line and exit code 2, and nothing is touched."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cni.agent_process import AGENT

CONFIG = str(Path(__file__).parents[3] / "deploy/cni/agent.yaml")


def run_agent(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([AGENT, *arguments], capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(
            ("run", "--node-name", "n1"), "cni-agent: Missing option '--config'.", id="no configuration"
        ),
        pytest.param(
            ("run", "--node-name", "n1", "--config", "/nowhere/agent.yaml"),
            "cni-agent: /nowhere/agent.yaml: expected a readable file: No such file or directory",
            id="configuration not there",
        ),
        pytest.param(
            ("run", "--node-name", "n1", "--config", CONFIG, "--manifests", "m", "--kubeconfig", "k"),
            "cni-agent: --manifests, --kubeconfig: expected exactly one of them",
            id="two sources",
        ),
        pytest.param(
            ("run", "--node-name", "n1", "--config", CONFIG, "--master", "https://h"),
            "cni-agent: --manifests, --kubeconfig: expected exactly one of them",
            id="master alone",
        ),
        pytest.param(
            ("routes", "--config", "/nowhere/agent.yaml"),
            "cni-agent: /nowhere/agent.yaml: expected a readable file: No such file or directory",
            id="routes, configuration not there",
        ),
        pytest.param(
            ("routes", "--node-name", "n_1"),
            "cni-agent: Invalid value for '--node-name': expected a DNS subdomain name (lower case, digits, "
            "'-'), got 'n_1'",
            id="routes, no name of a node",
        ),
        pytest.param(("walk",), "cni-agent: No such command 'walk'.", id="no such command"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], message: str) -> None:
    done = run_agent(*arguments)

    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"{message}\n")


def test_a_kubeconfig_that_is_not_there(tmp_path: Path) -> None:
    """The option reaches the source, whose error is the program's."""
    config = tmp_path / "agent.yaml"
    config.write_text(f"datastore: sqlite:///{tmp_path}/ipam.sqlite\n")
    done = run_agent("run", "--node-name", "n1", "--config", str(config), "--kubeconfig", f"{tmp_path}/none")

    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        2,
        f"cni-agent: {tmp_path}/none: expected a readable file: No such file or directory",
    )


def test_help_and_version() -> None:
    assert "run" in run_agent("--help").stdout
    assert run_agent("--version").returncode == 0


def test_help_loads_nothing_slow() -> None:
    code = "import sys, cni.agent.cli; sys.exit(bool({'asyncio', 'sqlite3'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=False)

    assert done.returncode == 0
