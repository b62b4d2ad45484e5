"""`netns-lab fault` on a lab that is up: each does what it says, each is undone."""

import json
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from netns_lab.faults.actions import clear as end_faults
from netns_lab.faults.actions import inject
from netns_lab.faults.fault import Kind
from netns_lab.faults.record import read_faults
from netns_lab.processes import lab_processes
from netns_lab.status import read_status
from netns_lab.topology import NodeSpec
from nodeplane.datapath import netns
from tests.lab.labs import COMMAND, TWO_NODES, LabUnderTest, in_service, lab_from, run
from tests.netns_fixture import answers, eventually

pytestmark = pytest.mark.lab

N1, N2 = "172.30.0.2", "172.30.0.3"
GATEWAY = "172.30.0.1"
READY = '{.status.conditions[?(@.type=="Ready")].status}'


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    """Yield a lab that is up."""
    with lab_from(TWO_NODES, tmp_path_factory.mktemp("faults")) as lab:
        lab.topology["clients"] = [{"name": "out"}]
        lab.write()
        lab.up()
        yield lab


@pytest.fixture
def lab(shared: LabUnderTest) -> Iterator[LabUnderTest]:
    """Yield the lab without a fault; none is left, whatever the test did."""
    yield shared
    end_faults(shared.state)
    assert status(shared)["missing"] == []


def fault(lab: LabUnderTest, kind: Kind, target: str, value: str = "") -> int:
    """Begin a fault, without a process of its own, and return its number."""
    return inject(lab.state, kind, target, value).number


def clear(lab: LabUnderTest, *numbers: int) -> None:
    """End faults."""
    end_faults(lab.state, numbers)


def status(lab: LabUnderTest) -> dict[str, Any]:
    """Return what `netns-lab status` prints."""
    return read_status(lab.state)


def test_link_down(lab: LabUnderTest) -> None:
    """The node's end loses its carrier and keeps its address; status knows why."""
    fault(lab, "link-down", "n2")

    held = json.loads(lab.execute("n2", "ip", "-j", "address", "show", "eth0").stdout)[0]
    assert not answers(lab.node("n1"), N2, 0.3)
    assert ("NO-CARRIER" in held["flags"], held["addr_info"][0]["local"]) == (True, N2)
    assert status(lab)["state"] == "up"
    clear(lab)
    eventually(lambda: answers(lab.node("n1"), N2), bool)


@pytest.mark.parametrize(("kind", "value"), [("loss", "100%"), ("link-down", "")], ids=["loss", "link down"])
def test_link_of_a_pod(kind: Kind, value: str, lab: LabUnderTest) -> None:
    address = next(row["address"] for row in status(lab)["pods"] if row["pod"] == "default/web-2")

    fault(lab, kind, "web-2", value)

    assert not answers(lab.pod("default/client"), address, 0.3)
    clear(lab)
    eventually(lambda: answers(lab.pod("default/client"), address), bool)


@pytest.mark.parametrize(
    ("arguments", "reached"),
    [
        pytest.param(("n1", "n2"), {"n2": False, "out": True, "gateway": True}, id="one from one"),
        pytest.param(("n1",), {"n2": False, "out": False, "gateway": True}, id="one from all"),
        pytest.param(
            ("n1", "api-server"), {"n2": True, "out": True, "gateway": False}, id="one from the API server"
        ),
    ],
)
def test_partition(arguments: tuple[str, ...], reached: dict[str, bool], lab: LabUnderTest) -> None:
    out = status(lab)["clients"][0]["address"]
    places = {"n2": N2, "out": out, "gateway": GATEWAY}

    fault(lab, "partition", *arguments)

    assert {
        name: answers(lab.node("n1"), address, 2.0 if reached[name] else 0.3)
        for name, address in places.items()
    } == reached
    # The other side sees it too.
    assert answers(lab.node("n2"), N1, 2.0 if reached["n2"] else 0.3) == reached["n2"]


def programs(lab: LabUnderTest) -> dict[str, str]:
    """Return the lab's processes' states (proc(5)), by program."""
    found = {}
    for process in lab_processes(lab.name, []):
        text = Path(f"/proc/{process.pid}/stat").read_text()
        found[process.mark.partition("/")[2]] = text.rpartition(")")[2].split()[0]
    return found


def test_kill(lab: LabUnderTest) -> None:
    """It stays away; its kernel state works on; the end of the fault starts it."""
    fault(lab, "kill", "n1/kubeproxy")

    assert "nodes/n1/kubeproxy" not in programs(lab)
    assert lab.execute("client", "curl", "-sf", "http://web/").returncode == 0
    assert [row["kubeproxy"] for row in status(lab)["nodes"]] == ["ended", "running"]
    clear(lab)
    assert "nodes/n1/kubeproxy" in programs(lab)


def test_freeze(lab: LabUnderTest) -> None:
    fault(lab, "freeze", "n2/cni-agent")

    assert programs(lab)["nodes/n2/cni-agent"] == "T"
    clear(lab)
    assert programs(lab)["nodes/n2/cni-agent"] != "T"


def test_api_server_that_is_away(lab: LabUnderTest) -> None:
    """A fault that needs none is begun and ended all the same."""
    server = fault(lab, "freeze", "api-server")
    loss = fault(lab, "loss", "out", "50%")
    clear(lab, loss)

    assert [each.number for each in read_faults(lab.state)] == [server]


def test_what_came_while_the_api_server_was_stopped(lab: LabUnderTest) -> None:
    """It hears of it when the fault ends."""
    fault(lab, "freeze", "api-server")
    run("add", "pod", "late", "--node", "n2", "--lab", lab.name)
    clear(lab)

    missing = status(lab)["missing"]
    run("remove", "pod", "late", "--lab", lab.name)
    assert missing == []


@pytest.mark.parametrize(
    ("what", "listing", "word"),
    [
        pytest.param("nft", ("nft", "list", "tables"), "nodeplane-kubeproxy", id="nft"),
        pytest.param("routes", ("ip", "route", "show", "proto", "110"), "via", id="routes"),
    ],
)
def test_wipe(what: str, listing: tuple[str, ...], word: str, lab: LabUnderTest) -> None:
    """With the programs frozen it stays away; they put it back."""
    for program in ("kubeproxy", "cni-agent"):
        fault(lab, "freeze", f"n1/{program}")

    fault(lab, "wipe", "n1", what)

    assert word not in lab.execute("n1", *listing).stdout
    clear(lab)
    eventually(lambda: lab.execute("n1", *listing).stdout, lambda text: word in text)


def test_wiped_neighbours(lab: LabUnderTest) -> None:
    answers(lab.node("n1"), N2)

    fault(lab, "wipe", "n1", "neighbours")

    eventually(lambda: answers(lab.node("n1"), N2), bool)


def test_node_crash(lab: LabUnderTest) -> None:
    """Its pods are no endpoints any more, its neighbours keep what they have; it comes back whole."""
    before = status(lab)

    fault(lab, "node-crash", "n2")

    after = status(lab)
    ready = lab.kubectl("get", "nodes", "-o", f"jsonpath={{range .items[*]}}{READY} {{end}}")
    assert not netns.is_namespace(lab.node("n2"))
    assert ready.split() == ["True", "Unknown"]
    assert endpoints(after) == 1
    assert [row["address"] for row in after["clients"]] == [row["address"] for row in before["clients"]]
    assert after["state"] == "up"
    assert lab.execute("client", "curl", "-sf", "--max-time", "5", "http://web/").returncode == 0
    clear(lab)
    assert endpoints(status(lab)) == 2


def endpoints(report: dict[str, Any]) -> int:
    """Return how many endpoints the Service has."""
    return len(next(row for row in report["services"] if row["service"] == "default/web")["endpoints"])


def test_node_add(lab: LabUnderTest) -> None:
    before = [row["address"] for row in status(lab)["nodes"]]

    inject(lab.state, "node-add", "n3", node=NodeSpec("n3", zone="z"))

    after = status(lab)
    assert [row["address"] for row in after["nodes"]][:2] == before
    assert (after["nodes"][2]["node"], after["nodes"][2]["zone"], after["state"]) == ("n3", "z", "up")
    web = next(row["cluster_ip"] for row in after["services"] if row["service"] == "default/web")
    traced = json.loads(run("trace", "--lab", lab.name, "n3", f"tcp:{web}:80", "-o", "json").stdout)
    assert (traced["steps"][0]["where"], traced["verdict"]) == ("node n3", "answered")
    assert "n3" in run("graph", lab.name).stdout
    clear(lab)
    assert [row["address"] for row in status(lab)["nodes"]] == before


def test_clock(lab: LabUnderTest) -> None:
    """The node's programs log tomorrow's date and serve."""
    now = datetime.now(UTC)

    fault(lab, "clock", "n1", "+48h")

    log = lab.state.log_file("nodes/n1/kubeproxy").read_text().splitlines()[-1]
    there = datetime.strptime(log.split(",")[0], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    assert 47 < (there - now).total_seconds() / 3600 < 49
    assert lab.execute("client", "curl", "-sf", "http://web/").returncode == 0


def test_for_a_while(lab: LabUnderTest) -> None:
    run("fault", "loss", "n2", "50%", "--for", "100ms", "--lab", lab.name)

    assert read_faults(lab.state) == ()


def handles(status_file: str, number: int) -> bool:
    """Say whether a process has a handler for a signal (proc(5), SigCgt)."""
    line = next(line for line in status_file.splitlines() if line.startswith("SigCgt:"))
    return bool(int(line.split()[1], 16) >> (number - 1) & 1)


@pytest.mark.parametrize(
    ("number", "left", "code"),
    [
        pytest.param(signal.SIGKILL, 1, -signal.SIGKILL, id="killed: `clear` ends it"),
        pytest.param(signal.SIGINT, 0, 130, id="interrupted: it ends"),
    ],
)
def test_command_that_ends_early(number: int, left: int, code: int, lab: LabUnderTest) -> None:
    command = [str(COMMAND), "fault", "link-down", "n2", "--for", "10m", "--lab", lab.name]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        # Begun, and waiting: it has taken the signals over that would end it.
        caught = Path(f"/proc/{process.pid}/status")
        eventually(lambda: not answers(lab.node("n1"), N2, 0.1), bool)
        eventually(lambda: handles(caught.read_text(), signal.SIGHUP), bool)
        process.send_signal(number)
        ended = process.wait(60)

    assert (ended, len(read_faults(lab.state))) == (code, left)
    clear(lab)
    eventually(lambda: answers(lab.node("n1"), N2), bool)


def test_up_ends_all_faults(lab: LabUnderTest) -> None:
    """And then there is nothing more to do."""
    fault(lab, "kill", "n1/coredns-lite")
    fault(lab, "freeze", "n2/coredns-lite")
    fault(lab, "link-down", "n2")

    changes = lab.up()["changes"]

    assert [change["what"] for change in changes if change["action"] == "ended"] == [
        "fault kill n1/coredns-lite",
        "fault freeze n2/coredns-lite",
        "fault link-down n2",
    ]
    assert status(lab)["faults"] == []
    assert lab.up()["changes"] == []
    assert in_service(lab)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ("loss", "n9", "5%"),
            "n9: expected one link: n1, n2, out, default/client, default/web-1, default/web-2",
        ),
        (("loss", "n1", "5x"), "5x: expected a share from 0 to 100 percent, such as 5%"),
        (("clear", "77"), "77: expected the number of a fault: there is none"),
        (
            ("delay", "n1", "5ms", "--for", "5"),
            "Invalid value for '--for': expected a duration such as 200us, 20ms, 1.5s or 2m, at most 1000h",
        ),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], line: str, lab: LabUnderTest) -> None:
    done = run("fault", *arguments, "--lab", lab.name, check=False)

    assert (done.returncode, done.stderr) == (2, f"netns-lab: {line}\n")
    assert read_faults(lab.state) == ()


def test_delay_needs_netem(lab: LabUnderTest) -> None:
    """Where the kernel has none, it is said, and nothing is left."""
    netem = ("tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms")
    has_netem = lab.execute("out", *netem, check=False).returncode == 0

    done = run("fault", "delay", "n2", "200ms", "--lab", lab.name, check=False)

    if has_netem:
        assert not answers(lab.node("n1"), N2, 0.3)
    else:
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        assert "this kernel has no netem" in done.stderr
        assert read_faults(lab.state) == ()


def test_links_that_the_file_makes_bad(lab: LabUnderTest) -> None:
    """`up` brings the lab up well, makes it bad, finds nothing more to do, and works on what is bad."""
    node = lab.topology["nodes"][1]
    node["link"] = {"down": True, "loss": 1, "rate": "10mbit"}
    lab.write()

    first, second = lab.up(), lab.up()
    is_reached = answers(lab.node("n1"), N2, 0.3)
    bad = status(lab)
    fault(lab, "kill", "n2/kubeproxy")
    repaired = lab.up()
    still_bad = not answers(lab.node("n1"), N2, 0.3)
    del node["link"]
    lab.write()
    well = lab.up()

    whats = [change["what"] for change in first["changes"]]
    assert {f"to-n2 down in nl-{lab.name}-fabric", f"impairments in nl-{lab.name}-n2"} <= {*whats}
    assert (second["changes"], is_reached, bad["state"], still_bad) == ([], False, "up", True)
    # Its kubeproxy started anew, over a link that was good meanwhile.
    assert "nodes/n2/kubeproxy" in [change["what"] for change in repaired["changes"]]
    assert well["changes"]
    eventually(lambda: answers(lab.node("n1"), N2), bool)
