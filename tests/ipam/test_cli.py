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
from ipam.errors import ExhaustedError
from ipam.model import Pool
from ipam.stores.sqlite import SqliteStore
from ipam.transact import Transaction, transact
from tests.etcd.processes import EtcdCluster
from tests.ipam.values import handle, network, request

# n1 starts at the pool's first block (crc32 % 4 == 0).
POOL = Pool("default", network("10.0.0.0/28"), 30, (network("10.0.0.15/32"),))
FIRST = {
    "address": "10.0.0.0",
    "pod": "default/web-1",
    "node": "n1",
    "pool": "default",
    "block": "10.0.0.0/30",
    "handle": "c0/eth0",
    "network": "",
    "netns": "/",
    "assigned": "2023-11-14T22:13:20+00:00",
}
SECOND = {**FIRST, "address": "10.0.0.1", "handle": "c1/eth0", "netns": "/nowhere"}
LEAK = {**SECOND, "reason": "its network namespace /nowhere is gone"}
BLOCK = {
    "block": "10.0.0.0/30",
    "pool": "default",
    "node": "n1",
    "size": 4,
    "used": 2,
    "free": 2,
    "lent": 0,
}
NOW = ("--grace", "0", "--observe", "0")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Make a datastore with two allocations of node n1; the namespace of the second is gone."""
    path = tmp_path / "ipam.sqlite"
    with Datastore(SqliteStore(path)) as datastore:
        allocator = Allocator(datastore, (POOL,))
        allocator.assign(request(0, 1_700_000_000, netns="/"))
        allocator.assign(request(1, 1_700_000_000, netns="/nowhere"))
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
        pytest.param(["show", "--all"], [FIRST, SECOND], id="show all"),
        pytest.param(["show", "10.0.0.1"], [SECOND], id="show one"),
        pytest.param(["show", "--pod", "default/web-1"], [FIRST, SECOND], id="show a pod's"),
        pytest.param(["show", "--handle", "c1/eth0"], [SECOND], id="show a handle's"),
        pytest.param(
            ["show"],
            {
                "pools": [
                    {
                        "pool": "default",
                        "cidr": "10.0.0.0/28",
                        "size": 16,
                        "reserved": 1,
                        "allocations": 2,
                        "free": 13,
                        "borrowed": 0,
                        "tunnels": 0,
                        "blocks": 1,
                        "blocks_by_node": ["n1 1"],
                    }
                ],
                "blocks": [BLOCK],
            },
            id="show",
        ),
        pytest.param(["blocks"], [BLOCK], id="blocks"),
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
                    "disabled": False,
                    "node_selector": "",
                    "namespace_selector": "",
                    "on_link": False,
                    "unclaimed": ["10.0.0.4/30", "10.0.0.8/29"],
                }
            ],
            id="pools",
        ),
        pytest.param(
            ["gc", "--node-name", "n1", "--dry-run"], {"addresses": [LEAK], "blocks": []}, id="gc, dry"
        ),
        pytest.param(["gc", "--node-name", "n1", *NOW], {"addresses": [LEAK], "blocks": []}, id="gc"),
        pytest.param(
            ["gc", "--node-name", "n1", "--grace", "2000000000"],
            {"addresses": [], "blocks": []},
            id="gc leaves new ones alone",
        ),
        pytest.param(
            ["gc", "--node-name", "n2", *NOW],
            {"addresses": [], "blocks": []},
            id="gc leaves other nodes' alone",
        ),
        pytest.param(["gc", *NOW], {"addresses": [], "blocks": []}, id="gc takes the host's name"),
        pytest.param(["release", "10.0.0.0"], [FIRST], id="release"),
        pytest.param(["release", "--handle", "c1/eth0"], [SECOND], id="release a handle"),
    ],
)
def test_rows(run: Run, arguments: list[str], expected: Any) -> None:
    assert run.rows(*arguments) == expected


def test_other_formats(run: Run) -> None:
    assert yaml.safe_load(run("show", "--all", "-o", "yaml")[1]) == [FIRST, SECOND]
    assert run("blocks")[1] == (
        "BLOCK        POOL     NODE  SIZE  USED  FREE  LENT\n"
        "10.0.0.0/30  default  n1    4     2     2     0\n"
    )


def test_map(run: Run) -> None:
    code, out, err = run("blocks", "--map")

    assert (code, out.splitlines()[1].split()[-1]) == (0, "##..")
    assert err == "# in use, > in use on another node, ~ freed, . never used, x reserved\n"
    assert json.loads(run("blocks", "--map", "-o", "json")[1]) == [{**BLOCK, "map": ["##.."]}]


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        pytest.param(["gc", "--node-name", "n1", *NOW], ["10.0.0.0"], id="gc"),
        pytest.param(["gc", "--node-name", "n1", "--dry-run"], ["10.0.0.0", "10.0.0.1"], id="gc, dry"),
        pytest.param(["release", "10.0.0.0"], ["10.0.0.1"], id="release"),
        pytest.param(["release", "--handle", "c0/eth0"], ["10.0.0.1"], id="release a handle"),
    ],
)
def test_what_is_freed_is_free(run: Run, arguments: list[str], left: list[str]) -> None:
    run.rows(*arguments)

    assert [row["address"] for row in run.rows("show", "--all")] == left
    assert run("check") == (
        0,
        "",
        f"checked 1 pools, 1 blocks, {len(left)} allocations, {len(left)} handles: 0 findings\n",
    )


def test_gc_gives_empty_blocks_back(run: Run) -> None:
    """All but one of the node's, once their addresses have rested."""
    with open_datastore(run.url) as datastore:
        allocator = Allocator(datastore, (POOL,), clock=lambda: 1_700_000_000)
        for number in range(2, 9):
            allocator.assign(request(number, 1_700_000_000, netns="/"))
        for number in range(9):
            allocator.release(handle(number))

    assert [row["verdict"] for row in run.rows("gc", *NOW)["blocks"]] == ["give back", "give back"]
    assert [row["block"] for row in run.rows("blocks")] == ["10.0.0.0/30"]


def lose_allocation(run: Run) -> None:
    with open_datastore(run.url) as datastore:
        datastore.transact(lambda ledger: ledger.delete_allocation(ip_address("10.0.0.0")))


LOST = {"subject": "address 10.0.0.0", "problem": "is lost: neither allocated nor free in its block"}
UNKNOWN = {"subject": "handle c0/eth0", "problem": "lists 10.0.0.0, which is not allocated"}


def test_check_finds_and_fails(run: Run) -> None:
    lose_allocation(run)

    assert run("check", "-o", "json") == (
        1,
        json.dumps([LOST, UNKNOWN], indent=2) + "\n",
        "checked 1 pools, 1 blocks, 1 allocations, 2 handles: 2 findings\n",
    )


def test_check_looks_at_this_nodes_namespaces(run: Run) -> None:
    code, out, _ = run("check", "--node-name", "n1", "-o", "json")

    assert (code, json.loads(out)) == (
        1,
        [{"subject": "address 10.0.0.1", "problem": "is leaked: its network namespace /nowhere is gone"}],
    )


def test_repair(run: Run) -> None:
    lose_allocation(run)

    code, out, err = run("check", "--repair", "--node-name", "n1", *NOW, "-o", "json")

    assert (code, json.loads(out)) == (
        0,
        {
            "repaired": [
                {**LOST, "done": "given back to its block"},
                {**UNKNOWN, "done": "forgotten"},
                {
                    "subject": "address 10.0.0.1",
                    "problem": "is leaked: its network namespace /nowhere is gone",
                    "done": "freed",
                },
            ],
            "left": [],
        },
    )
    assert err == "checked 1 pools, 1 blocks, 0 allocations, 0 handles: 0 findings\n"


MANIFESTS = """
apiVersion: v1
kind: Node
metadata: {name: n1}
---
apiVersion: v1
kind: Pod
metadata: {name: other}
spec: {nodeName: n1, containers: [{name: a}]}
status: {phase: Running, podIP: 10.0.0.9, podIPs: [{ip: 10.0.0.9}]}
---
apiVersion: v1
kind: Pod
metadata: {name: same}
spec: {nodeName: n1, containers: [{name: a}]}
status: {podIP: 10.0.0.9}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1}
spec: {nodeName: n3, containers: [{name: a}]}
"""


@pytest.fixture
def manifests(tmp_path: Path) -> str:
    directory = tmp_path / "manifests"
    directory.mkdir()
    (directory / "all.yaml").write_text(MANIFESTS)
    return str(directory)


def test_check_against_a_cluster(run: Run, manifests: str) -> None:
    with open_datastore(run.url) as datastore:
        Allocator(datastore, (POOL,)).assign(request(5, 1_700_000_000, "n2"))

    code, out, _ = run("check", "--node-name", "n1", "--manifests", manifests, "-o", "json")

    assert code == 1
    assert [(row["subject"], row["problem"]) for row in json.loads(out)] == [
        ("address 10.0.0.1", "is leaked: its network namespace /nowhere is gone"),
        ("address 10.0.0.8", "is leaked: its node n2 is gone"),
        ("address 10.0.0.0", "is orphaned: pod default/web-1 is on node n3, not on n1"),
        ("address 10.0.0.9", "is used by pod default/other, and not allocated"),
        ("address 10.0.0.9", "is used twice: by pods default/other and default/same"),
        ("block 10.0.0.8/30 of pool default", "is unaffine: its node n2 is not in the cluster"),
    ]


def test_gc_of_a_node_that_is_gone(run: Run, manifests: str) -> None:
    """Its addresses come free, and once they have rested, its blocks."""
    with open_datastore(run.url) as datastore:
        Allocator(datastore, (POOL,)).assign(request(5, 1_700_000_000, "n2"))

    done = run.rows("gc", "--node-name", "n1", *NOW, "--manifests", manifests)

    assert [(row["address"], row["reason"]) for row in done["addresses"]] == [
        ("10.0.0.1", "its network namespace /nowhere is gone"),
        ("10.0.0.8", "its node n2 is gone"),
    ]
    assert {row["node"] for row in run.rows("show", "--all")} == {"n1"}
    assert run("check", "--node-name", "n1", *NOW, "--repair")[0] == 0


@pytest.mark.parametrize("command", [("gc",), ("gc", "--dry-run"), ("check", "--repair")])
@pytest.mark.parametrize(
    ("there", "who"),
    [
        pytest.param([], "n1", id="none"),
        pytest.param(["n2"], "n1", id="not us"),
        pytest.param(["n9"], "any node that has blocks", id="none that has blocks"),
    ],
)
def test_a_cluster_that_is_not_the_datastores_is_refused(
    command: tuple[str, ...], there: list[str], who: str, run: Run, tmp_path: Path
) -> None:
    directory = tmp_path / "other"
    directory.mkdir()
    nodes = "---\n".join(f"{{apiVersion: v1, kind: Node, metadata: {{name: {name}}}}}\n" for name in there)
    (directory / "nodes.yaml").write_text(nodes)
    before = run.rows("show", "--all")
    node = "n9" if "n9" in there else "n1"

    code, out, err = run(*command, "--node-name", node, *NOW, "--manifests", str(directory))

    assert (code, out) == (2, "")
    assert f"expected the cluster of this datastore, and it does not have {who}" in err
    assert err.count("\n") == 1
    assert run.rows("show", "--all") == before


def test_pools(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "pools.yaml"
    file.write_text("pools:\n- {name: second, cidr: 10.1.0.0/24}\n- {name: six, cidr: 'fd00::/64'}\n")

    def names() -> list[tuple[str, bool]]:
        return [(row["pool"], row["disabled"]) for row in run.rows("pools", "list")]

    assert [row["pool"] for row in run.rows("pools", "apply", str(file))] == ["second", "six"]
    assert names() == [("default", False), ("second", False), ("six", False)]
    assert [row["disabled"] for row in run.rows("pools", "disable", "six")] == [True]
    assert names()[2] == ("six", True)
    assert [row["disabled"] for row in run.rows("pools", "enable", "six")] == [False]
    assert run("pools", "delete", "second") == (0, "", "")
    assert names() == [("default", False), ("six", False)]


def test_a_pool_is_emptied_and_deleted(run: Run) -> None:
    """As the documentation has it: disable, let the pods go, collect, delete."""
    run("pools", "disable", "default")
    with open_datastore(run.url) as datastore:
        allocator = Allocator(datastore, (), clock=lambda: 1_700_000_000)
        with pytest.raises(ExhaustedError, match="pool default is disabled"):
            allocator.assign(request(9))
        for number in range(2):
            allocator.release(handle(number))

    assert [row["verdict"] for row in run.rows("gc", *NOW)["blocks"]] == ["give back"]
    assert run("pools", "delete", "default") == (0, "", "")
    assert run.rows("pools") == []


def test_pools_apply_makes_a_datastore(run: Run, tmp_path: Path) -> None:
    """The first thing that an operator does."""
    file = tmp_path / "pools.yaml"
    file.write_text("pools:\n- {name: first, cidr: 10.1.0.0/24}\n")
    run.url = f"sqlite://{tmp_path}/new.sqlite"

    assert [row["pool"] for row in run.rows("pools", "apply", str(file))] == ["first"]


def test_a_file_of_pools_is_in_force_whole_or_not_at_all(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "pools.yaml"
    file.write_text("pools:\n- {name: good, cidr: 10.1.0.0/24}\n- {name: default, cidr: 10.2.0.0/24}\n")

    code, out, err = run("pools", "apply", str(file))

    assert (code, out) == (2, "")
    assert err == (
        f"ipamctl: {file}: default.cidr: expected 10.0.0.0/28 with blockSize 30 as the datastore has it: "
        "it has 1 blocks in use\n"
    )
    assert [row["pool"] for row in run.rows("pools")] == ["default"]


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

    for command in ("show", "check", "gc", "pools", "blocks"):
        assert run(command) == (code, "", f"ipamctl: {message.format(tmp=tmp_path)}\n")
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


def fill(transaction: Transaction) -> None:
    for number in range(100):
        transaction.put(f"z/{number:03d}", bytes(900))


def test_check_of_a_damaged_file(run: Run, path: Path) -> None:
    with closing(SqliteStore(path)) as store:
        transact(store, fill)
    with path.open("r+b") as file:
        file.seek(10 * 4096)
        file.write(b"\xff" * 4096)

    code, out, _ = run("check", "-o", "json")

    assert code == 1
    assert {row["subject"] for row in json.loads(out)} == {"file"}


@pytest.mark.parametrize("place", ["group", "subcommand"])
@pytest.mark.parametrize("command", [["list"], ["disable", "default"], ["delete", "default"]])
def test_a_datastore_before_the_subcommand_of_pools_counts(
    place: str, command: list[str], run: Run, path: Path, tmp_path: Path
) -> None:
    """Not the default one: a pool would be deleted where nobody meant it."""
    where = ["--datastore", f"sqlite://{tmp_path / 'nothing.sqlite'}"]
    arguments = ["pools", *where, *command] if place == "group" else ["pools", *command, *where]
    run.monkeypatch.setattr("sys.argv", ["ipamctl", *arguments])

    with pytest.raises(SystemExit) as exc:
        cli.main()

    assert exc.value.code == 1
    assert "nothing.sqlite: there is no datastore" in run.capsys.readouterr().err
    assert path.exists()


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
