"""The command line as a user has it: once, show, plan, cleanup, and what is refused."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from kubeproxy.config.file import read_config
from kubeproxy.rules.layout import TABLE
from nodeplane.datapath import netns
from tests.kubeproxy.cli_stand import CONFIG, PROGRAM, SHOWN, WEB, inputs, shown
from tests.netns_fixture import namespace, run_in


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
def test_kubeadm_style(manifests: Path, tmp_path: Path) -> None:
    """The node's name may stand in the file, or come by upstream's flag."""
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG + "hostnameOverride: n1\n")
    source = ("--manifests", str(manifests))
    with namespace() as ns:
        by_file = run_in(ns, PROGRAM, "once", "--config", str(config), *source)
        by_flag = run_in(ns, PROGRAM, "plan", "--hostname-override", "n1", *source, "-o", "json")

    assert (by_file.returncode, by_flag.stdout) == (0, "[]\n"), by_file.stderr
