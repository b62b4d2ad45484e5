"""What is asked for is what there is: changed files, workloads, labs side by side, and bad input."""

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from nodeplane.datapath import netns
from tests.lab.labs import COMMAND, TWO_NODES, LabUnderTest, in_service, lab_from, remains, run
from tests.netns_fixture import eventually

pytestmark = pytest.mark.lab


def test_changed_file_is_applied(two_nodes: LabUnderTest) -> None:
    """Nodes and pods go, move and come; what stays is left alone."""
    two_nodes.up()
    before = {row["pod"]: row for row in two_nodes.status()["pods"]}
    client, web_1, web_2 = two_nodes.topology["pods"]
    two_nodes.topology["nodes"] = [{"name": "n1"}, {"name": "n3", "address": "172.30.0.9"}]
    two_nodes.topology["pods"] = [client, {**web_2, "node": "n3"}, {**web_1, "name": "web-3", "node": "n3"}]
    two_nodes.write()

    changes = two_nodes.up()["changes"]

    status = two_nodes.status()
    after = {row["pod"]: row for row in status["pods"]}
    assert {pod: row["node"] for pod, row in after.items()} == {
        "default/client": "n1",
        "default/web-2": "n3",
        "default/web-3": "n3",
    }
    assert [row["address"] for row in status["nodes"]] == ["172.30.0.2", "172.30.0.9"]
    assert after["default/client"] == before["default/client"]
    assert endpoints(status, "default/web") == {
        after[pod]["address"] for pod in ("default/web-2", "default/web-3")
    }
    assert not [
        change for change in changes if "nodes/n1/" in change["what"] and change["action"] == "stopped"
    ]
    assert {change["what"] for change in changes if change["action"] == "removed"} >= {
        f"namespace nl-{two_nodes.name}-n2",
        f"namespace nl-{two_nodes.name}-pod-default-web-1",
    }
    assert two_nodes.up()["changes"] == []
    assert in_service(two_nodes)


@pytest.mark.parametrize(
    ("network", "services", "pods"),
    [
        pytest.param(
            {"serviceCIDR": "10.99.0.0/24", "clusterDNS": "10.99.0.10"}, "10.99.0.", "10.244.", id="Services"
        ),
        pytest.param({"podPool": "10.9.0.0/16"}, "10.96.", "10.9.", id="pods"),
        pytest.param({"blockSize": 28}, "10.96.", "10.244.", id="size of the blocks"),
    ],
)
def test_changed_ranges(
    network: dict[str, Any], services: str, pods: str, repaired_lab: LabUnderTest
) -> None:
    """A lab does not show that it had other addresses before."""
    repaired_lab.topology["network"] = network
    repaired_lab.write()

    repaired_lab.up()

    status = repaired_lab.status()
    addresses = {row["service"]: row["cluster_ip"] for row in status["services"]}
    assert addresses.keys() == {"default/kubernetes", "default/web", "kube-system/kube-dns"}
    assert all(address.startswith(services) for address in addresses.values())
    assert all(row["address"].startswith(pods) for row in status["pods"])
    assert repaired_lab.up()["changes"] == []
    assert in_service(repaired_lab)


def test_copies_are_their_makers(repaired_lab: LabUnderTest) -> None:
    """kubectl copies labels (expose) and annotations (apply of a dump); what is made so is a person's."""
    repaired_lab.up()
    repaired_lab.kubectl("expose", "pod", "web-1", "--name", "exposed")
    dump = json.loads(repaired_lab.kubectl("get", "service", "web", "-o", "json"))
    del dump["spec"]["clusterIP"], dump["spec"]["clusterIPs"]
    repaired_lab.kubectl("apply", "-f", "-", stdin=json.dumps(dump).replace("web", "clone"))

    changes = repaired_lab.up()["changes"]
    left = repaired_lab.kubectl("get", "services", "-o", "name").split()
    repaired_lab.kubectl("delete", "service", "exposed", "clone")

    assert (changes, {"service/exposed", "service/clone"} - {*left}) == ([], set())


@pytest.mark.parametrize(
    ("damage", "missing"),
    [
        pytest.param(
            ("delete", "service", "kube-dns", "-n", "kube-system"),
            ["Service/kube-system/kube-dns on the API server"],
            id="a Service deleted",
        ),
        pytest.param(
            ("delete", "nodes", "--all"),
            ["Node/n1 on the API server", "Node/n2 on the API server"],
            id="all nodes deleted",
        ),
        pytest.param(
            ("patch", "service/web", "-p", '{"spec": {"selector": {"app": "other"}}}'),
            ["Service/default/web on the API server as asked for"],
            id="another selector",
        ),
        pytest.param(
            ("label", "service/web", "netns-lab/lab-"),
            ["Service/default/web on the API server as asked for"],
            id="a label of the lab's gone",
        ),
        pytest.param(
            ("annotate", "service/web", "netns-lab/owner-"),
            ["Service/default/web on the API server as asked for"],
            id="the owner gone",
        ),
    ],
)
def test_status_tells_of_objects(
    damage: tuple[str, ...], missing: list[str], repaired_lab: LabUnderTest
) -> None:
    """And `up` puts them right."""
    repaired_lab.up()
    repaired_lab.kubectl(*damage)

    assert set(repaired_lab.status()["missing"]) >= set(missing)
    assert repaired_lab.up()["changes"]
    assert repaired_lab.up()["changes"] == []
    assert in_service(repaired_lab)


def endpoints(status: dict[str, Any], service: str) -> set[str]:
    """Return the addresses behind a service."""
    row = next(row for row in status["services"] if row["service"] == service)
    return {endpoint.partition(":")[0] for endpoint in row["endpoints"]}


def test_command_workload(two_nodes: LabUnderTest) -> None:
    """A pod's own command runs in its namespace and resolves names as the pod does."""
    script = "until getent hosts web; do sleep 0.1; done; exec sleep 600"
    two_nodes.topology["pods"].append({"name": "job", "node": "n2", "command": ["sh", "-c", script]})
    two_nodes.write()
    two_nodes.up()

    log = two_nodes.state.log_file("pods/default/job")
    service = next(row for row in two_nodes.status()["services"] if row["service"] == "default/web")
    printed = eventually(log.read_text, lambda text: text.endswith("\n"))

    assert printed.split() == [service["cluster_ip"], "web.default.svc.cluster.local"]
    assert two_nodes.status()["state"] == "up"


@pytest.mark.parametrize(
    ("command", "code", "changes", "words"),
    [
        pytest.param(["true"], 0, "nothing to change", "", id="a job that has ended well runs once"),
        pytest.param(["sh", "-c", "exit 3"], 1, "", "ended with code 3", id="one that fails is run again"),
        pytest.param(["no-such-program"], 1, "", "can't start no-such-program", id="one that is not there"),
    ],
)
def test_command_that_ends(
    command: list[str], code: int, changes: str, words: str, repaired_lab: LabUnderTest
) -> None:
    """`up` and `status` agree about it."""
    job = {"name": "job", "node": "n2", "command": command}
    repaired_lab.topology["pods"] = [*repaired_lab.topology["pods"][:3], job]
    repaired_lab.write()

    first = run("up", str(repaired_lab.file), check=False)
    status = repaired_lab.status()
    second = run("up", str(repaired_lab.file), check=False)
    pod = repaired_lab.kubectl(
        "get", "pod", "job", "-o", 'jsonpath={.status.phase} {.status.conditions[?(@.type=="Ready")].status}'
    )

    assert (first.returncode, second.returncode) == (code, code), first.stderr + second.stderr
    assert status["state"] == ("incomplete" if code else "up")
    assert pod == ("Failed False" if code else "Succeeded False")
    assert changes in second.stdout
    log = repaired_lab.state.log_file("pods/default/job").read_text()
    assert words in log + str(status["missing"])


def test_root_namespace_is_left_as_it_was(two_nodes: LabUnderTest) -> None:
    """`up` and `down` touch nothing of the machine's own; a person's shell in a node goes with it."""
    before = machine()
    two_nodes.up()
    during = machine()
    with netns.inside(two_nodes.node("n1")):
        guest = subprocess.Popen(["sleep", "600"])
    with guest:
        two_nodes.down()
        ended = guest.wait(60)

    assert ended == -signal.SIGTERM
    assert (during, machine()) == (before, before)
    assert remains(two_nodes.name) == []


def machine() -> dict[str, str]:
    """Return what of the machine's own a lab could have changed."""
    commands = {
        "links": ("ip", "-o", "link"),
        "addresses": ("ip", "-o", "address"),
        "routes": ("ip", "route", "show", "table", "all"),
        "tables": ("nft", "list", "tables"),
        "resolver": ("cat", "/etc/resolv.conf"),
        "files": ("find", "/etc/netns", "/etc/cni", "/var/lib/cni", "/var/lib/nodeplane"),
    }
    return {
        name: subprocess.run(command, capture_output=True, text=True, check=False).stdout
        for name, command in commands.items()
    }


def test_two_labs_side_by_side(two_nodes: LabUnderTest, tmp_path: Path) -> None:
    """The same topology twice: same addresses, and neither sees the other, nor its end."""
    folder = tmp_path / "other"
    folder.mkdir()
    with lab_from(TWO_NODES, folder) as other:
        two_nodes.up()
        other.up()
        # Pods of one node are attached side by side, so which of them is first is open.
        addresses = sorted(row["address"] for row in other.status()["pods"])
        assert addresses == sorted(row["address"] for row in two_nodes.status()["pods"])
        two_nodes.down()

        assert remains(two_nodes.name) == []
        assert other.up()["changes"] == []
        assert in_service(other)


def test_commands_at_the_same_time(two_nodes: LabUnderTest) -> None:
    """Two `up` and a `down` wait for one another; what comes last holds."""
    with (
        subprocess.Popen([COMMAND, "up", two_nodes.file], stdout=subprocess.DEVNULL) as first,
        subprocess.Popen([COMMAND, "up", two_nodes.file], stdout=subprocess.DEVNULL) as second,
        subprocess.Popen([COMMAND, "down", two_nodes.name], stdout=subprocess.DEVNULL) as third,
    ):
        assert [process.wait(240) for process in (first, second, third)] == [0, 0, 0]

    two_nodes.up()
    assert in_service(two_nodes)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        pytest.param(
            {"nodes": [{"name": "n1"}, {"name": "n1"}]},
            "nodes[1].name: expected each node once, got 'n1'",
            id="two nodes of one name",
        ),
        pytest.param(
            {
                "manifests": [
                    {
                        "apiVersion": "v1",
                        "kind": "Service",
                        "metadata": {"name": "web"},
                        "spec": {"ports": [{"port": 99999}]},
                    }
                ]
            },
            "manifests[0].spec.ports[0].port: expected `int` <= 65535, got '99999'",
            id="a manifest with port 99999",
        ),
    ],
)
def test_bad_input_creates_nothing(change: dict[str, Any], error: str, two_nodes: LabUnderTest) -> None:
    two_nodes.topology.update(change)
    two_nodes.write()

    done = run("up", str(two_nodes.file), check=False)

    lines = done.stderr.splitlines()
    assert (done.returncode, done.stdout, len(lines)) == (2, "", 1)
    assert lines[0].startswith(f"netns-lab: {two_nodes.file}:")
    assert lines[0].endswith(f": {error}")
    assert remains(two_nodes.name) == []
