"""A step happens as if it were alone, over any store."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Barrier

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipam import transact as runner
from ipam.errors import DatastoreBusyError, DatastoreError
from ipam.store import MAX_KEYS, Store
from ipam.stores.memory import MemoryStore
from ipam.transact import Reader, Transaction, read, transact
from tests.etcd.processes import EtcdCluster
from tests.ipam.stores.kinds import KEYS, KINDS, Open, opener

STEPS = st.lists(st.tuples(KEYS, st.none() | st.binary(max_size=3)), max_size=6)


def fill(transaction: Transaction) -> None:
    for key in ("a/2", "b/1", "a/1", "a/10", "a", "ab"):
        transaction.put(key, key.encode())


def keys(reader: Reader, prefix: str = "", limit: int | None = None) -> list[str]:
    return [key for key, _ in reader.scan(prefix, limit)]


def test_a_step_sees_its_own_changes(store: Store) -> None:
    def step(transaction: Transaction) -> list[object]:
        transaction.put("k", b"1")
        transaction.put("k", b"2")
        seen: list[object] = [transaction.get("k"), transaction.scan("")]
        transaction.delete("k")
        transaction.delete("k")
        return [*seen, transaction.get("k"), transaction.scan("")]

    assert transact(store, step) == [b"2", [("k", b"2")], None, []]


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        pytest.param(None, ["a/0", "a/1", "a/2"], id="all"),
        pytest.param(1, ["a/0"], id="its own comes first"),
        pytest.param(2, ["a/0", "a/1"], id="own and stored"),
        pytest.param(3, ["a/0", "a/1", "a/2"], id="past one that it has deleted"),
    ],
)
def test_a_scan_sees_its_own_changes(store: Store, limit: int | None, expected: list[str]) -> None:
    transact(store, fill)

    def step(transaction: Transaction) -> list[str]:
        transaction.put("a/0", b"")
        transaction.delete("a/10")
        return keys(transaction, "a/", limit)

    assert transact(store, step) == expected
    assert read(store, keys) == ["a", "a/0", "a/1", "a/2", "ab", "b/1"]


def test_a_step_that_raises_changes_nothing(store: Store) -> None:
    transact(store, fill)
    before = read(store, lambda reader: reader.scan(""))

    def step(transaction: Transaction) -> None:
        transaction.put("a", b"changed")
        transaction.delete("ab")
        raise LookupError

    with pytest.raises(LookupError):
        transact(store, step)

    assert read(store, lambda reader: reader.scan("")) == before
    transact(store, fill)


def test_a_look_shows_what_is_there(store: Store) -> None:
    transact(store, fill)

    assert transact(store, lambda transaction: transaction.peek("a/", 2)) == [
        ("a/1", b"a/1"),
        ("a/10", b"a/10"),
    ]


@pytest.mark.parametrize("amount", [MAX_KEYS, MAX_KEYS + 1])
def test_what_one_transaction_takes(store: Store, amount: int) -> None:
    """The same over every store, so that what runs on a file runs on a cluster."""

    def write(transaction: Transaction) -> None:
        for number in range(amount):
            transaction.put(f"{number}", b"")

    def look(transaction: Transaction) -> int:
        found = [transaction.get(f"{number}") for number in range(amount)]
        transaction.put("new", b"")
        return len(found)

    if amount == MAX_KEYS:
        transact(store, write)
        assert transact(store, look) == MAX_KEYS
        return
    with pytest.raises(DatastoreError, match="one transaction writes 101 keys, expected at most 100"):
        transact(store, write)
    with pytest.raises(DatastoreError, match="one transaction reads 101 keys, expected at most 100"):
        transact(store, look)
    assert read(store, keys) == []


Change = Callable[[Transaction], object]


@pytest.mark.parametrize(
    ("look", "change"),
    [
        pytest.param(lambda tx: tx.get("a"), lambda tx: tx.put("a", b"other"), id="changed"),
        pytest.param(lambda tx: tx.get("a"), lambda tx: tx.delete("a"), id="deleted"),
        pytest.param(lambda tx: tx.get("new"), lambda tx: tx.put("new", b""), id="made"),
        pytest.param(lambda tx: keys(tx, "a/"), lambda tx: tx.put("a/3", b""), id="one more in a range"),
        pytest.param(lambda tx: keys(tx, "a/"), lambda tx: tx.delete("a/2"), id="one less in a range"),
        pytest.param(lambda tx: keys(tx, "a/", 1), lambda tx: tx.put("a/0", b""), id="another first"),
        pytest.param(lambda tx: keys(tx, "a/", 1), lambda tx: tx.delete("a/1"), id="the first is gone"),
        pytest.param(lambda tx: keys(tx, "c/"), lambda tx: tx.put("c/3", b""), id="one in an empty range"),
    ],
)
@pytest.mark.parametrize("kind", ["memory", "etcd"])
@pytest.mark.parametrize("ends", ["returns", "raises", "writes"])
def test_a_step_runs_again_when_what_it_read_has_changed(
    kind: str,
    look: Callable[[Transaction], object],
    change: Change,
    ends: str,
    tmp_path: Path,
    *,
    etcd: EtcdCluster,
) -> None:
    """Whatever it ends with, it counts only on one true state. SQLite keeps others out instead."""
    seen: list[object] = []
    with opener(kind, tmp_path, etcd) as open_one:
        first, second = open_one(), open_one()
        transact(first, fill)
        transact(first, look)

        def step(transaction: Transaction) -> object:
            seen.append(look(transaction))
            if len(seen) == 1:
                transact(second, change)
            if ends == "writes":
                transaction.put("result", repr(seen[-1]).encode())
            if ends == "raises":
                raise LookupError(seen[-1])
            return seen[-1]

        if ends == "raises":
            with pytest.raises(LookupError) as caught:
                transact(first, step)
            assert caught.value.args == (seen[-1],)
        else:
            assert transact(first, step) == seen[-1]
        final = transact(second, look)
        assert seen[-1] == final != seen[0]
        result = read(second, lambda reader: reader.get("result"))
        assert result == (repr(final).encode() if ends == "writes" else None)


@pytest.mark.parametrize("kind", ["memory", "etcd"])
def test_what_a_step_did_not_read_may_change(kind: str, tmp_path: Path, etcd: EtcdCluster) -> None:
    """Behind the last entry of a limited scan, and in what was only looked at, anything may happen."""
    runs = 0
    with opener(kind, tmp_path, etcd) as open_one:
        first, second = open_one(), open_one()
        transact(first, fill)
        transact(first, lambda transaction: keys(transaction, "a/", 2))

        def step(transaction: Transaction) -> None:
            nonlocal runs
            runs += 1
            assert keys(transaction, "a/", 2) == ["a/1", "a/10"]
            transaction.peek("b/")
            transact(second, partial(other, runs))
            transaction.put("result", b"")

        transact(first, step)
    assert runs == 1


def other(number: int, transaction: Transaction) -> None:
    transaction.put("a/11", b"%d" % number)
    transaction.put("b/2", b"%d" % number)


def test_no_increment_is_lost(open_one: Open) -> None:
    """Four threads count up two keys that must stay equal."""
    stores = [open_one() for _ in range(4)]
    barrier = Barrier(len(stores))

    def increment(transaction: Transaction) -> None:
        left, right = int(transaction.get("left") or b"0"), int(transaction.get("right") or b"0")
        if left != right:
            # In a run that does not count.
            raise ArithmeticError
        transaction.put("left", b"%d" % (left + 1))
        transaction.put("right", b"%d" % (right + 1))

    def work(store: Store) -> None:
        barrier.wait()
        for _ in range(25):
            transact(store, increment)

    with ThreadPoolExecutor(len(stores)) as executor:
        list(executor.map(work, stores))

    assert read(stores[0], lambda reader: reader.scan("")) == [("left", b"100"), ("right", b"100")]


def test_who_is_never_alone_gives_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "BUSY_TIMEOUT_S", 0.0)
    store = MemoryStore()

    def step(transaction: Transaction) -> None:
        transaction.get("k")
        store.commit((), {"k": b""})
        transaction.put("k", b"mine")

    with pytest.raises(DatastoreBusyError, match="others changed the same entries of the datastore for 0 s"):
        transact(store, step)


@pytest.mark.parametrize("kind", KINDS)
@given(batches=st.lists(STEPS, max_size=6), prefix=KEYS)
@settings(deadline=None, max_examples=25)
def test_transactions_write_what_a_dict_would(
    kind: str,
    etcd: EtcdCluster,
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[list[tuple[str, bytes | None]]],
    prefix: str,
) -> None:
    expected: dict[str, bytes] = {}

    def write(batch: list[tuple[str, bytes | None]], transaction: Transaction) -> object:
        for key, value in batch:
            if value is None:
                transaction.delete(key)
            else:
                transaction.put(key, value)
        return look(transaction)

    def look(reader: Reader) -> object:
        return reader.scan(prefix), reader.get(prefix)

    with opener(kind, tmp_path_factory.mktemp("store"), etcd) as open_one:
        store = open_one()
        for batch in batches:
            inside = transact(store, partial(write, batch))
            for key, value in batch:
                expected.pop(key, None)
                if value is not None:
                    expected[key] = value
            entries = sorted((key, value) for key, value in expected.items() if key.startswith(prefix))
            state = (entries, expected.get(prefix))
            assert (inside, read(store, look), transact(store, look)) == (state, state, state)
