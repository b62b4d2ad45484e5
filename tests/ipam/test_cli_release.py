"""`ipamctl release`: what it frees, and what it says of it."""

from functools import partial
from ipaddress import ip_address
from typing import Any

import pytest

from ipam.allocator import Allocator
from ipam.datastore import open_datastore
from ipam.keys import POOLS, allocation_key, handle_key
from ipam.ledger import Ledger
from nodeplane.runtime.output import count_words
from tests.ipam.ctl import FIRST, NOW, POOL, SECOND, Run
from tests.ipam.values import handle, request


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(["release", "10.0.0.0"], [FIRST], id="release"),
        pytest.param(["release", "--handle", "c1/eth0"], [SECOND], id="release a handle"),
    ],
)
def test_rows(run: Run, arguments: list[str], expected: Any) -> None:
    assert run.rows(*arguments) == expected


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        pytest.param(["release", "10.0.0.0"], ["10.0.0.1"], id="release"),
        pytest.param(["release", "--handle", "c0/eth0"], ["10.0.0.1"], id="release a handle"),
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


ADDRESS = ip_address("10.0.0.0")
KEY = allocation_key(ADDRESS)
HANDLE = handle_key(handle(0))
OTHER_HANDLE = handle_key(handle(1))
UNREADABLE = dict.fromkeys(FIRST, "") | {name: FIRST[name] for name in ("address", "node", "pool", "block")}


def spoil(run: Run, **entries: bytes | None) -> None:
    """Write nonsense under keys, or take them away."""
    keys = {"allocation": KEY, "handle": HANDLE, "other_handle": OTHER_HANDLE, "pools": POOLS}
    with open_datastore(run.url) as datastore:
        for name, value in entries.items():
            datastore.transact(partial(Ledger.put_entry, key=keys[name], value=value))


def test_an_allocation_that_nobody_can_read_is_freed_by_its_address(run: Run) -> None:
    """Its handle is gone too, so that no repair can tell whose it was; its address rests like any other."""
    spoil(run, allocation=b"{spoilt", handle=None)
    assert run("check", "--repair", *NOW)[0] == 1

    assert run.rows("release", "10.0.0.0") == [UNREADABLE]

    assert [row["address"] for row in run.rows("show", "--all")] == ["10.0.0.1"]
    assert run("check")[0] == 0
    with open_datastore(run.url) as datastore:
        got = Allocator(datastore, (POOL,)).assign(request(7))
    assert [str(ip.address) for ip in got.ips] == ["10.0.0.2/32"]


COPY = b'"address":"10.0.0.0"'


def test_an_allocation_that_names_another_address_is_freed_by_its_key(run: Run) -> None:
    with open_datastore(run.url) as datastore:
        value = datastore.read(lambda ledger: ledger.entry(KEY))
    assert value is not None
    assert COPY in value
    spoil(run, allocation=value.replace(COPY, b'"address":"10.0.0.9"'), handle=None)

    assert run("show", "10.0.0.0") == (
        1,
        "",
        "ipamctl: the allocation of 10.0.0.0 names 10.0.0.9: run ipamctl check\n",
    )
    assert run.rows("release", "10.0.0.0") == [UNREADABLE]
    assert run("check")[0] == 0


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        pytest.param(
            {},
            f"{KEY} may be of c0/eth0, which lists it: run ipamctl check --repair first",
            id="its handle is there",
        ),
        pytest.param(
            {"handle": None, "other_handle": b"{spoilt"},
            f"{OTHER_HANDLE} may list 10.0.0.0: run ipamctl check --repair first",
            id="a handle can't be read",
        ),
        pytest.param(
            {"handle": None, "pools": None},
            "10.0.0.0 is of no known pool: put it back first with ipamctl pools apply",
            id="its pool is not known",
        ),
    ],
)
def test_what_a_repair_may_still_tell_is_not_freed(
    entries: dict[str, bytes | None], message: str, run: Run
) -> None:
    spoil(run, allocation=b"{spoilt", **entries)

    assert run("release", "10.0.0.0") == (1, "", f"ipamctl: {message}\n")
    with open_datastore(run.url) as datastore:
        assert datastore.read(lambda ledger: ledger.entry(KEY)) == b"{spoilt"


def test_beside_what_can_not_be_read_all_else_is_shown_and_freed(run: Run) -> None:
    spoil(run, allocation=b"{spoilt")
    for command in (["show"], ["show", "--all"], ["blocks"], ["pools"], ["release", "--handle", "c1/eth0"]):
        code, out, err = run(*command, "-o", "json")

        assert (code, err.count("\n")) == (0, 1)
        assert err.startswith(f"key {KEY} can't be read")
        assert out
    assert run("check", "--repair", "--node-name", "n1", *NOW)[0] == 0
    assert [row["address"] for row in run.rows("show", "--all")] == ["10.0.0.0"]


def test_a_tunnel_address_is_released_by_its_handle(run: Run) -> None:
    with open_datastore(run.url) as datastore:
        Allocator(datastore, (POOL,), clock=lambda: 1_700_000_000).assign_tunnel("n1", POOL)
    row = {**FIRST, "address": "10.0.0.2", "pod": "", "netns": "", "use": "tunnel"}
    expected = [{**row, "handle": "node:n1/tunnel:default"}]

    assert run.rows("show", "10.0.0.2") == expected
    assert run.rows("show", "--handle", "node:n1/tunnel:default") == expected
    assert run.rows("show")["pools"][0]["tunnels"] == 1
    assert run.rows("release", "--handle", "node:n1/tunnel:default") == expected
    assert run("check")[0] == 0
