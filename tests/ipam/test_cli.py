"""What ipamctl prints and how it exits."""

import json
import os
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import yaml

from ipam import cli
from ipam.allocator import Allocator
from ipam.datastore import Datastore, open_datastore
from ipam.model import Pool
from ipam.sqlite_store import SqliteStore
from ipam.store import Transaction
from tests.ipam.values import WEB, handle, network

# n1 starts at the pool's first block (crc32 % 4 == 0).
POOL = Pool("default", network("10.0.0.0/28"), 30, (network("10.0.0.15/32"),))
FIRST = {
    "address": "10.0.0.0",
    "pod": "default/web-1",
    "node": "n1",
    "pool": "default",
    "block": "10.0.0.0/30",
    "handle": "c0/eth0",
    "netns": "/",
    "assigned": "2023-11-14T22:13:20+00:00",
}
SECOND = {**FIRST, "address": "10.0.0.1", "handle": "c1/eth0", "netns": "/nowhere"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Make a datastore with two allocations of node n1; the namespace of the second is gone."""
    path = tmp_path / "ipam.sqlite"
    with Datastore(SqliteStore(path)) as datastore:
        allocator = Allocator(datastore, "n1", (POOL,), lambda: 1_700_000_000.0)
        allocator.assign(handle(0), WEB, "/")
        allocator.assign(handle(1), WEB, "/nowhere")
    return path


@pytest.fixture
def run(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> "Run":
    return Run(path, monkeypatch, capsys)


class Run:
    """Runs ipamctl; returns its exit code, stdout and stderr."""

    def __init__(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.url = f"sqlite://{path}"
        self.monkeypatch = monkeypatch
        self.capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        self.monkeypatch.setattr("sys.argv", ["ipamctl", *arguments, "--datastore", self.url])
        code: object = 0
        try:
            cli.main()
        except SystemExit as exc:
            code = exc.code or 0
        captured = self.capsys.readouterr()
        assert isinstance(code, int)
        return code, captured.out, captured.err

    def rows(self, *arguments: str) -> Any:
        code, out, err = self(*arguments, "-o", "json")
        assert (code, err) == (0, "")
        return json.loads(out)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(["show"], [FIRST, SECOND], id="show"),
        pytest.param(["show", "10.0.0.1"], [SECOND], id="show one"),
        pytest.param(
            ["blocks"],
            [{"block": "10.0.0.0/30", "pool": "default", "node": "n1", "size": 4, "used": 2, "free": 2}],
            id="blocks",
        ),
        pytest.param(
            ["pools"],
            [
                {
                    "pool": "default",
                    "cidr": "10.0.0.0/28",
                    "block_size": 30,
                    "blocks": "1/4",
                    "used": 2,
                    "size": 16,
                    "reserved": ["10.0.0.15/32"],
                    "unclaimed": ["10.0.0.4/30", "10.0.0.8/29"],
                }
            ],
            id="pools",
        ),
        pytest.param(["gc", "--node-name", "n1", "--dry-run"], [SECOND], id="gc, dry"),
        pytest.param(["gc", "--node-name", "n1"], [SECOND], id="gc"),
        pytest.param(["gc", "--node-name", "n1", "--grace", "2000000000"], [], id="gc leaves new ones alone"),
        pytest.param(["gc", "--node-name", "n2"], [], id="gc leaves other nodes' alone"),
        pytest.param(["gc"], [], id="gc takes the host's name"),
        pytest.param(["release", "10.0.0.0"], [FIRST], id="release"),
    ],
)
def test_rows(run: Run, arguments: list[str], expected: list[dict[str, Any]]) -> None:
    assert run.rows(*arguments) == expected


def test_other_formats(run: Run) -> None:
    assert yaml.safe_load(run("show", "-o", "yaml")[1]) == [FIRST, SECOND]
    assert run("blocks")[1] == (
        "BLOCK        POOL     NODE  SIZE  USED  FREE\n10.0.0.0/30  default  n1    4     2     2\n"
    )


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        pytest.param(["gc", "--node-name", "n1"], ["10.0.0.0"], id="gc"),
        pytest.param(["gc", "--node-name", "n1", "--dry-run"], ["10.0.0.0", "10.0.0.1"], id="gc, dry"),
        pytest.param(["release", "10.0.0.0"], ["10.0.0.1"], id="release"),
    ],
)
def test_what_is_freed_is_free(run: Run, arguments: list[str], left: list[str]) -> None:
    run.rows(*arguments)

    assert [row["address"] for row in run.rows("show")] == left
    assert run("check") == (
        0,
        "",
        f"checked 1 pools, 1 blocks, {len(left)} allocations, {len(left)} handles: 0 findings\n",
    )


def test_check_finds_and_fails(run: Run) -> None:
    with open_datastore(run.url) as datastore:
        datastore.transact(lambda ledger: ledger.delete_allocation(ip_address("10.0.0.0")))

    assert run("check", "-o", "json") == (
        1,
        json.dumps(
            [
                {
                    "subject": "address 10.0.0.0",
                    "problem": "is lost: neither allocated nor free in its block",
                },
                {"subject": "handle c0/eth0", "problem": "lists 10.0.0.0, which is not allocated"},
            ],
            indent=2,
        )
        + "\n",
        "checked 1 pools, 1 blocks, 1 allocations, 2 handles: 2 findings\n",
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        pytest.param(["show", "10.0.0.9"], 1, "10.0.0.9 is not allocated", id="show: not allocated"),
        pytest.param(["release", "10.0.0.9"], 1, "10.0.0.9 is not allocated", id="release: not allocated"),
        pytest.param(["release", "10.0.0"], 2, "IP: expected an IP address, got '10.0.0'", id="no address"),
        pytest.param(["release"], 2, "Missing argument 'IP'.", id="nothing to release"),
        pytest.param(
            ["gc", "--grace", "-1"],
            2,
            "Invalid value for '--grace': -1 is not in the range x>=0.",
            id="grace",
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
            "etcd://h:1", 2, "--datastore: expected sqlite:///absolute/path, got 'etcd://h:1'", id="scheme"
        ),
    ],
)
def test_a_mistyped_url_makes_nothing(run: Run, tmp_path: Path, url: str, code: int, message: str) -> None:
    before = os.listdir(tmp_path)
    run.url = url.format(tmp=tmp_path)

    for command in ("show", "check", "gc", "pools", "blocks"):
        assert run(command) == (code, "", f"ipamctl: {message.format(tmp=tmp_path)}\n")
    assert os.listdir(tmp_path) == before


def fill(transaction: Transaction) -> None:
    for number in range(100):
        transaction.put(f"z/{number:03d}", bytes(900))


def test_check_of_a_damaged_file(run: Run, path: Path) -> None:
    with closing(SqliteStore(path)) as store:
        store.transact(fill)
    with path.open("r+b") as file:
        file.seek(10 * 4096)
        file.write(b"\xff" * 4096)

    code, out, _ = run("check", "-o", "json")

    assert code == 1
    assert {row["subject"] for row in json.loads(out)} == {"file"}
