"""kubeproxy as a program: commands, exit codes, one line for wrong input."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from kubeproxy.config.file import read_config
from kubeproxy.rules.layout import TABLE
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
        ("ip", "add", "cluster-ips"),
        ("ip", "add", "hairpins"),
        ("ip6", "write", "table"),
    ]
    assert json.loads(after.stdout) == []
    assert [{name: row[name] for name in SHOWN} for row in rows] == [SHOWN]
    assert table.stdout.splitlines()[1].split()[:2] == ["TCP", "10.96.0.1:80"]
    assert cleanup.stdout.splitlines() == [f"removed table ip {TABLE}", f"removed table ip6 {TABLE}"]


@contextmanager
def showing(ns: Path) -> Iterator[IO[str]]:
    """Yield what `show --watch` prints."""
    with netns.inside(ns):
        command = [PROGRAM, "show", "--watch", "--interval", "0.1", "-o", "json"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def read_document(stream: IO[str]) -> str:
    """Read one JSON array; its end stands alone on a line."""
    lines = []
    for line in stream:
        lines.append(line)
        if line == "]\n":
            break
    return "".join(lines)


@pytest.mark.netns
def test_show_counts_connections(manifests: Path) -> None:
    """Each new connection to a frontend is counted, also when its endpoints change; --watch tells."""
    with namespace() as ns:
        run_in(ns, "ip", "route", "add", "local", "10.244.0.0/24", "dev", "lo")
        run_in(ns, "ip", "address", "add", "192.0.2.1/32", "dev", "lo")
        run_in(ns, "ip", "route", "add", "10.96.0.0/16", "dev", "lo", "src", "192.0.2.1")
        assert run_in(ns, PROGRAM, "once", *inputs(manifests)).returncode == 0
        before = shown(ns)
        with showing(ns) as watched:
            assert json.loads(read_document(watched)) == before
            for _ in range(3):
                run_in(ns, "bash", "-c", "exec 3<>/dev/tcp/10.96.0.1/80")
            told = json.loads(read_document(watched))
        web = manifests / "web.yaml"
        web.write_text(web.read_text().replace("10.244.0.2", "10.244.0.3"))
        assert run_in(ns, PROGRAM, "once", *inputs(manifests)).returncode == 0
        after = shown(ns)

    assert [row["connections"] for row in before] == [0]
    assert [row["connections"] for row in after] == [3]
    assert 1 <= told[0]["connections"] <= 3


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
    # A daemon says before that, what it has set up.
    said = done.stderr.splitlines() if command == "run" else [done.stderr.removesuffix("\n")]
    assert said[-1] == f"kubeproxy: {bad}:4: spec.ports[0].port: expected `int` <= 65535, got '99999'"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
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
        pytest.param(
            ("run", "--proxy-mode", "iptables"),
            "'iptables' is not one of 'nftables', 'ipvs', 'auto'",
            id="unknown mode",
        ),
        pytest.param(("fly",), "No such command 'fly'", id="unknown command"),
    ],
)
def test_wrong_usage_is_one_line(arguments: tuple[str, ...], words: str) -> None:
    """Wrong usage: one line and exit code 2."""
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert words in done.stderr


@pytest.mark.netns
@pytest.mark.parametrize(
    ("source", "words"),
    [
        pytest.param(("--kubeconfig", "in-cluster"), "KUBERNETES_SERVICE_HOST", id="not in a pod"),
        pytest.param(("--kubeconfig", "/nonexistent"), "expected a readable file", id="no kubeconfig"),
        pytest.param(("--manifests", "/nonexistent"), "expected a directory", id="no directory"),
        pytest.param(
            ("--manifests", "{folder}"), "spec.podCIDRs[0]: expected a network", id="wrong manifest"
        ),
    ],
)
def test_a_wrong_source_changes_nothing(source: tuple[str, str], words: str, tmp_path: Path) -> None:
    """Neither rules nor settings of the machine."""
    node = "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\nspec: {podCIDRs: [bad]}\n"
    (tmp_path / "node.yaml").write_text(node)
    setting = "net.netfilter.nf_conntrack_tcp_timeout_close_wait"
    with namespace() as ns:
        before = run_in(ns, "sysctl", "-n", setting).stdout
        done = run_in(ns, PROGRAM, "run", "--node-name", "n1", source[0], source[1].format(folder=tmp_path))
        after = run_in(ns, "sysctl", "-n", setting).stdout
        ruleset = run_in(ns, "nft", "list", "ruleset").stdout

    assert (done.returncode, after, ruleset) == (2, before, "")
    assert words in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.netns
@pytest.mark.parametrize("limit", range(5, 14))
def test_few_descriptors(limit: int, manifests: Path) -> None:
    """Whatever there are too few of them for: one line."""
    limited = f'ulimit -n {limit}; exec "$0" "$@"'
    with namespace() as ns:
        done = run_in(ns, "sh", "-c", limited, PROGRAM, "once", *inputs(manifests))

    assert done.returncode != 0
    assert (done.stdout, done.stderr.count("\n")) == ("", 1), done.stderr
    assert "Too many open files" in done.stderr or "expected a directory" in done.stderr


@pytest.mark.netns
def test_no_room_for_the_answer(manifests: Path) -> None:
    """`show > /dev/full` is one line."""
    with namespace() as ns:
        run_in(ns, PROGRAM, "once", *inputs(manifests))
        done = run_in(ns, "sh", "-c", '"$0" show > /dev/full', PROGRAM)

    assert (done.returncode, done.stderr) == (1, "kubeproxy: No space left on device (ENOSPC)\n")


@pytest.mark.netns
def test_without_the_right() -> None:
    """Root of a container may not have CAP_NET_ADMIN, and is told which right it lacks."""
    with namespace() as ns:
        done = run_in(ns, "setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", PROGRAM, "cleanup")

    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.endswith("Operation not permitted (EPERM): must have the capability CAP_NET_ADMIN\n")


@contextmanager
def running(ns: Path, manifests: Path, folder: Path, *options: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the daemon until READY=1, as a supervisor would; end it with SIGTERM."""
    path = folder / "notify"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(60)
        with netns.inside(ns), (folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [PROGRAM, "run", *inputs(manifests), *options],
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


CONFIG = """\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
metricsBindAddress: 127.0.0.1:8001
"""


def ask(ns: Path, address: str, path: str) -> tuple[int, str]:
    """Ask a page inside a namespace."""
    with netns.inside(ns):
        connection = http.client.HTTPConnection(address, timeout=30)
        connection.connect()
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


@pytest.mark.netns
def test_pages(manifests: Path, tmp_path: Path) -> None:
    """The two servers stand where upstream's do; a load balancer finds the health check of its Service."""
    (manifests / "web.yaml").write_text(
        WEB.replace(
            "clusterIP",
            "type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 31234, clusterIP",
        )
    )
    with namespace() as ns, running(ns, manifests, tmp_path, "--nodeport-addresses", "0.0.0.0/0"):
        health = ask(ns, "127.0.0.1:10256", "/healthz")
        pages = {
            path: ask(ns, "127.0.0.1:10249", path)
            for path in ("/metrics", "/healthz", "/proxyMode", "/configz", "/statusz", "/flagz")
        }
        check = eventually(lambda: ask(ns, "127.0.0.1:31234", "/"), lambda answer: answer[0] == 200)

    assert (health[0], json.loads(health[1])["nodeEligible"]) == (200, True)
    assert {path: status for path, (status, _) in pages.items()} == dict.fromkeys(pages, 200)
    assert pages["/proxyMode"][1] == "nftables"
    assert json.loads(pages["/configz"][1])["kubeproxy.config.k8s.io"]["nodePortAddresses"] == ["0.0.0.0/0"]
    assert "node-name=n1\n" in pages["/flagz"][1]
    assert 'kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family="IPv4"}' in pages["/metrics"][1]
    assert json.loads(check[1])["localEndpoints"] == 1


@pytest.mark.netns
def test_config_is_watched(manifests: Path, tmp_path: Path) -> None:
    """A wrong file changes nothing; a good one that says something else ends the program well."""
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG)
    with namespace() as ns:
        with running(
            ns, manifests, tmp_path, "--config", str(config), "--cluster-cidr", "10.0.0.0/8"
        ) as process:
            assert ask(ns, "127.0.0.1:8001", "/proxyMode") == (200, "nftables")
            config.write_text(CONFIG + "mod: x\n")
            log = eventually((tmp_path / "log").read_text, lambda text: "configuration is wrong" in text)
            assert f"{config}:4: mod: expected no such field" in log
            assert process.poll() is None
            config.write_text(CONFIG + "clusterCIDR: 10.244.0.0/16\n")
            assert process.wait(timeout=60) == 0
        log = (tmp_path / "log").read_text()
        assert len(shown(ns)) == 1

    assert "reason='the configuration file has changed'" in log
    assert "flag ignored beside --config flag=--cluster-cidr" in log


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(CONFIG + "mod: x\n", ":4: mod: expected no such field, got 'x'", id="unknown field"),
        pytest.param(
            CONFIG + "mode: iptables\n",
            ":4: mode: expected one of auto, ipvs, nftables, got 'iptables'",
            id="another mode",
        ),
        pytest.param(None, ": expected a readable file: No such file or directory", id="no file"),
    ],
)
@pytest.mark.parametrize("command", ["run", "once", "plan"])
def test_wrong_config_is_one_line(tmp_path: Path, command: str, text: str | None, message: str) -> None:
    """A wrong configuration: file, line, field, expected, and exit code 2."""
    config = tmp_path / "config.yaml"
    if text is not None:
        config.write_text(text)
    done = subprocess.run(
        [PROGRAM, command, "--config", str(config)], capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"kubeproxy: {config}{message}\n")


def test_write_config(tmp_path: Path) -> None:
    """What the flags come to, as a file; nothing else is asked for, and nothing else is done."""
    config = tmp_path / "config.yaml"
    arguments = [
        "run",
        "--write-config-to",
        str(config),
        "--cluster-cidr",
        "10.244.0.0/16",
        "--masquerade-all",
    ]
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=60, check=False)
    written = read_config(config)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (written.cluster_cidr, written.nftables.masquerade_all) == ("10.244.0.0/16", True)


@pytest.mark.netns
def test_init_only() -> None:
    """What needs all of root's rights is set up, and nothing else."""
    established = "net.netfilter.nf_conntrack_tcp_timeout_established"
    with namespace() as ns:
        done = run_in(ns, PROGRAM, "run", "--init-only", "--conntrack-tcp-timeout-established", "1h2m")
        value = run_in(ns, "sysctl", "-n", established).stdout
        left = run_in(ns, "nft", "list", "ruleset").stdout

    assert (done.returncode, value, left) == (0, "3720\n", "")


@pytest.mark.netns
def test_options_reach_the_rules(manifests: Path) -> None:
    """Flags and Node decide what the rules look like."""
    (manifests / "node.yaml").write_text(
        "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\nspec: {podCIDRs: [10.244.7.0/24]}\n"
        "status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}\n"
    )
    options = (
        "--detect-local-mode",
        "NodeCIDR",
        "--nodeport-addresses",
        "primary",
        "--nftables-masquerade-bit",
        "9",
    )
    with namespace() as ns:
        once = run_in(ns, PROGRAM, "once", *inputs(manifests), *options)
        plan = run_in(ns, PROGRAM, "plan", *inputs(manifests), *options, "-o", "json")
        ruleset = run_in(ns, "nft", "list", "table", "ip", TABLE).stdout

    assert (once.returncode, plan.stdout) == (0, "[]\n"), once.stderr
    assert "ip saddr != 10.244.7.0/24" in ruleset
    assert "0x00000200" in ruleset
    assert "192.0.2.1" in ruleset


@pytest.mark.netns
def test_other_pod_networks_end_it(manifests: Path, tmp_path: Path) -> None:
    """The rules are made of this Node's podCIDRs: when they change, the program ends well, for a restart."""
    text = "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\nspec: {podCIDRs: [10.244.7.0/24]}\n"
    node = manifests / "node.yaml"
    node.write_text(text)
    with namespace() as ns, running(ns, manifests, tmp_path, "--detect-local-mode", "NodeCIDR") as process:
        node.write_text(text.replace("7.0/24", "8.0/24"))
        assert process.wait(timeout=60) == 0
        assert len(shown(ns)) == 1

    log = (tmp_path / "log").read_text()
    assert "reason='podCIDRs changed from 10.244.7.0/24 to 10.244.8.0/24'" in log


@pytest.mark.netns
def test_kubeadm_style(manifests: Path, tmp_path: Path) -> None:
    """The node's name may stand in the file, or come by upstream's flag."""
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG + "hostnameOverride: n1\n")
    source = ("--manifests", str(manifests))
    with namespace() as ns:
        by_file = run_in(ns, PROGRAM, "once", "--config", str(config), *source)
        by_flag = run_in(ns, PROGRAM, "plan", "--hostname-override", "n1", *source, "-o", "json")

    assert (by_file.returncode, by_flag.stdout) == (0, "[]\n"), by_file.stderr
