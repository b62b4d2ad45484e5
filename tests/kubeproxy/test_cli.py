"""kubeproxy as a program: commands, exit codes, one line for wrong input."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kubeproxy.layout import TABLE
from nodeplane.datapath import netns
from tests.netns_fixture import eventually, namespace, run_in

PROGRAM = str(Path(sys.executable).with_name("kubeproxy"))

WEB = """\
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.244.0.1], nodeName: n1}, {addresses: [10.244.0.2], nodeName: n2}]
"""
SHOWN = {
    "frontend": "TCP 10.96.0.1:80",
    "pool": "1fe:58c9",
    "endpoints": ["10.244.0.1:8080", "10.244.0.2:8080"],
}


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    folder = tmp_path / "manifests"
    folder.mkdir()
    (folder / "web.yaml").write_text(WEB)
    return folder


def inputs(manifests: Path) -> tuple[str, ...]:
    return ("--node-name", "n1", "--manifests", str(manifests))


def shown(ns: Path) -> list[dict[str, object]]:
    done = run_in(ns, PROGRAM, "show", "-o", "json")
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, object]] = json.loads(done.stdout)
    return rows


@pytest.mark.netns
def test_once_show_plan_cleanup(manifests: Path) -> None:
    """plan says what once does; show reads it back from the kernel; cleanup leaves nothing."""
    with namespace() as ns:
        plan = run_in(ns, PROGRAM, "plan", *inputs(manifests), "-o", "json")
        assert shown(ns) == []
        once = run_in(ns, PROGRAM, "once", *inputs(manifests))
        after = run_in(ns, PROGRAM, "plan", *inputs(manifests), "-o", "json")
        rows = shown(ns)
        table = run_in(ns, PROGRAM, "show")
        cleanup = run_in(ns, PROGRAM, "cleanup")
        left = run_in(ns, "nft", "list", "ruleset").stdout

    assert [once.returncode, table.returncode, cleanup.returncode, left] == [0, 0, 0, ""]
    assert [(row["family"], row["change"], row["map"]) for row in json.loads(plan.stdout)] == [
        ("ip", "write", "table"),
        ("ip", "add", "frontends"),
        ("ip", "add", "slots"),
        ("ip", "add", "slots"),
        ("ip", "add", "hairpins"),
        ("ip6", "write", "table"),
    ]
    assert json.loads(after.stdout) == []
    assert [{**row, "pool": None} for row in rows] == [{**SHOWN, "pool": None}]
    assert table.stdout.splitlines()[1].split()[:3] == ["TCP", "10.96.0.1:80", rows[0]["pool"]]
    assert cleanup.stdout.splitlines() == [f"removed table ip {TABLE}", f"removed table ip6 {TABLE}"]


@pytest.mark.netns
@pytest.mark.parametrize("command", ["once", "run", "plan"])
def test_wrong_manifest_is_one_line(manifests: Path, command: str) -> None:
    """A manifest that Kubernetes would refuse: file, line, field, expected, exit code 2, nothing written."""
    bad = manifests / "bad.yaml"
    bad.write_text(WEB.replace("port: 80}", "port: 99999}").replace("name: web", "name: bad"))
    with namespace() as ns:
        done = run_in(ns, PROGRAM, command, *inputs(manifests))
        left = run_in(ns, "nft", "list", "ruleset").stdout

    assert (done.returncode, done.stdout, left) == (2, "", "")
    assert done.stderr == f"kubeproxy: {bad}:4: spec.ports[0].port: expected `int` <= 65535, got '99999'\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(("once", "--manifests", "x"), "Missing option '--node-name'", id="missing option"),
        pytest.param(("once", "--node-name", "n1"), "expected exactly one of them", id="no source"),
        pytest.param(
            ("run", "--node-name", "n1", "--manifests", "x", "--kubeconfig", "y"),
            "expected exactly one of them",
            id="two sources",
        ),
        pytest.param(
            ("once", "--node-name", "n1", "--manifests", "/nonexistent"),
            "expected a directory",
            id="no folder",
        ),
        pytest.param(("run", "--proxy-mode", "iptables"), "'iptables' is not 'nftables'", id="unknown mode"),
        pytest.param(("fly",), "No such command 'fly'", id="unknown command"),
    ],
)
def test_wrong_usage_is_one_line(arguments: tuple[str, ...], words: str) -> None:
    """Wrong usage: one line and exit code 2."""
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert words in done.stderr


@contextmanager
def running(ns: Path, manifests: Path, folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the daemon until READY=1, as a supervisor would; end it with SIGTERM."""
    path = folder / "notify"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(60)
        with netns.inside(ns), (folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [PROGRAM, "run", *inputs(manifests)],
                env=os.environ | {"NOTIFY_SOCKET": str(path)},
                stderr=log,
            )
        try:
            assert listener.recv(64) == b"READY=1"
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


@pytest.mark.netns
def test_run_follows_the_directory(manifests: Path, tmp_path: Path) -> None:
    """Changes arrive, a bad file keeps the last good one, damage heals, SIGTERM leaves the rules."""
    with namespace() as ns:
        with running(ns, manifests, tmp_path) as process:
            assert [row["endpoints"] for row in shown(ns)] == [SHOWN["endpoints"]]

            (manifests / "web.yaml").write_text(WEB.replace("10.244.0.1]", "10.244.0.7]"))
            eventually(
                lambda: shown(ns), lambda rows: rows[0]["endpoints"] == ["10.244.0.2:8080", "10.244.0.7:8080"]
            )

            (manifests / "web.yaml").write_text("apiVersion: v1\nkind: Service\n")
            eventually((tmp_path / "log").read_text, lambda text: "last good version" in text)
            assert shown(ns)[0]["endpoints"] == ["10.244.0.2:8080", "10.244.0.7:8080"]

            run_in(ns, "nft", "flush", "ruleset")
            eventually(lambda: shown(ns), bool)
        assert process.returncode == 0
        assert shown(ns)[0]["endpoints"] == ["10.244.0.2:8080", "10.244.0.7:8080"]


@pytest.mark.netns
def test_killed_and_restarted_writes_nothing(manifests: Path, tmp_path: Path) -> None:
    """kill -9 and a new process: the same table, not one transaction more."""
    with namespace() as ns:
        with running(ns, manifests, tmp_path) as process:
            process.kill()
            process.wait(timeout=60)
        before = run_in(ns, "nft", "-a", "list", "ruleset").stdout
        with running(ns, manifests, tmp_path):
            after = run_in(ns, "nft", "-a", "list", "ruleset").stdout

    assert after == before
