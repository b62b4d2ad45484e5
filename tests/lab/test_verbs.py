"""The verbs on a lab that is up: what they say is so. The ones that change it put it back."""

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from scapy.utils import PcapNgReader

from netns_lab.loader import read_lab
from tests.lab.labs import COMMAND, TWO_NODES, LabUnderTest, lab_from, run
from tests.netns_fixture import eventually

pytestmark = pytest.mark.lab


SCTP_SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "say"},
    "spec": {"selector": {"app": "web"}, "ports": [{"port": 7, "targetPort": "sctp", "protocol": "SCTP"}]},
}

# Its one endpoint is on n1.
ADMIN_SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "admin"},
    "spec": {
        "clusterIP": "10.96.9.9",
        "selector": {"app": "web"},
        "ports": [{"port": 80, "targetPort": "admin"}],
    },
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    """Yield a lab that is up, with a client outside of the cluster."""
    with lab_from(TWO_NODES, tmp_path_factory.mktemp("verbs")) as lab:
        routes = [{"to": network, "via": "172.30.0.3"} for network in ("10.244.0.0/16", "10.96.0.0/16")]
        lab.topology["clients"] = [{"name": "out", "routes": routes}]
        lab.topology["manifests"][0]["spec"] |= {"type": "NodePort"}
        lab.topology["manifests"][0]["spec"]["ports"][0]["nodePort"] = 30080
        lab.topology["pods"][1]["ports"].append({"name": "sctp", "port": 7, "protocol": "SCTP"})
        lab.topology["pods"][1]["ports"].append({"name": "admin", "port": 9090})
        lab.topology["manifests"] += [SCTP_SERVICE, ADMIN_SERVICE]
        lab.write()
        lab.up()
        yield lab


def ask(lab: LabUnderTest, verb: str, *arguments: str, check: bool = True) -> Any:
    """Run a verb and return what it reports."""
    done = run(verb, *arguments, "--lab", lab.name, "-o", "json", check=check)
    return json.loads(done.stdout)


def test_dns(lab: LabUnderTest) -> None:
    report = ask(lab, "dns", "kubernetes", "SRV")

    assert (report["from"], report["name"]) == ("default/client", "kubernetes.default.svc.cluster.local")
    assert [answer["data"] for answer in report["answers"]] == [
        "0 100 443 kubernetes.default.svc.cluster.local."
    ]


def test_dns_of_a_name_that_is_not_there(lab: LabUnderTest) -> None:
    done = run("dns", "nobody.", "--from", "n1", "--lab", lab.name, check=False)

    assert done.returncode == 1
    assert "answers: none" in done.stdout


@pytest.mark.parametrize(
    ("place", "target"),
    [
        pytest.param("client", "web:80", id="a pod, by name"),
        pytest.param("n1", "{cluster_ip}:80", id="a node, by the Service's address"),
        pytest.param("out", "172.30.0.2:30080", id="from outside, by a node port"),
        pytest.param("out", "{pod}:8080", id="from outside, by a route to the pods"),
        pytest.param("out", "10.96.9.9:80", id="from outside, by a cluster IP and a node without endpoint"),
    ],
)
def test_curl(place: str, target: str, lab: LabUnderTest) -> None:
    status = lab.status()
    service = next(row for row in status["services"] if row["service"] == "default/web")
    pod = next(row for row in status["pods"] if row["pod"] == "default/web-2")
    host = target.format(cluster_ip=service["cluster_ip"], pod=pod["address"])

    report = ask(lab, "curl", f"http://{host}/x", "--from", place, "-H", "A: b")

    answer = json.loads(report["body"])
    assert (report["status"], answer["data"]) == (200, "GET /x HTTP/1.1")
    assert answer["pod"].startswith("web-")


def test_curl_of_nobody(lab: LabUnderTest) -> None:
    done = run("curl", "http://web:81/", "--lab", lab.name, check=False)

    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)


@pytest.mark.parametrize(
    ("target", "place", "pods"),
    [
        pytest.param("http://web/", "client", {"default/web-1", "default/web-2"}, id="HTTP"),
        pytest.param("tcp://web:80", "client", {"default/web-1", "default/web-2"}, id="TCP"),
        pytest.param("sctp://say:7", "web-2", {"default/web-1"}, id="SCTP, from another node"),
    ],
)
def test_bench(target: str, place: str, pods: set[str], lab: LabUnderTest) -> None:
    report = ask(lab, "bench", target, "--count", "20", "--from", place)

    assert (report["requests"], report["failed"]) == (20, 0)
    assert {row["pod"] for row in report["answered_by"]} <= pods


def test_logs(lab: LabUnderTest) -> None:
    one, all_of_n1 = ask(lab, "logs", "n1/kubeproxy", "-n", "3"), ask(lab, "logs", "n1", "-n", "1")

    assert [row["program"] for row in one] == ["nodes/n1/kubeproxy"] * 3
    assert [row["program"] for row in all_of_n1] == [
        f"nodes/n1/{name}" for name in ("kubeproxy", "cni-agent", "coredns-lite")
    ]


def test_follow_logs(lab: LabUnderTest) -> None:
    """Also when the line comes before the follower looks: it is the last one then."""
    command = [str(COMMAND), "logs", "default/web-1", "-f", "-n", "1", "--lab", lab.name]
    log = lab.state.log_file("pods/default/web-1")
    with watched(command) as follower:
        eventually(lambda: Path(f"/proc/{follower.pid}/comm").read_text(), lambda name: name == "tail\n")
        with log.open("a") as writer:
            writer.write("something new\n")
        assert follower.stdout is not None
        assert "something new\n" in iter(follower.stdout.readline, "")


@contextmanager
def watched(command: list[str]) -> "Iterator[subprocess.Popen[str]]":
    """Yield a command that runs on; it has ended afterwards, whatever the test did."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_capture_of_several_links(lab: LabUnderTest, tmp_path: Path) -> None:
    """One connection's first packet on its way: at the client, on its node's uplink, at the pod; in order."""
    file = tmp_path / "a.pcapng"
    pod = next(row for row in lab.status()["pods"] if row["pod"] == "default/web-2")
    links = ("client", "n1", "n2", "web-2", "web-2:host")
    syn = f"host {pod['address']} and tcp[tcpflags] == tcp-syn"
    command = [str(COMMAND), "capture", *links, "--filter", syn, "--count", "5", "-w", str(file)]
    with watched([*command, "--lab", lab.name]) as capture:
        # A capture that has begun has a tcpdump on each link, all listening.
        eventually(lambda: file.exists() and file.stat().st_size, bool)
        eventually(lambda: sniffers(lab, capture.pid), lambda count: count == len(links))
        lab.execute("client", "curl", "-s", f"http://{pod['address']}:8080/")
        ended = capture.wait(60)

    with PcapNgReader(str(file)) as reader:
        packets = list(reader)
    assert ended == 0
    assert [packet.sniffed_on for packet in packets] == ["client", "n1", "n2", "web-2:host", "web-2"]


def sniffers(lab: LabUnderTest, parent: int) -> int:
    """Return how many tcpdumps of a process listen: each has a packet socket (packet(7))."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return sum(len(Path(f"/proc/{pid}/net/packet").read_text().splitlines()) > 1 for pid in children)


def test_live_capture_ends_well(lab: LabUnderTest) -> None:
    command = [str(COMMAND), "capture", "client", "--filter", "icmp", "-o", "json", "--lab", lab.name]
    with watched(command) as capture:
        eventually(lambda: sniffers(lab, capture.pid), lambda count: count == 1)
        lab.execute("client", "python3", "-c", PING)
        assert capture.stdout is not None
        line = json.loads(capture.stdout.readline())
        capture.send_signal(signal.SIGINT)
        ended = capture.wait(60)

    assert (ended, line["link"]) == (0, "client")
    assert "> 172.30.0.2 ICMP" in line["packet"]


PING = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
s.sendto(bytes.fromhex('0800f7ff00000000'), ('172.30.0.2', 0))
"""


def test_export_is_what_was_asked_for(lab: LabUnderTest, tmp_path: Path) -> None:
    """Its Services can be a topology's manifests."""
    items = ask(lab, "export")["items"]
    services = [item for item in items if item["kind"] == "Service"]
    file = tmp_path / "again.yaml"
    file.write_text(json.dumps({"name": "again", "nodes": [{"name": "n1"}], "manifests": services}))

    assert {(item["kind"], item["metadata"]["name"]) for item in items} == {
        ("Node", "n1"),
        ("Node", "n2"),
        ("Pod", "client"),
        ("Pod", "web-1"),
        ("Pod", "web-2"),
        ("Service", "admin"),
        ("Service", "say"),
        ("Service", "web"),
    }
    assert {manifest.item.metadata.name for manifest in read_lab(file).manifests} == {"admin", "say", "web"}


def test_shell(lab: LabUnderTest) -> None:
    done = run("shell", "client", "--lab", lab.name, stdin="cat /etc/resolv.conf; exit 3\n", check=False)

    assert (done.returncode, "nameserver 10.96.0.10" in done.stdout) == (3, True)


def test_watched_status(lab: LabUnderTest) -> None:
    """A line for each change."""
    command = [str(COMMAND), "status", lab.name, "--watch", "-o", "json"]
    with watched(command) as watcher:
        assert watcher.stdout is not None
        first = json.loads(watcher.stdout.readline())
        run("fault", "loss", "n1", "1%", "--lab", lab.name)
        second = json.loads(watcher.stdout.readline())
        watcher.send_signal(signal.SIGINT)
        ended = watcher.wait(60)
    run("fault", "clear", "--lab", lab.name)

    assert (ended, first["faults"], [fault["fault"] for fault in second["faults"]]) == (0, [], ["loss"])


def test_pods_and_nodes_come_and_go(lab: LabUnderTest) -> None:
    """Who stays keeps its addresses and its programs; then the lab is what its file asks for."""
    before = lab.status()

    node = ask(lab, "add", "node", "n3", "--zone", "z")
    pod = ask(lab, "add", "pod", "extra", "--node", "n3", "--label", "app=web", "--port", "http:8080")

    during = lab.status()
    endpoints = next(row for row in during["services"] if row["service"] == "default/web")["endpoints"]
    assert (node["state"], pod["state"], during["state"], len(endpoints)) == ("up", "up", "up", 3)
    assert during["nodes"][:2] == before["nodes"]
    assert during["clients"] == before["clients"]
    assert not {change["action"] for change in node["changes"] + pod["changes"]} & {"stopped", "detached"}

    dry = json.loads(run("up", str(lab.file), "--dry-run", "-o", "json").stdout)["changes"]
    assert {"action": "detach", "what": "pod default/extra"} in dry
    assert {"action": "delete", "what": "Node/n3"} in dry
    assert lab.status() == during

    ask(lab, "remove", "node", "n3")
    assert lab.up()["changes"] == []
    assert lab.status() == before


def test_dry_run_of_a_lab_that_is_not_there(lab: LabUnderTest, tmp_path: Path) -> None:
    """It says what would be made, and makes nothing."""
    with lab_from(TWO_NODES, tmp_path) as other:
        changes = json.loads(run("up", str(other.file), "--dry-run", "-o", "json").stdout)["changes"]

        assert {"action": "apply", "what": "Service/default/web"} in changes
        assert {"action": "attach", "what": "pod default/web-1"} in changes
        assert not other.state.exists()


def test_dry_run_tells_what_up_does(lab: LabUnderTest, tmp_path: Path) -> None:
    """A changed file: another label, a pod less, a Service more."""
    with lab_from(TWO_NODES, tmp_path) as other:
        other.name = lab.name
        other.topology["name"] = lab.name
        for field in ("clients", "manifests", "pods"):
            other.topology[field] = deepcopy(lab.topology[field])
        other.topology["nodes"][1]["labels"] = {"a": "b"}
        other.topology["pods"] = other.topology["pods"][:2]
        other.write()

        done = run("up", str(other.file), "--dry-run", "-o", "json")
        changes = {(change["action"], change["what"]) for change in json.loads(done.stdout)["changes"]}

        other.name = other.topology["name"] = "nolabhasthisname"
    assert changes == {
        ("stop", "pods/default/web-2"),
        ("remove", f"namespace nl-{lab.name}-pod-default-web-2"),
        ("remove", "config/pods/default/web-2/resolv.conf"),
        ("detach", "pod default/web-2"),
        ("apply", "Node/n2"),
        ("delete", "Pod/default/web-2"),
    }


@pytest.mark.parametrize("arguments", [("n1/sshd",), ("nobody",)])
def test_logs_of_nobody(arguments: tuple[str, ...], lab: LabUnderTest) -> None:
    done = run("logs", *arguments, "--lab", lab.name, check=False)

    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
