"""`netns-lab exec`: the command is the process, in the place of a node or a pod."""

import json
import signal
from pathlib import Path

import pytest

from tests.lab.labs import LabUnderTest

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
