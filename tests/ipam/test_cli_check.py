"""`ipamctl check`: what it finds, and what it puts right."""

import json
from contextlib import closing
from pathlib import Path

from ipam.allocator import Allocator
from ipam.datastore import open_datastore
from ipam.stores.sqlite import SqliteStore
from ipam.transact import Transaction, transact
from tests.ipam.ctl import NOW, POOL, Run, lose_allocation
from tests.ipam.values import request

LOST = {"subject": "address 10.0.0.0", "problem": "is lost: neither allocated nor free in its block"}
UNKNOWN = {"subject": "handle c0/eth0", "problem": "lists 10.0.0.0, which is not allocated"}


def test_check_finds_and_fails(run: Run) -> None:
    lose_allocation(run)

    assert run("check", "-o", "json") == (
        1,
        json.dumps([LOST, UNKNOWN], indent=2) + "\n",
        "checked 1 pool, 1 block, 1 allocation, 2 handles: 2 findings\n",
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
    assert err == "checked 1 pool, 1 block, 0 allocations, 0 handles: 0 findings\n"


def test_check_against_a_cluster(run: Run, manifests: Path) -> None:
    with open_datastore(run.url) as datastore:
        Allocator(datastore, (POOL,)).assign(request(5, 1_700_000_000, "n2"))

    code, out, _ = run("check", "--node-name", "n1", "--manifests", str(manifests), "-o", "json")

    assert code == 1
    assert [(row["subject"], row["problem"]) for row in json.loads(out)] == [
        ("address 10.0.0.1", "is leaked: its network namespace /nowhere is gone"),
        ("address 10.0.0.8", "is leaked: its node n2 is gone"),
        ("address 10.0.0.0", "is orphaned: pod default/web-1 is on node n3, not on n1"),
        ("address 10.0.0.9", "is used by pod default/other, and not allocated"),
        ("address 10.0.0.9", "is used twice: by pods default/other and default/same"),
        ("block 10.0.0.8/30 of pool default", "is unaffine: its node n2 is not in the cluster"),
    ]


def fill(transaction: Transaction) -> None:
    for number in range(100):
        transaction.put(f"z/{number:03d}", bytes(900))


def test_check_of_a_damaged_file(run: Run, ctl_path: Path) -> None:
    with closing(SqliteStore(ctl_path)) as store:
        transact(store, fill)
    with ctl_path.open("r+b") as file:
        file.seek(10 * 4096)
        file.write(b"\xff" * 4096)

    code, out, _ = run("check", "-o", "json")

    assert code == 1
    assert {row["subject"] for row in json.loads(out)} == {"file"}
