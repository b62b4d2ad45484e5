"""`ipamctl gc`: what it frees, what it waits for, and what it refuses."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ipam.allocator import Allocator
from ipam.boot import read_boot_id
from ipam.collection import collect
from ipam.datastore import open_datastore
from ipam.leaks import Here, find_leaks
from ipam.ledger import LedgerReader
from nodeplane.runtime.output import count_words
from tests.ipam.ctl import LEAK, NOW, POOL, Run
from tests.ipam.values import handle, request


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
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
    ],
)
def test_rows(run: Run, arguments: list[str], expected: Any) -> None:
    assert run.rows(*arguments) == expected


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        pytest.param(["gc", "--node-name", "n1", *NOW], ["10.0.0.0"], id="gc"),
        pytest.param(["gc", "--node-name", "n1", "--dry-run"], ["10.0.0.0", "10.0.0.1"], id="gc, dry"),
    ],
)
def test_what_is_freed_is_free(run: Run, arguments: list[str], left: list[str]) -> None:
    run.rows(*arguments)

    assert [row["address"] for row in run.rows("show", "--all")] == left
    allocations, handles = (count_words(len(left), noun) for noun in ("allocation", "handle"))
    assert run("check") == (
        0,
        "none\n",
        f"checked 1 pool, 1 block, {allocations}, {handles}: 0 findings\n",
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


def test_gc_of_a_node_that_is_gone(run: Run, manifests: Path) -> None:
    """Its addresses come free, and once they have rested, its blocks."""
    with open_datastore(run.url) as datastore:
        Allocator(datastore, (POOL,)).assign(request(5, 1_700_000_000, "n2"))

    done = run.rows("gc", "--node-name", "n1", *NOW, "--manifests", str(manifests))

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


def add(run: Run, number: int, node: str = "n1", now_s: int = 1_700_000_000, **fields: object) -> None:
    with open_datastore(run.url) as datastore:
        Allocator(datastore, (POOL,)).assign(request(number, now_s, node, **fields))


@pytest.mark.parametrize(
    ("assigned_at_s", "left"),
    [
        pytest.param(lambda now_s: now_s - 301, ["c0", "c2"], id="old"),
        pytest.param(lambda now_s: now_s, ["c0", "c2", "c5"], id="new"),
        # A clock that was ahead wrote it: nobody can wait until then.
        pytest.param(lambda now_s: now_s + 86_400, ["c0", "c2"], id="of tomorrow"),
        pytest.param(lambda _: 10**12, ["c0", "c2"], id="of a year that no calendar has"),
    ],
)
def test_what_is_old_enough(assigned_at_s: Callable[[int], int], left: list[str], run: Run) -> None:
    """By the default grace of 300 s; what has a namespace is never touched."""
    add(run, 2, now_s=10**12, netns="/")
    add(run, 5, now_s=assigned_at_s(int(time.time())), netns="/nowhere")

    run.rows("gc", "--node-name", "n1", "--observe", "0")

    assert [row["handle"].partition("/")[0] for row in run.rows("show", "--all")] == left


def test_pods_of_this_machine_under_a_name_that_is_no_node(run: Run, manifests: Path) -> None:
    """The CNI configuration's `nodeName` is wrong: which other names are, nobody can tell."""
    add(run, 5, "host-a", netns="/", boot_id=read_boot_id())
    before = run.rows("show", "--all")
    message = (
        "ipamctl: nodeName: expected a Node's name, and pods of this machine have addresses as host-a, "
        "we are n1: nothing is freed\n"
    )

    for command in (("gc",), ("gc", "--dry-run"), ("check", "--repair")):
        assert run(*command, "--node-name", "n1", *NOW, "--manifests", str(manifests)) == (2, "", message)
    assert run.rows("show", "--all") == before


def test_who_sees_no_namespace_at_all_frees_none_unless_told_to(run: Run) -> None:
    """As in a container without the host's /run/netns: all of this boot's would count as gone."""
    for number in (5, 6):
        add(run, number, netns=f"/none/{number}", boot_id=read_boot_id())

    code, out, err = run("gc", "--node-name", "n1", *NOW, "-o", "json")

    assert (code, json.loads(out)) == (0, {"addresses": [], "blocks": []})
    told = (
        "no namespace of this boot can be seen in /none: nothing is freed for that; run where it is mounted, "
        "or with --all-gone\n"
    )
    assert set(err.splitlines(keepends=True)) == {told}
    assert len(run.rows("show", "--all")) == 4
    done = run.rows("gc", "--node-name", "n1", *NOW, "--all-gone")
    assert [row["handle"] for row in done["addresses"]] == ["c1/eth0", "c5/eth0", "c6/eth0"]


class Clock:
    """Time that passes only when someone sleeps; `meanwhile` happens in the first sleep."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        self.slept: list[float] = []
        self._meanwhile = meanwhile

    def monotonic(self) -> float:
        return sum(self.slept)

    def time(self) -> float:
        return 1_700_001_000 + sum(self.slept)

    def sleep(self, seconds: float) -> None:
        if not self.slept:
            self._meanwhile()
        self.slept.append(seconds)


@pytest.mark.parametrize(
    ("options", "slept", "left"),
    [
        pytest.param([], [300, 2.0], ["c0"], id="stays away"),
        pytest.param(["--grace", "7"], [7, 2.0], ["c0"], id="stays away, less grace"),
    ],
)
def test_a_node_that_is_missing_is_waited_for(
    options: list[str], slept: list[float], left: list[str], run: Run, manifests: Path
) -> None:
    add(run, 5, "n2", netns="/run/netns/elsewhere")
    clock = Clock(list)
    run.monkeypatch.setattr("ipam.cli_upkeep.time", clock)

    code, _, err = run("gc", "--node-name", "n1", *options, "--manifests", str(manifests))

    assert (code, err) == (0, f"nodes are missing: waiting {slept[0]} s for them to come back\n")
    assert clock.slept == slept
    assert [row["handle"].partition("/")[0] for row in run.rows("show", "--all")] == left


def test_a_node_that_comes_back_meanwhile_keeps_its_addresses(run: Run, manifests: Path) -> None:
    add(run, 5, "n2", netns="/run/netns/elsewhere")
    node = "{apiVersion: v1, kind: Node, metadata: {name: n2}}\n"
    clock = Clock(lambda: (manifests / "n2.yaml").write_text(node))
    run.monkeypatch.setattr("ipam.cli_upkeep.time", clock)

    assert run("gc", "--node-name", "n1", "--manifests", str(manifests))[0] == 0

    assert clock.slept == [300, 2.0]
    # That of n1, whose namespace is gone, is all that is freed.
    assert [row["handle"].partition("/")[0] for row in run.rows("show", "--all")] == ["c0", "c5"]


def test_a_nodes_tunnel_address_goes_with_the_node_alone(run: Run, manifests: Path) -> None:
    """Then its block goes too, once the address has rested."""
    clock = Clock(list)
    run.monkeypatch.setattr("ipam.cli_upkeep.time", clock)
    with open_datastore(run.url) as datastore:
        allocator = Allocator(datastore, (), clock=lambda: 1_700_000_000)
        for node in ("n1", "n2"):
            allocator.assign_tunnel(node, POOL)
    cluster = ("--manifests", str(manifests))

    def tunnels() -> list[str]:
        return [row["handle"] for row in run.rows("show", "--all") if row["use"] == "tunnel"]

    run.rows("gc", "--node-name", "n1", *NOW)
    run.rows("gc", "--node-name", "n1", *NOW, "--all-gone")
    assert tunnels() == ["node:n1/tunnel:default", "node:n2/tunnel:default"]
    done = run.rows("gc", "--node-name", "n1", *NOW, *cluster)
    assert [row["reason"] for row in done["addresses"]] == ["its node n2 is gone"]
    assert tunnels() == ["node:n1/tunnel:default"]
    clock.slept.append(61)
    done = run.rows("gc", "--node-name", "n1", *NOW, *cluster)
    assert [(row["node"], row["verdict"]) for row in done["blocks"]] == [("n2", "give back")]
    assert run("check", "--node-name", "n1")[0] == 0


def test_a_node_that_comes_back_before_it_is_freed_keeps_its_tunnel_address(run: Run) -> None:
    """Its agent asked again after the look: another record, though all but a count is as before."""
    with open_datastore(run.url) as datastore:
        allocator = Allocator(datastore, ())
        first = allocator.assign_tunnel("n2", POOL)
        leaks = find_leaks(datastore.read(LedgerReader.allocations), Here("n1"), lambda _: True, nodes={"n1"})
        assert [leak.reason for leak in leaks] == ["its node n2 is gone"]

        assert allocator.assign_tunnel("n2", POOL) == first
        assert collect(datastore, leaks, lambda _: True, 2_000_000_000).freed == ()
        assert allocator.assign_tunnel("n2", POOL) == first
