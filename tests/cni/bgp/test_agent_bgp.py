"""`cni-agent run` with `bgp:` on two nodes joined by a wire: real processes, pods, and their packets."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cni.bgp.bird import PID_NAME
from ipam.datastore import open_datastore
from nodeplane.datapath import netns
from tests.cni.agent_process import AGENT, agent
from tests.cni.bgp.stand import wait_for_hops
from tests.cni.bgp.stream import stream
from tests.cni.conftest import Node, network_config
from tests.netns_fixture import eventually, namespace, run_in, veth_pair
from tests.ready_process import stop

pytestmark = pytest.mark.netns

NUMBERS = (1, 2)
PREFIX = {4: "192.0.2.", 6: "fd00:2::"}
UP = ["Established"] * 2
NOBODYS = """
apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: u, user: {}}]
"""
POOLS = [
    {"name": "default", "cidr": "10.244.0.0/16", "blockSize": 26, "mode": "bgp"},
    {"name": "six", "cidr": "fd00:10:244::/64", "mode": "bgp"},
]


class Wire(NamedTuple):
    """Two nodes on a wire, each with a pod and with an agent's configuration of its own."""

    directory: Path
    nodes: dict[int, Node]
    pods: dict[int, Path]

    def config(self, number: int) -> Path:
        return self.directory / f"agent-{number}.yaml"

    def bird(self, number: int) -> Path:
        return self.directory / f"bird-{number}"

    def pid(self, number: int) -> int:
        """Return the process number of a node's bird; 0 while it is being written."""
        return int((self.bird(number) / PID_NAME).read_text() or 0)

    def agent(self, number: int) -> AbstractContextManager["subprocess.Popen[str]"]:
        """Run a node's agent."""
        manifests = self.directory / "manifests"
        return agent(self.nodes[number].path, f"n{number}", self.config(number), manifests)

    def blocks(self, number: int) -> list[str]:
        """Return a node's blocks."""
        with open_datastore(self.nodes[number].datastore) as datastore:
            return [str(block.network) for block in datastore.blocks() if block.node == f"n{number}"]

    def sessions(self, number: int) -> list[dict[str, Any]]:
        """Return what `cni-agent bgp` prints."""
        command = [AGENT, "bgp", "--config", str(self.config(number)), "-o", "json"]
        done = run_in(self.nodes[number].path, *command)
        rows: list[dict[str, Any]] = json.loads(done.stdout or "[]")
        return rows

    def add_pod(self, number: int) -> dict[int, str]:
        """Add a node's pod; return its addresses by family."""
        result = self.nodes[number].add(self.pods[number], container=f"c{number}")
        texts = [item["address"].partition("/")[0] for item in result["ips"]]
        return {6 if ":" in text else 4: text for text in texts}


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    with ExitStack() as stack:
        nodes, pods = {}, {}
        for number in NUMBERS:
            config = network_config(tmp_path / "ipam.sqlite", f"n{number}")
            config["ipam"]["pools"] = POOLS
            nodes[number] = Node(stack.enter_context(namespace(f"n{number}")), config)
            pods[number] = stack.enter_context(namespace(f"p{number}"))
        for version, length in ((4, 24), (6, 64)):
            first, second = (f"{PREFIX[version]}{number}/{length}" for number in NUMBERS)
            if version == 4:
                stack.enter_context(
                    veth_pair(nodes[1].path, "eth0", nodes[2].path, "eth0", address_a=first, address_b=second)
                )
            else:
                for node, text in ((nodes[1], first), (nodes[2], second)):
                    run_in(node.path, "ip", "-6", "address", "add", text, "dev", "eth0", "nodad")
        built = Wire(tmp_path, nodes, pods)
        (tmp_path / "manifests").mkdir()
        text = "---\n".join(
            f"apiVersion: v1\nkind: Node\nmetadata: {{name: n{number}}}\nstatus:\n  addresses:\n"
            + "".join(
                f"  - {{type: InternalIP, address: '{prefix}{number}'}}\n" for prefix in PREFIX.values()
            )
            for number in NUMBERS
        )
        (tmp_path / "manifests/nodes.yaml").write_text(text)
        for number in NUMBERS:
            built.config(number).write_text(
                f"datastore: sqlite://{tmp_path}/ipam.sqlite\nsocket: ''\nmetricsBindAddress: ''\n"
                f"bgp: {{asNumber: 64512, directory: {built.bird(number)}}}\n"
            )
        try:
            yield built
        finally:
            for number in NUMBERS:
                with suppress(OSError, ValueError):
                    os.kill(built.pid(number), signal.SIGKILL)


def test_agents_end_and_packets_flow(wire: Wire) -> None:
    """Pods reach one another over BGP; agents are killed, frozen, ended, and birds too; no packet is lost."""
    with ExitStack() as stack:
        agents = {number: stack.enter_context(wire.agent(number)) for number in NUMBERS}
        pods = {number: wire.add_pod(number) for number in NUMBERS}
        for number, other in ((1, 2), (2, 1)):
            for block in wire.blocks(other):
                wait_for_hops(wire.nodes[number].path, block, f"{PREFIX[6 if ':' in block else 4]}{other}")
            assert len(wire.blocks(other)) == 2
        rows = wire.sessions(1)
        assert [(row["peer"], row["address"], row["state"]) for row in rows] == [
            ("n2", "192.0.2.2", "Established"),
            ("n2", "fd00:2::2", "Established"),
        ]
        assert [(row["imported"], row["exported"]) for row in rows] == [(1, 1), (1, 1)]

        birds = {number: wire.pid(number) for number in NUMBERS}
        flows = [
            stack.enter_context(stream(wire.pods[1], pods[1][version], wire.pods[2], pods[2][version]))
            for version in (4, 6)
        ]
        # With its bird, as when a container ends; the other one is frozen meanwhile.
        agents[2].send_signal(signal.SIGSTOP)
        agents[1].kill()
        agents[1].wait()
        os.kill(birds[1], signal.SIGKILL)
        stack.enter_context(wire.agent(1))
        eventually(lambda: [row["state"] for row in wire.sessions(1)], lambda states: states == UP)
        eventually(lambda: wire.pid(1), lambda pid: pid not in {0, birds[1]})
        birds[1] = wire.pid(1)
        agents[2].send_signal(signal.SIGCONT)
        code, log = stop(agents[2])
        assert code == 0, log
        stack.enter_context(wire.agent(2))
        assert {number: wire.pid(number) for number in NUMBERS} == birds
        assert [row["state"] for row in wire.sessions(2)] == UP
        sent = [flow.sent for flow in flows]
        eventually(lambda: min(flow.sent for flow in flows), lambda now: now > max(sent) + 50)
        for flow in flows:
            flow.stop()
        assert [(flow.lost, flow.refused) for flow in flows] == [(0, 0), (0, 0)]


def test_bird_comes_back_before_the_cluster_is_known(wire: Wire) -> None:
    """A container that starts anew while the API server is away: sessions do not wait for that."""
    with ExitStack() as stack:
        agents = {number: stack.enter_context(wire.agent(number)) for number in NUMBERS}
        eventually(lambda: [row["state"] for row in wire.sessions(1)], lambda states: states == UP)
        before = wire.pid(1)
        agents[1].kill()
        agents[1].wait()
        os.kill(before, signal.SIGKILL)
        away = wire.directory / "kubeconfig"
        away.write_text(NOBODYS)
        inputs = ("--config", str(wire.config(1)), "--kubeconfig", str(away))
        command = [AGENT, "run", "--node-name", "n1", *inputs]
        with netns.inside(wire.nodes[1].path):
            alone = stack.enter_context(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        stack.callback(alone.kill)
        eventually(lambda: wire.pid(1), lambda pid: pid not in {0, before})
        eventually(lambda: [row["state"] for row in wire.sessions(1)], lambda states: states == UP)
        assert stop(alone)[0] == 0


@pytest.mark.parametrize(
    ("field", "refusal"),
    [
        pytest.param(
            "nodes: {passwordFile: /nowhere}",
            "/nowhere: expected a readable password file: No such file or directory",
            id="password",
        ),
        pytest.param(
            "bird: /nowhere", "expected bird 2 at /nowhere, a program (Debian: bird2)", id="no bird"
        ),
    ],
)
def test_what_is_not_there_is_one_line(wire: Wire, field: str, refusal: str) -> None:
    """A file that is not there ends the agent at once, with code 2 and the file's name."""
    wire.config(1).write_text(
        f"datastore: sqlite://{wire.directory}/ipam.sqlite\nsocket: ''\n"
        f"bgp: {{asNumber: 64512, directory: {wire.bird(1)}, {field}}}\n"
    )
    done = run_in(wire.nodes[1].path, AGENT, "run", "--node-name", "n1", "--config", str(wire.config(1)))
    assert done.returncode == 2
    assert done.stderr == f"cni-agent: {refusal}\n"


def test_without_bgp(wire: Wire) -> None:
    """`cni-agent bgp` of a node that speaks none, or whose bird is not there, is one line."""
    nothing = run_in(wire.nodes[1].path, AGENT, "bgp", "--config", str(wire.config(1)))
    assert nothing.returncode == 1
    assert nothing.stderr == (
        f"cni-agent: bird's control socket {wire.bird(1)}/bird.ctl: No such file or directory\n"
    )
    wire.config(1).write_text("{}\n")
    no_bgp = run_in(wire.nodes[1].path, AGENT, "bgp", "--config", str(wire.config(1)))
    assert (no_bgp.returncode, no_bgp.stdout) == (2, "")
    assert no_bgp.stderr == f"cni-agent: {wire.config(1)}: bgp: expected a node that speaks BGP\n"
