"""The command line: results on stdout, one line for what is wrong, exit codes."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from coredns_lite.plugins import PLUGINS
from tests.coredns_lite.running import LIMIT_S, PROGRAM, SERVICE, make_cluster

COREFILE = """
cluster.local:1053 {
    bind 127.0.0.1
    errors
    kubernetes {
        manifests /m
    }
}
. {
    log
}
"""
ROWS = [
    {
        "address": "127.0.0.1",
        "port": 1053,
        "zone": "cluster.local.",
        "plugins": ["bind", "errors", "kubernetes"],
    },
    {"address": "*", "port": 53, "zone": ".", "plugins": ["log"]},
]
TABLE = """\
ADDRESS    PORT  ZONE            PLUGINS
127.0.0.1  1053  cluster.local.  bind
                                 errors
                                 kubernetes
*          53    .               log
"""


def run(*arguments: str | Path) -> tuple[int, str, str]:
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, check=False, timeout=LIMIT_S)
    return done.returncode, done.stdout, done.stderr


def test_check(tmp_path: Path) -> None:
    corefile = tmp_path / "Corefile"
    corefile.write_text(COREFILE)

    assert run("check", "--conf", corefile) == (0, TABLE, "")
    code, output, _ = run("check", "--conf", corefile, "-o", "json")
    assert (code, json.loads(output)) == (0, ROWS)
    code, output, _ = run("check", "--conf", corefile, "-o", "yaml")
    assert (code, yaml.safe_load(output)) == (0, ROWS)


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize(
    ("text", "error"),
    [
        pytest.param(
            ".:53 {\n errors\n nope . 9.9.9.9\n}",
            f"{{}}:3: nope: expected a plugin of coredns-lite: {', '.join(sorted(PLUGINS))}",
            id="unknown plugin",
        ),
        pytest.param(None, "{}: expected a readable file: No such file or directory", id="no file"),
    ],
)
def test_bad_corefile(tmp_path: Path, command: str, text: str | None, error: str) -> None:
    corefile = tmp_path / "Corefile"
    if text is not None:
        corefile.write_text(text)

    assert run(command, "--conf", corefile) == (2, "", f"coredns-lite: {error.format(corefile)}\n")


def test_bad_manifest_at_the_start(tmp_path: Path) -> None:
    """There is no last good version yet: the program says what is wrong and ends."""
    cluster = make_cluster(tmp_path)
    path = cluster.manifests / "a.yaml"
    path.write_text(SERVICE.format(name="web", address="10.96.0.1").replace("80", "99999"))

    code, output, error = run("run", "--conf", cluster.corefile)

    assert (code, output, len(error.splitlines())) == (2, "", 1)
    assert error.startswith(f"coredns-lite: {path}:5: spec.ports[0].port: expected ")


def test_address_taken(tmp_path: Path) -> None:
    cluster = make_cluster(tmp_path)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((cluster.address, cluster.port))

        place = f"listen on udp {cluster.address}:{cluster.port}"
        code, output, error = run("run", "--conf", cluster.corefile)

        assert (code, output) == (1, "")
        assert error.splitlines()[-1] == f"coredns-lite: {place}: Address already in use (EADDRINUSE)"


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["run"], id="no Corefile"),
        pytest.param(["serve"], id="no such command"),
        pytest.param(["check", "--conf", "x", "-o", "xml"], id="no such format"),
    ],
)
def test_wrong_usage(arguments: list[str]) -> None:
    code, output, error = run(*arguments)

    assert (code, output, len(error.splitlines())) == (2, "", 1)


def test_nothing_is_loaded_that_is_not_needed() -> None:
    """PyYAML and importlib.metadata take a megabyte each, HTTP's server a half and its client eight."""
    script = (
        "import sys, coredns_lite.cli, coredns_lite.plugins.kubernetes, nodeplane.kube.manifests\n"
        "print(*sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    late = {"yaml", "importlib.metadata", "h11", "httpcore2", "rich", "coredns_lite.workers.crew"}
    assert not late & set(run.stdout.split())
