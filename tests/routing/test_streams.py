"""An agent or a BIRD that is killed, frozen or replaced under traffic between pods: no packet is lost."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from netns_lab import processes
from netns_lab.names import router_program
from nodeplane.datapath import netns
from tests.netns_fixture import eventually
from tests.routing.routed_lab import FAMILIES, RoutedLab
from tests.routing.stream import Stream, streaming

pytestmark = pytest.mark.lab


# Of the first rack's leaf with its two nodes and two spines, in two families.
_SESSIONS = 8
_LIMIT_S = 120.0
_TOLD_LINES = 30
NODES = ("n1", "n2")
# Of datagrams, with 2 ms between two: a probe of BIRD's and more passes meanwhile.
_SEVERAL_SECONDS = 1500


def kill(lab: RoutedLab, _: list[Stream]) -> None:
    """End the agents of two nodes by force, and start them again."""
    processes.kill([lab.process(f"nodes/{node}/cni-agent") for node in NODES])
    lab.up()


def upgrade(lab: RoutedLab, _: list[Stream]) -> None:
    """End the agents of two nodes as a new version's installation does, and start them again."""
    agents = [lab.agent(node) for node in NODES]
    for agent in agents:
        os.kill(agent, signal.SIGTERM)
    eventually(lambda: [agent for agent in agents if Path(f"/proc/{agent}").exists()], lambda left: not left)
    lab.up()


def overlap(lab: RoutedLab, running: list[Stream]) -> None:
    """Start other agents of two nodes while theirs still run, as an installation that is in a hurry does."""
    with ExitStack() as stack:
        for node in NODES:
            files = Path(f"/proc/{lab.agent(node)}")
            command = files.joinpath("cmdline").read_bytes().split(b"\0")[:-1]
            with netns.inside(lab.node(node)):
                other = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            stack.callback(other.wait)
            stack.callback(other.kill)
        running[0].await_progress(_SEVERAL_SECONDS)
        upgrade(lab, running)


def freeze(lab: RoutedLab, running: list[Stream]) -> None:
    """Stop the agents of two nodes for seconds in which their routes are looked at by the kernel alone."""
    agents = [lab.agent(node) for node in NODES]
    try:
        for agent in agents:
            os.kill(agent, signal.SIGSTOP)
        # What happens meanwhile is theirs to catch up with.
        lab.execute("n1", "ip", "link", "add", "probe0", "type", "bridge")
        lab.execute("n1", "ip", "link", "del", "probe0")
        running[0].await_progress(_SEVERAL_SECONDS)
    finally:
        for agent in agents:
            os.kill(agent, signal.SIGCONT)


@pytest.mark.parametrize(
    "disturb", [kill, freeze, upgrade, overlap], ids=lambda disturb: str(disturb.__name__)
)
def test_agents(disturb: Callable[[RoutedLab, list[Stream]], None], routed: RoutedLab) -> None:
    with streams(routed) as running:
        disturb(routed, running)
        for stream in running:
            stream.await_progress()

    assert [stream.lost() for stream in running] == [[], [], [], []]
    assert routed.up()["changes"] == []


def kill_node_bird(lab: RoutedLab) -> None:
    """End a node's BIRD by force; its agent starts another."""
    file = lab.state.path / "bird" / "n1" / "bird.pid"
    before = int(file.read_text())
    os.kill(before, signal.SIGKILL)
    eventually(lambda: _pid(file), lambda pid: pid not in {0, before}, within_s=_LIMIT_S)


def kill_leaf_bird(lab: RoutedLab) -> None:
    """End the BIRD of the rack's router by force, and start it again."""
    processes.kill([lab.process(router_program("leaf1"))])
    lab.up()


@pytest.mark.parametrize("routed", ["bgp"], indirect=True)
@pytest.mark.parametrize("disturb", [kill_node_bird, kill_leaf_bird], ids=lambda each: str(each.__name__))
def test_birds(disturb: Callable[[RoutedLab], None], routed: RoutedLab) -> None:
    """What was learned stays in force until the sessions are up again (RFC 4724)."""
    with telling(routed):
        # Packets may flow by what a lost session has left, or a restarted BIRD still wait for its neighbours:
        # a second loss of the same session would take it away.
        await_sessions(routed)
        with streams(routed) as running:
            disturb(routed)
            await_sessions(routed)
            for stream in running:
                stream.await_progress(200)

        assert [stream.lost() for stream in running] == [[], [], [], []]


@contextmanager
def streams(lab: RoutedLab) -> Iterator[list[Stream]]:
    """Send from the first pod to the second, and from the last to the first, in both families."""
    pods = lab.scenario.pods
    ways = [(pods[0], pods[1]), (pods[-1], pods[0])]
    with ExitStack() as stack:
        yield [
            stack.enter_context(streaming(lab, one, other, family))
            for one, other in ways
            for family in FAMILIES
        ]


def await_sessions(lab: RoutedLab) -> None:
    """Wait until the leaf's BIRD has all its sessions, and all that it waited for after a restart."""
    eventually(lambda: ask_leaf(lab, "protocols", '"to_*"'), _are_up, within_s=_LIMIT_S)
    eventually(lambda: ask_leaf(lab, "status"), _is_settled, within_s=_LIMIT_S)


def ask_leaf(lab: RoutedLab, *what: str) -> str:
    """Return what the leaf's BIRD shows, or why it does not."""
    control = str(lab.state.path / "bird" / "leaf1.ctl")
    shown = lab.execute("leaf1", "birdc", "-s", control, "show", *what, check=False)
    return f"{shown.stdout}{shown.stderr}" if shown.returncode else shown.stdout


def _are_up(words: str) -> bool:
    return words.count("Established") == _SESSIONS


def _is_settled(words: str) -> bool:
    return "up and running" in words and "recovery in progress" not in words


@contextmanager
def telling(lab: RoutedLab) -> Iterator[None]:
    """Add to a failure what the BIRDs have logged last."""
    try:
        yield
    except AssertionError as exc:
        logs = [lab.state.log_file(router_program("leaf1"))]
        logs += (lab.state.path / "bird" / node / "bird.log" for node in NODES)
        for log in logs:
            lines = log.read_text(errors="replace").splitlines() if log.exists() else ["(there is none)"]
            exc.add_note("\n".join([f"{log}:", *lines[-_TOLD_LINES:]]))
        raise


def _pid(file: Path) -> int:
    text = file.read_text().strip() if file.exists() else ""
    return int(text) if text.isdigit() else 0
