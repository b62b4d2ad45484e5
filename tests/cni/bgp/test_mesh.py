"""Nodes in a full mesh of real birds: blocks become routes, and what happens when parts of it end."""

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from ipaddress import ip_interface, ip_network
from pathlib import Path

import msgspec
import pytest

from cni.bgp.config import BgpConfig, Timers
from nodeplane.datapath.rtnl import ROUTE_PROTOCOL, Route, open_rtnl
from nodeplane.datapath.rtnl.monitor import RouteEvent
from nodeplane.kube.objects import NodeAddress, NodeStatus
from nodeplane.kube.source import Change
from tests.cni.bgp.stand import (
    Stand,
    StandNode,
    address,
    block,
    loopback_address,
    nearly,
    open_stand,
    since,
    wait_for_route,
    wait_until_up,
)
from tests.cni.bgp.stream import stream
from tests.netns_fixture import eventually, run_in

pytestmark = pytest.mark.netns

MESH = BgpConfig(as_number=64512)
# Short enough to see, long enough for a machine that does other things as well.
WATCHFUL = BgpConfig(as_number=64512, nodes=Timers(bfd="strict"), bfd_interval_s=0.3)
PROGRAM = str(Path(sys.executable).with_name("cni-agent"))
PODS = {number: f"10.244.{number}.5" for number in (1, 2, 3)}


@pytest.fixture(autouse=True)
def quick_states(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let speakers look at their sessions more often."""
    monkeypatch.setattr("cni.bgp.speaker._STATE_INTERVAL_S", 0.1)


@pytest.fixture
def mesh(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stand]:
    """Yield three nodes with all their sessions up."""
    with open_stand(tmp_path) as stand:
        for number in (1, 2, 3):
            stand.add_node(number, getattr(request, "param", MESH))
        stand.start()
        wait_until_up(stand.nodes.values(), 4)
        yield stand


def give_pods(stand: Stand, *numbers: int) -> None:
    """Give nodes a block and an address in it, and wait until the others lead there."""
    for number in numbers:
        loopback_address(stand.nodes[number].path, PODS[number])
        stand.nodes[number].announce(block(number))
    for number in numbers:
        for other in stand.nodes.values():
            if other.number != number:
                wait_for_route(other, block(number), address(number))


def test_blocks_lead_to_their_nodes(mesh: Stand) -> None:
    """A block is a unicast route through its node on both peers, in both families; no more when it goes."""
    first = mesh.nodes[1]
    for version in (4, 6):
        first.announce(block(1, version))
        for other in (2, 3):
            wait_for_route(mesh.nodes[other], block(1, version), address(1, version))
        first.withdraw(block(1, version))
        for other in (2, 3):
            wait_for_route(mesh.nodes[other], block(1, version))


def test_only_blocks_are_announced(mesh: Stand) -> None:
    """What lies below a block, other routes of ours and foreign ones stay here; borrowed addresses do not."""
    first, second = mesh.nodes[1], mesh.nodes[2]
    first.tell(lambda speaker: speaker.take_announced([ip_network("10.244.2.9/32")]))
    eventually(first.configuration, lambda text: "10.244.2.9/32" in text)
    with open_rtnl(first.path) as rtnl:
        for text in ("10.244.1.5/32", "10.244.2.9/32"):
            rtnl.add_route(Route(ip_network(text), link="eth0", scope="link"))
        # Too short, too long, of another's making, outside of all pools.
        for text, protocol in (
            ("10.244.4.0/25", ROUTE_PROTOCOL),
            ("10.244.5.0/27", ROUTE_PROTOCOL),
            ("10.244.6.0/26", 4),
            ("10.250.1.0/26", ROUTE_PROTOCOL),
        ):
            rtnl.add_route(Route(ip_network(text), kind="blackhole", protocol=protocol))
    # The last one written: what is before it has been seen.
    first.announce(block(1))
    wait_for_route(second, block(1), address(1))
    wait_for_route(second, "10.244.2.9/32", address(1))

    with open_rtnl(second.path) as rtnl:
        learned = {str(route.destination) for route in rtnl.routes(12)}
    assert learned == {block(1), "10.244.2.9/32"}


def test_bird_killed_under_traffic(mesh: Stand) -> None:
    """A bird that is killed is started again without the loss of a packet: the sender's, and the target's."""
    give_pods(mesh, 1, 2)
    with stream(mesh.nodes[1].path, PODS[1], mesh.nodes[2].path, PODS[2]) as flow:
        for node in (mesh.nodes[1], mesh.nodes[2]):
            pid = node.pid
            node.kill()
            eventually(node.log, lambda text: "Graceful restart done" in text)
            wait_until_up(mesh.nodes.values(), 4)
            assert node.pid != pid
    assert (flow.lost, flow.refused) == (0, 0)
    assert mesh.nodes[1].registry.get_sample_value("nodeplane_bgp_bird_ends_total") == 1


@pytest.mark.parametrize(
    "mesh", [msgspec.structs.replace(MESH, nodes=Timers(bfd="graceful"))], indirect=True, ids=["graceful BFD"]
)
def test_bird_killed_under_traffic_with_bfd(mesh: Stand) -> None:
    """Graceful BFD does not undo it."""
    give_pods(mesh, 1, 2)
    with stream(mesh.nodes[1].path, PODS[1], mesh.nodes[2].path, PODS[2]) as flow:
        mesh.nodes[2].kill()
        eventually(mesh.nodes[2].log, lambda text: "Graceful restart done" in text)
        wait_until_up(mesh.nodes.values(), 4)
    assert (flow.lost, flow.refused) == (0, 0)


@pytest.mark.parametrize("mesh", [WATCHFUL], indirect=True, ids=["BFD"])
def test_dead_node_is_withdrawn(mesh: Stand) -> None:
    """BFD tells of a node that is cut off long before the hold time of 90 s; state and metrics show it."""

    def figures() -> list[float | None]:
        labels = {"peer": "n1", "family": "ipv4"}
        names = ("nodeplane_bgp_session_up", "nodeplane_bgp_bfd_up")
        imported = {**labels, "direction": "imported"}
        read = mesh.nodes[2].registry.get_sample_value
        return [*(read(name, labels) for name in names), read("nodeplane_bgp_prefixes", imported)]

    mesh.nodes[1].announce(block(1))
    wait_for_route(mesh.nodes[2], block(1), address(1))
    eventually(
        lambda: {session.bfd for session in mesh.nodes[2].sessions().values()},
        lambda states: states == {"Up"},
    )
    eventually(figures, lambda values: values == [1, 1, 1])
    with open_rtnl(mesh.wire) as rtnl:
        rtnl.set_down("v1")
    for other in (2, 3):
        wait_for_route(mesh.nodes[other], block(1))
    eventually(figures, lambda values: values == [0, 0, 0])
    [gone] = [item for key, item in mesh.nodes[2].sessions().items() if key == ("n1", 4)]
    assert (gone.is_up, gone.bfd, gone.last_error) == (False, "Down", "Error: BFD session down")


def test_hold_time_withdraws(tmp_path: Path) -> None:
    """Without BFD the hold time tells."""
    config = msgspec.structs.replace(MESH, nodes=Timers(hold_s=3.0))
    with open_stand(tmp_path) as stand:
        for number in (1, 2):
            stand.add_node(number, config)
        stand.start()
        wait_until_up(stand.nodes.values(), 2)
        stand.nodes[1].announce(block(1))
        wait_for_route(stand.nodes[2], block(1), address(1))
        with open_rtnl(stand.wire) as rtnl:
            rtnl.set_down("v1")
        wait_for_route(stand.nodes[2], block(1))
        assert "Hold timer expired" in stand.nodes[2].sessions()["n1", 4].last_error


def test_change_drops_no_session(mesh: Stand) -> None:
    """A node that comes, a node that goes and a new peer leave all other sessions up, and packets flow."""
    first = mesh.nodes[1]
    give_pods(mesh, 1, 2)
    before = since(first)
    with stream(first.path, PODS[1], mesh.nodes[2].path, PODS[2]) as flow:
        newcomer = mesh.add_node(4, MESH)
        newcomer.start()
        change = (Change(mesh.object(4).key, None, mesh.object(4)),)
        for node in mesh.nodes.values():
            node.tell(lambda speaker: speaker.take_nodes(change))
        wait_until_up(mesh.nodes.values(), 6)
        removal = (Change(mesh.object(3).key, mesh.object(3), None),)
        first.tell(lambda speaker: speaker.take_nodes(removal))
        eventually(first.sessions, lambda sessions: ("n3", 4) not in sessions)
    stayed = {("n2", 4), ("n2", 6)}
    after = since(first)
    assert set(after) == stayed | {("n4", 4), ("n4", 6)}
    assert {key: after[key] for key in stayed} == nearly({key: before[key] for key in stayed})
    assert (flow.lost, flow.refused) == (0, 0)


def test_speaker_ends_and_comes_back(mesh: Stand) -> None:
    """Bird outlives the agent; the next one adopts it, and no session ends."""
    first = mesh.nodes[1]
    pid, before = first.pid, since(first)
    first.stop()
    first.announce(block(1))
    wait_for_route(mesh.nodes[2], block(1), address(1))
    first.start()
    eventually(first.log, lambda text: text.count("Reconfigured") == 2)
    assert (first.pid, since(first)) == (pid, nearly(before))
    # What a terminal sends to the agent's session does not reach it.
    assert os.getsid(pid) == pid


def test_ready_when_recovered(mesh: Stand) -> None:
    """An agent that starts its bird anew is ready once that has its neighbours' routes again."""
    first = mesh.nodes[1]
    first.stop()
    first.kill()
    first.start()
    assert "Graceful restart done" in first.log()
    assert set(first.states().values()) == {"Established"}


def test_frozen_bird_is_replaced(mesh: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bird that does not answer is ended and started again."""
    monkeypatch.setattr("cni.bgp.control.ANSWER_LIMIT_S", 0.5)
    first = mesh.nodes[1]
    pid = first.pid
    first.kill(signal.SIGSTOP)
    eventually(lambda: first.pid, lambda number: number not in {0, pid})
    wait_until_up(mesh.nodes.values(), 4)


def test_bird_frozen_before_the_start_is_replaced(mesh: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """So is one that an agent finds at its start."""
    monkeypatch.setattr("cni.bgp.control.ANSWER_LIMIT_S", 0.5)
    first = mesh.nodes[1]
    pid = first.pid
    first.stop()
    first.kill(signal.SIGSTOP)
    first.start()
    assert first.pid != pid
    wait_until_up(mesh.nodes.values(), 4)


def test_refused_configuration_changes_nothing(
    mesh: Stand, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What bird does not take is one line with its words; the last configuration stays in force."""
    first = mesh.nodes[1]
    before, text = since(first), first.configuration()
    monkeypatch.setattr("cni.bgp.speaker.render_plan", lambda *_: "router id 1.2.3.4;\nnonsense;\n")
    first.tell(lambda speaker: speaker.take_announced([ip_network("10.244.2.9/32")]))
    refused = "nodeplane_bgp_configurations_total"
    eventually(lambda: first.registry.get_sample_value(refused, {"result": "refused"}), lambda n: n == 1)
    # The same again is not worth another line.
    first.tell(lambda speaker: speaker.take_announced([ip_network("10.244.2.8/32")]))
    assert (since(first), first.configuration()) == (nearly(before), text)
    [line] = [item.getMessage() for item in caplog.records if "refused" in item.getMessage()]
    assert line.startswith("bgp configuration refused, the last one stays in force error='bird: ")
    assert "bird.conf.new:2" in line
    assert "syntax error" in line


def test_directory_that_can_not_be_written(mesh: Stand, caplog: pytest.LogCaptureFixture) -> None:
    """A full or read-only disk is a warning and another try; bird goes on with what it has."""
    first = mesh.nodes[1]
    before = since(first)
    blocker = first.directory / "bird.conf.new"
    blocker.mkdir()
    first.tell(lambda speaker: speaker.take_announced([ip_network("10.244.2.9/32")]))
    eventually(
        lambda: caplog.text, lambda text: f"bird's configuration {first.directory}/bird.conf: " in text
    )
    blocker.rmdir()
    eventually(first.configuration, lambda text: "10.244.2.9/32" in text)
    assert since(first) == nearly(before)


def test_changed_address(mesh: Stand) -> None:
    """A node that has another address now is reached there, and no other session ends."""
    first, second = mesh.nodes[1], mesh.nodes[2]
    second.announce(block(2))
    wait_for_route(first, block(2), address(2))
    before = since(first)
    with open_rtnl(second.path) as rtnl:
        rtnl.add_address("eth0", ip_interface("10.0.0.22/24"))
    old = mesh.object(2)
    addresses = (NodeAddress("InternalIP", "10.0.0.22"), NodeAddress("InternalIP", address(2, 6)))
    new = msgspec.structs.replace(old, status=NodeStatus(addresses=addresses))
    for node in mesh.nodes.values():
        node.tell(lambda speaker: speaker.take_nodes((Change(old.key, old, new),)))
    wait_for_route(first, block(2), "10.0.0.22")
    stayed = {("n3", 4), ("n3", 6)}
    after = since(first)
    assert {key: after[key] for key in stayed} == nearly({key: before[key] for key in stayed})


@pytest.mark.parametrize("version", [4, 6])
def test_wiped_route_returns(mesh: Stand, version: int) -> None:
    """A route of bird's that somebody deletes is back within a second or so, by bird's own look."""
    mesh.nodes[1].announce(block(1, version))
    wait_for_route(mesh.nodes[2], block(1, version), address(1, version))
    wipe(mesh.nodes[2], version)
    wait_for_route(mesh.nodes[2], block(1, version), address(1, version))


def wipe(node: StandNode, version: int) -> None:
    deleted = run_in(node.path, "ip", f"-{version}", "route", "del", block(1, version), "proto", "bird")
    assert deleted.returncode == 0


def test_wiped_routes_return_by_the_kernels_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without waiting for bird's own look, which is a minute away here."""
    monkeypatch.setattr("cni.bgp.render._SCAN_S", 60)
    with open_stand(tmp_path) as stand:
        for number in (1, 2):
            stand.add_node(number, MESH)
        stand.start()
        wait_until_up(stand.nodes.values(), 2)
        second = stand.nodes[2]
        for version in (4, 6):
            stand.nodes[1].announce(block(1, version))
            wait_for_route(second, block(1, version), address(1, version))
            wipe(second, version)
            network = ip_network(block(1, version))
            event = RouteEvent(network, 12, is_on_link=False, is_deleted=True, port=1)
            second.tell(lambda speaker, event=event: speaker.take_event(event))  # type: ignore[misc]
            wait_for_route(second, block(1, version), address(1, version))


def test_link_flap(mesh: Stand) -> None:
    """A link that goes and comes takes its routes along and brings them back, without a restart."""
    mesh.nodes[1].announce(block(1))
    wait_for_route(mesh.nodes[2], block(1), address(1))
    with open_rtnl(mesh.nodes[2].path) as rtnl:
        rtnl.set_down("eth0")
        wait_for_route(mesh.nodes[2], block(1))
        rtnl.set_up("eth0")
    wait_for_route(mesh.nodes[2], block(1), address(1))
    assert mesh.nodes[2].pid


def test_wrong_password_is_told(tmp_path: Path) -> None:
    """Sessions with the right password come up; of a wrong one the end tells that is connected to."""
    files = {number: tmp_path / f"password-{number}" for number in (1, 2, 3)}
    for number, file in files.items():
        file.write_text("wrong\n" if number == 3 else "right\n")
    with open_stand(tmp_path) as stand:
        for number, file in files.items():
            stand.add_node(number, msgspec.structs.replace(MESH, nodes=Timers(password_file=file)))
        stand.start()
        eventually(stand.nodes[1].states, lambda states: states.get(("n2", 4)) == "Established")
        right, wrong = stand.nodes[1], stand.nodes[3]

        def problems(node: StandNode) -> dict[str, str]:
            command = [PROGRAM, "bgp", "--socket", str(node.config.control_socket), "-o", "json"]
            rows = json.loads(run_in(node.path, *command).stdout)
            return {row["peer"]: row["problem"] for row in rows}

        told = eventually(lambda: problems(right), lambda problems: "segments" in problems["n3"])
        assert re.fullmatch(
            r"(.*; )?[0-9]+ segments with a wrong or missing password came to this node", told["n3"]
        )
        assert problems(wrong)["n1"].endswith("(if it is the password, the other end says so)")
        assert (wrong.directory / "bird.conf").stat().st_mode & 0o777 == 0o640
