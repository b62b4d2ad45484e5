"""A lab on an API server that is not its own: it works as any lab does, and leaves the server as it was."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from netns_lab.processes import stop
from netns_lab.programs import ProgramRecord
from tests.lab.labs import TWO_NODES, LabUnderTest, lab_from, remains, run
from tests.netns_lab.apiserver.process import apiserver

pytestmark = pytest.mark.lab

OWN = """
apiVersion: v1
kind: Service
metadata: {name: own, labels: {app: mine}}
spec: {ports: [{port: 80}]}
"""


class Server:
    """A server on the machine's loopback, and a person at it."""

    def __init__(self, directory: Path) -> None:
        self.kubeconfig = directory / "kubeconfig"

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        """Run kubectl on the machine itself."""
        done = subprocess.run(
            ["kubectl", "--kubeconfig", str(self.kubeconfig), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def objects(self) -> set[str]:
        """Return all that the server holds, but for the pieces that come from Services."""
        kinds = "namespaces,nodes,services,pods"
        return set(self.kubectl("get", kinds, "-A", "-o", "name").splitlines())


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Yield a server that a person uses already."""
    with apiserver(tmp_path / "server", "--controllers"):
        found = Server(tmp_path / "server")
        found.kubectl("apply", "-f", "-", stdin=OWN)
        yield found


def kill_relay(lab: LabUnderTest) -> None:
    """End the relay by force."""
    record = lab.state.load_record("programs/fabric/relay", ProgramRecord)
    assert record is not None
    stop([record.process], grace_s=0)


def test_life(server: Server, two_nodes: LabUnderTest) -> None:
    """Up, again, damaged, repaired, down: the file is said once and remembered."""
    before = server.objects()
    two_nodes.up("--kubeconfig", str(server.kubeconfig))
    row = two_nodes.status()["server"][0]
    vip = server.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")

    assert server.objects() - before == {
        "node/n1",
        "node/n2",
        "service/kube-dns",
        "service/web",
        "pod/client",
        "pod/web-1",
        "pod/web-2",
    }
    beats = server.kubectl(
        "get", "nodes", "-o", "jsonpath={.items[*].status.conditions[0].lastHeartbeatTime}"
    )
    assert len(beats.split()) == 2
    assert row["behind"].startswith("relay to 127.0.0.1:")
    assert two_nodes.execute("client", "getent", "ahostsv4", "web").stdout.split()[0] == vip
    assert two_nodes.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}") == vip
    assert two_nodes.up()["changes"] == []
    assert two_nodes.up("--kubeconfig", str(server.kubeconfig))["changes"] == []

    kill_relay(two_nodes)
    server.kubectl("delete", "service", "web")
    assert two_nodes.status()["missing"] == [
        "fabric/relay running",
        "Service/default/web on the API server",
    ]
    assert [change["what"] for change in two_nodes.up()["changes"]] == ["fabric/relay", "Service/default/web"]
    assert two_nodes.up()["changes"] == []

    two_nodes.down()
    assert server.objects() == before
    assert remains(two_nodes.name) == []


def test_secrets_are_not_for_everybody(server: Server, two_nodes: LabUnderTest) -> None:
    two_nodes.up("--kubeconfig", str(server.kubeconfig))

    assert two_nodes.state.kubeconfig.stat().st_mode & 0o777 == 0o600


def test_two_labs_on_one_server(server: Server, two_nodes: LabUnderTest, tmp_path: Path) -> None:
    """What the first has made is in the way of the second, which makes nothing."""
    two_nodes.up("--kubeconfig", str(server.kubeconfig))
    objects = server.objects()
    folder = tmp_path / "other"
    folder.mkdir()
    with lab_from(TWO_NODES, folder) as other:
        done = run("up", str(other.file), "--kubeconfig", str(server.kubeconfig), check=False)

        words = f"is on the API server and was not made by lab {other.name}; delete it there first"
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"netns-lab: Node/n1: {words}\n"
        assert remains(other.name) == []
    assert server.objects() == objects


def test_a_lab_keeps_its_server(server: Server, two_nodes: LabUnderTest) -> None:
    two_nodes.up()

    done = run("up", str(two_nodes.file), "--kubeconfig", str(server.kubeconfig), check=False)

    words = f"expected the one of lab {two_nodes.name}, its own API server: run `down` first"
    assert (done.returncode, done.stderr) == (2, f"netns-lab: --kubeconfig: {words}\n")
    assert two_nodes.up()["changes"] == []


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        pytest.param("{}", 2, ": current-context: expected the name of a context", id="no kubeconfig"),
        pytest.param(
            json.dumps(
                {
                    "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
                    "contexts": [{"name": "c", "context": {"cluster": "c"}}],
                    "current-context": "c",
                }
            ),
            1,
            "list Node: ",
            id="nobody there",
        ),
    ],
)
def test_refused(content: str, code: int, words: str, two_nodes: LabUnderTest, tmp_path: Path) -> None:
    """One line, and nothing is made."""
    path = tmp_path / "config"
    path.write_text(content)

    done = run("up", str(two_nodes.file), "--kubeconfig", str(path), check=False)

    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (code, "", 1)
    assert words in done.stderr
    assert remains(two_nodes.name) == []


def test_down_when_the_server_has_gone(two_nodes: LabUnderTest, tmp_path: Path) -> None:
    """The lab goes all the same, and says what it could not do."""
    with apiserver(tmp_path / "server", "--controllers"):
        two_nodes.up("--kubeconfig", str(tmp_path / "server" / "kubeconfig"))

    done = run("down", two_nodes.name)

    assert "the lab's objects stay on the API server" in done.stderr
    assert remains(two_nodes.name) == []
