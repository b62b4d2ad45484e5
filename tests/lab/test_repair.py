"""From any state of the machine to the one that is asked for, and back to nothing."""

import os
import random
import signal
import subprocess
from collections.abc import Callable

import pytest

from netns_lab.names import fabric_namespace
from netns_lab.processes import lab_processes, stop
from netns_lab.programs import ProgramRecord
from nodeplane.datapath import netns
from nodeplane.datapath.rtnl import open_rtnl
from tests.lab.labs import COMMAND, LabUnderTest, in_service, remains
from tests.netns_fixture import eventually

pytestmark = pytest.mark.lab


def kill_kubeproxy(lab: LabUnderTest) -> None:
    """End one program by force."""
    kill(lab, "nodes/n1/kubeproxy")


def kill_api_server(lab: LabUnderTest) -> None:
    """End the API server by force; the programs keep what they know meanwhile."""
    kill(lab, "fabric/apiserver")


def kill(lab: LabUnderTest, program: str) -> None:
    """End a program by force."""
    record = lab.state.load_record(f"programs/{program}", ProgramRecord)
    assert record is not None
    stop([record.process], grace_s=0)


def remove_node(lab: LabUnderTest) -> None:
    """Remove a node's namespace under its running programs."""
    netns.remove(lab.node("n2").name)


def remove_pod(lab: LabUnderTest) -> None:
    """Remove a pod's namespace under its running workload."""
    netns.remove(lab.pod("default/web-1").name)


def remove_fabric(lab: LabUnderTest) -> None:
    """Remove the segment: all nodes lose their uplinks."""
    netns.remove(fabric_namespace(lab.name))


def delete_pod_link(lab: LabUnderTest) -> None:
    """Delete a pod's link."""
    with open_rtnl(lab.pod("default/web-2")) as rtnl:
        rtnl.delete_link("eth0")


def set_uplink_down(lab: LabUnderTest) -> None:
    """Set a node's uplink down: its default route goes with it."""
    with open_rtnl(lab.node("n1")) as rtnl:
        rtnl.set_down("eth0")


def remove_files(lab: LabUnderTest) -> None:
    """Remove all that the lab has written down."""
    subprocess.run(["rm", "-r", lab.state.path], check=True)


def delete_every_service(lab: LabUnderTest) -> None:
    """Delete the Services, the API server's own among them."""
    lab.kubectl("delete", "services", "--all", "-A")


def delete_objects(lab: LabUnderTest) -> None:
    """Delete some of the lab's objects, one of each kind that a person would."""
    lab.kubectl("delete", "service/web", "pod/web-1", "node/n2")
    lab.kubectl("delete", "endpointslice/kube-dns-nodes", "-n", "kube-system")


def change_objects(lab: LabUnderTest) -> None:
    """Change some of the lab's objects so that the Service leads elsewhere, and add to another."""
    port = '[{"op": "add", "path": "/spec/ports/-", "value": {"name": "x", "port": 99}}]'
    lab.kubectl("patch", "service/kube-dns", "-n", "kube-system", "--type", "json", "-p", port)
    lab.kubectl("patch", "service/web", "-p", '{"spec": {"selector": {"app": "other"}}}')
    lab.kubectl("label", "--overwrite", "pod/web-2", "app=other")


DAMAGES = (
    kill_kubeproxy,
    kill_api_server,
    remove_node,
    remove_pod,
    remove_fabric,
    delete_pod_link,
    set_uplink_down,
    remove_files,
    delete_objects,
    delete_every_service,
    change_objects,
)


def test_up_twice_changes_nothing(two_nodes: LabUnderTest) -> None:
    two_nodes.up()
    before = lab_processes(two_nodes.name, [])

    second = two_nodes.up()

    assert (second["summary"], second["changes"]) == ("nothing to change", [])
    assert lab_processes(two_nodes.name, []) == before
    assert in_service(two_nodes)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: str(damage.__name__))
def test_up_repairs(damage: Callable[[LabUnderTest], None], repaired_lab: LabUnderTest) -> None:
    """Whatever has happened to a lab, `up` brings it back, and a second one finds nothing to do."""
    damage(repaired_lab)

    first = repaired_lab.up()
    second = repaired_lab.up()

    assert first["changes"]
    assert second["changes"] == []
    assert in_service(repaired_lab)


def test_status_tells_what_is_missing(two_nodes: LabUnderTest) -> None:
    two_nodes.up()
    kill_kubeproxy(two_nodes)
    set_uplink_down(two_nodes)

    status = two_nodes.status()

    uplink = f"nl-{two_nodes.name}-n1"
    assert status["state"] == "incomplete"
    assert status["missing"] == [
        f"eth0 up in {uplink}",
        f"default route via 172.30.0.1 in {uplink}",
        "nodes/n1/kubeproxy running",
    ]
    assert [node["kubeproxy"] for node in status["nodes"]] == ["ended", "running"]


@pytest.mark.parametrize("seed", range(4))
def test_up_after_kill_9(seed: int, two_nodes: LabUnderTest) -> None:
    """However far a killed `up` came, the next one ends where an undisturbed one does."""
    delay_s = random.Random(seed + os.getpid()).uniform(0.1, 2.5)
    with subprocess.Popen([COMMAND, "up", two_nodes.file], stdout=subprocess.DEVNULL) as first:
        try:
            first.wait(delay_s)
        except subprocess.TimeoutExpired:
            first.kill()

    two_nodes.up()

    assert two_nodes.up()["changes"] == []
    assert in_service(two_nodes)
    two_nodes.down()
    assert remains(two_nodes.name) == []


def test_down_after_kill_9(two_nodes: LabUnderTest) -> None:
    """A half-built lab goes without its file; `down` needs no `up` before it."""
    with subprocess.Popen([COMMAND, "up", two_nodes.file], stdout=subprocess.DEVNULL) as first:
        eventually(lambda: len(lab_processes(two_nodes.name, [])), bool)
        first.kill()
    two_nodes.file.unlink()

    two_nodes.down()

    assert remains(two_nodes.name) == []


def test_interrupted_up_says_what_to_do(two_nodes: LabUnderTest) -> None:
    with subprocess.Popen([COMMAND, "up", two_nodes.file], stderr=subprocess.PIPE, text=True) as process:
        eventually(lambda: len(lab_processes(two_nodes.name, [])), bool)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=240)

    assert (process.returncode, said) == (130, "netns-lab: interrupted: run `up` again, or `down`\n")
