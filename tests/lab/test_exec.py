"""`netns-lab exec` and `kubectl`: the command is the process, at a node, at a pod, at the API server."""

import json
import signal
from pathlib import Path

import pytest

from tests.lab.labs import LabUnderTest, run

pytestmark = pytest.mark.lab


@pytest.mark.parametrize(
    ("script", "code"),
    [
        pytest.param("exit 7", 7, id="its exit code is the command's"),
        pytest.param("kill -PIPE $$", -signal.SIGPIPE, id="it dies of a broken pipe as any command does"),
    ],
)
@pytest.mark.parametrize("place", ["n1", "clients/client"])
def test_exit(place: str, script: str, code: int, demo_lab: LabUnderTest) -> None:
    assert demo_lab.execute(place, "sh", "-c", script, check=False).returncode == code


def test_command_that_is_not_there(demo_lab: LabUnderTest) -> None:
    done = demo_lab.execute("n1", "no-such-command", check=False)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "netns-lab: can't start no-such-command: No such file or directory\n"


def test_nodeplane_s_own_programs_are_found(demo_lab: LabUnderTest) -> None:
    shown = json.loads(demo_lab.execute("n1", "kubeproxy", "show", "-o", "json").stdout)

    assert {row["frontend"] for row in shown} >= {"UDP 10.96.0.10:53"}


def test_resolv_conf_is_the_pod_s_own(demo_lab: LabUnderTest) -> None:
    """In a pod; on a node, and outside, the machine's own stays."""
    machine = Path("/etc/resolv.conf").read_text()
    in_pod = demo_lab.execute("clients/client", "cat", "/etc/resolv.conf").stdout
    in_node = demo_lab.execute("n1", "cat", "/etc/resolv.conf").stdout

    assert in_pod.splitlines() == [
        "search clients.svc.cluster.local svc.cluster.local cluster.local",
        "nameserver 10.96.0.10",
        "options ndots:5",
    ]
    assert (in_node, Path("/etc/resolv.conf").read_text()) == (machine, machine)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(
            ("get", "nodes", "-o", "name"), ["node/n1", "node/n2", "node/n3"], id="kubectl's own options"
        ),
        pytest.param(("get", "--help"), ["Display one or many resources."], id="its help"),
        pytest.param(
            ("-n", "clients", "get", "pods", "-o", "name"), ["pod/client"], id="options before the verb"
        ),
    ],
)
def test_kubectl(arguments: tuple[str, ...], words: list[str], demo_lab: LabUnderTest) -> None:
    assert demo_lab.kubectl(*arguments).splitlines()[: len(words)] == words


def test_kubectl_that_is_not_there(demo_lab: LabUnderTest, tmp_path: Path) -> None:
    environment = {"PATH": str(tmp_path)}
    done = run("kubectl", "--lab", demo_lab.name, "get", "nodes", check=False, environment=environment)

    words = "kubectl: expected in PATH, it is in Debian's package kubernetes-client"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"netns-lab: {words}\n")


def test_kubectl_heeds_no_proxy(demo_lab: LabUnderTest) -> None:
    """Neither kubectl nor the lab's own commands look for their server behind the caller's proxy."""
    environment = {"HTTPS_PROXY": "http://127.0.0.1:1", "https_proxy": "http://127.0.0.1:1"}
    nodes = run("kubectl", "--lab", demo_lab.name, "get", "nodes", "-o", "name", environment=environment)
    status = run("status", demo_lab.name, "-o", "json", environment=environment)

    assert nodes.stdout.splitlines() == ["node/n1", "node/n2", "node/n3"]
    assert json.loads(status.stdout)["state"] == "up"
