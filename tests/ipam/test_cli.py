"""What all commands of ipamctl have in common: errors of one line, URLs, stores."""

import os
from pathlib import Path

import pytest

from ipam import cli
from ipam.allocator import Allocator
from ipam.datastore import open_datastore
from tests.etcd.processes import EtcdCluster
from tests.ipam.ctl import NOW, Run, lose_allocation
from tests.ipam.values import request


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        pytest.param(["show", "10.0.0.9"], 1, "10.0.0.9 is not allocated", id="show: not allocated"),
        pytest.param(["show", "--pod", "a/b"], 1, "pod a/b has no address", id="show: no such pod"),
        pytest.param(
            ["show", "--pod", "b"], 2, "--pod: expected NAMESPACE/NAME, got 'b'", id="show: no pod's name"
        ),
        pytest.param(["show", "--handle", "c9/eth0"], 1, "c9/eth0 holds no address", id="show: no handle"),
        pytest.param(
            ["show", "10.0.0.9", "--all"],
            2,
            "IP, --pod, --handle, --all: expected at most one of them",
            id="show: two things",
        ),
        pytest.param(["release", "10.0.0.9"], 1, "10.0.0.9 is not allocated", id="release: not allocated"),
        pytest.param(["release", "10.0.0"], 2, "IP: expected an IP address, got '10.0.0'", id="no address"),
        pytest.param(["release"], 2, "IP, --handle: expected exactly one of them", id="nothing to release"),
        pytest.param(
            ["release", "--handle", "c9/eth0"], 1, "c9/eth0 holds no address", id="release: no such handle"
        ),
        pytest.param(
            ["release", "--handle", "c9"],
            2,
            "--handle: expected CONTAINER-ID/INTERFACE, got 'c9'",
            id="release: no handle",
        ),
        pytest.param(
            ["gc", "--grace", "-1"],
            2,
            "Invalid value for '--grace': -1 is not in the range x>=0.",
            id="grace",
        ),
        pytest.param(
            ["check", "--manifests", "a", "--kubeconfig", "b"],
            2,
            "--manifests, --kubeconfig: expected exactly one of them",
            id="two clusters",
        ),
        pytest.param(
            ["pools", "disable", "x"], 2, "NAME: expected the name of a pool: default, got 'x'", id="no pool"
        ),
        pytest.param(
            ["pools", "delete", "default"],
            2,
            "NAME: default: expected a pool without blocks: disable it, and delete it when its pods are "
            "gone: it has 1 blocks in use",
            id="pool in use",
        ),
        pytest.param(
            ["pools", "delete", "x"], 2, "NAME: x: expected the name of a pool: default", id="delete no pool"
        ),
        pytest.param(["frobnicate"], 2, "No such command 'frobnicate'.", id="command"),
    ],
)
def test_errors_are_one_line(run: Run, arguments: list[str], code: int, message: str) -> None:
    assert run(*arguments) == (code, "", f"ipamctl: {message}\n")


@pytest.mark.parametrize(
    ("url", "code", "message"),
    [
        pytest.param("sqlite:///{tmp}/none", 1, "{tmp}/none: there is no datastore", id="nothing there"),
        pytest.param(
            "etcd://h",
            2,
            "--datastore: expected sqlite:///absolute/path or etcd://host:port[,host:port]/prefix, "
            "got 'etcd://h'",
            id="not whole",
        ),
    ],
)
def test_a_mistyped_url_makes_nothing(run: Run, tmp_path: Path, url: str, code: int, message: str) -> None:
    before = os.listdir(tmp_path)
    run.url = url.format(tmp=tmp_path)

    for command in (
        "show",
        "show --all",
        "check",
        "check --repair",
        "gc",
        "gc --dry-run",
        "blocks",
        "release 10.0.0.1",
        "release --handle c1/eth0",
        "pools",
        "pools list",
        "pools delete default",
        "pools disable default",
    ):
        assert run(*command.split()) == (code, "", f"ipamctl: {message.format(tmp=tmp_path)}\n")
    assert os.listdir(tmp_path) == before


def test_over_etcd(run: Run, etcd: EtcdCluster, tmp_path: Path) -> None:
    """The same commands over a cluster's store."""
    run.url = etcd.url("/ipamctl")
    file = tmp_path / "pools.yaml"
    file.write_text("pools:\n- {name: default, cidr: 10.0.0.0/28, blockSize: 30}\n")

    assert run("show")[0] == 1
    assert [row["pool"] for row in run.rows("pools", "apply", str(file))] == ["default"]
    with open_datastore(run.url) as datastore:
        allocator = Allocator(datastore, ())
        for number in range(6):
            allocator.assign(request(number, 1_700_000_000, netns="/" if number else "/nowhere"))
    lose_allocation(run)

    assert [row["blocks"] for row in run.rows("show")["pools"]] == [2]
    assert run("check")[0] == 1
    assert run("check", "--repair", "--node-name", "n1", *NOW)[0] == 0
    assert len(run.rows("show", "--all")) == 5
    assert run("check", "--node-name", "n1")[0] == 0


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["gc", "--observe", "inf"], id="observe inf"),
        pytest.param(["gc", "--observe", "nan"], id="observe nan"),
        pytest.param(["gc", "--observe", "1e300"], id="observe 1e300"),
        pytest.param(["show", "fd00::5%eth0"], id="address with a zone"),
        pytest.param(["show", "--datastore", "memory://x"], id="a process's own datastore"),
    ],
)
def test_what_makes_no_sense_is_refused_with_one_line(arguments: list[str], run: Run) -> None:
    given = [*arguments] if "--datastore" in arguments else [*arguments, "--datastore", run.url]
    run.monkeypatch.setattr("sys.argv", ["ipamctl", *given])

    with pytest.raises(SystemExit) as exc:
        cli.main()

    assert exc.value.code == 2
    assert "Traceback" not in run.capsys.readouterr().err
