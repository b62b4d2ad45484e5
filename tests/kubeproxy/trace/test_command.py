"""`kubeproxy trace` as a command: what it takes, exit codes, one line for wrong input."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubeproxy.family_proxier import FamilyProxier
from kubeproxy.proxier import Proxier
from kubeproxy.rules.layout import TABLE
from nodeplane.datapath import netns
from nodeplane.datapath.nft.kernel import KernelTable
from tests.kubeproxy.objects import additions, endpoint, endpoint_slice, service
from tests.netns_fixture import namespace, run_in, veth_pair

# The tree under test, whatever is installed.
PROGRAM = (sys.executable, "-c", "from kubeproxy.cli import main; main()")


@pytest.fixture(scope="module")
def node() -> Iterator[Path]:
    """A node with one service, 10.96.0.1:80, and one link, veth0."""
    with (
        namespace("node") as ns,
        namespace("client") as client,
        veth_pair(ns, "veth0", client, "eth0", address_a="10.1.1.1/24", address_b="10.1.1.2/24"),
    ):
        run_in(ns, *["ip", "route", "add", "10.96.0.0/16", "via", "10.1.1.2"])
        with netns.inside(ns), KernelTable("ip", TABLE) as table:
            proxier = Proxier("n1", [FamilyProxier("ip", table)])
            proxier.take(additions(service(), endpoint_slice(endpoint("10.1.1.2"))))
            proxier.sync(full=True)
        yield ns


def ask(ns: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return run_in(ns, *PROGRAM, "trace", *arguments)


@pytest.mark.netns
@pytest.mark.parametrize(
    ("arguments", "comes", "kind"),
    [
        pytest.param(("10.1.1.2", "tcp", "10.96.0.1:80"), "in by veth0", "endpoint", id="by the way back"),
        pytest.param(
            ("10.1.1.1", "TCP", "10.96.0.1:80"), "from a process of this node", "endpoint", id="our address"
        ),
        pytest.param(("8.8.8.8", "tcp", "10.96.0.1:80", "--iif", "lo"), "in by lo", "endpoint", id="--iif"),
        pytest.param(("10.1.1.2", "udp", "10.96.0.1:80"), "in by veth0", "unreachable", id="no such port"),
        pytest.param(
            ("10.1.1.2", "sctp", "10.97.0.1:80", "--source-port", "7"),
            "in by veth0",
            "untouched",
            id="no service",
        ),
    ],
)
def test_where_it_comes_from(node: Path, arguments: tuple[str, ...], comes: str, kind: str) -> None:
    """An answer is exit code 0, whatever it says."""
    done = ask(node, *arguments, "-o", "json")

    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert (told["comes"], [outcome["kind"] for outcome in told["outcomes"]]) == (comes, [kind])


@pytest.mark.netns
def test_table(node: Path) -> None:
    """Hop by hop, and then the outcomes."""
    lines = ask(node, "10.1.1.2", "tcp", "10.96.0.1:80").stdout.splitlines()

    assert lines[:3] == [
        "connection: tcp 10.1.1.2 -> 10.96.0.1:80",
        "comes: in by veth0",
        f"table: ip {TABLE}",
    ]
    hops = [line.split()[0] for line in lines[5 : lines.index("", 5)]]
    assert hops[:2] == ["nat-prerouting", "services"]
    assert hops[-1] == "nat-postrouting"
    assert lines[-1].startswith("10.1.1.2:8080")
    assert "the client reaches itself, masqueraded" in lines[-1]


@pytest.mark.netns
def test_names(node: Path, tmp_path: Path) -> None:
    """With a source of objects the service has its name."""
    (tmp_path / "web.yaml").write_text(
        "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: default}, spec: {"
        "clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1], ports: [{name: http, port: 80, protocol: TCP}]}}"
    )
    done = ask(node, "10.1.1.2", "tcp", "10.96.0.1:80", "--manifests", str(tmp_path))
    rows = run_in(node, *PROGRAM, "show", "--manifests", str(tmp_path), "-o", "json")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "service: default/web:http"
    assert [row["service"] for row in json.loads(rows.stdout)] == ["default/web:http"]


@pytest.mark.netns
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        pytest.param(("10.1.1.2", "icmp", "10.96.0.1:80"), 2, "'icmp' is not one of", id="protocol"),
        pytest.param(
            ("10.1.1", "tcp", "10.96.0.1:80"), 2, "expected an IP address, got '10.1.1'", id="source"
        ),
        pytest.param(("10.1.1.2", "tcp", "10.96.0.1"), 2, "expected ADDRESS:PORT", id="no port"),
        pytest.param(("10.1.1.2", "tcp", "10.96.0.1:0"), 2, "expected ADDRESS:PORT", id="port 0"),
        pytest.param(("10.1.1.2", "tcp", "[10.96.0.1]:80"), 2, "expected ADDRESS:PORT", id="brackets"),
        pytest.param(("fd00::1", "tcp", "fd00::2:80"), 2, "expected ADDRESS:PORT", id="no brackets"),
        pytest.param(("fd00::1", "tcp", "10.96.0.1:80"), 2, "not of one family", id="two families"),
        pytest.param(("8.8.8.8", "tcp", "10.96.0.1:80"), 2, "by which interface", id="no way back"),
        pytest.param(
            ("10.1.1.2", "tcp", "10.96.0.1:80", "--iif", "x"), 2, "no interface 'x'", id="no interface"
        ),
        pytest.param(
            ("fd00::1", "tcp", "[fd00::2]:80", "--iif", "lo"),
            1,
            f"there is no table ip6 {TABLE}",
            id="no table",
        ),
    ],
)
def test_one_line(node: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    """What can't be answered: one line, and whose fault it is as the exit code."""
    done = ask(node, *arguments)

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert words in done.stderr
