"""The contract that every store keeps."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipam.store import Entry, KeyGuard, RangeGuard, Store, Writes, prefix_end
from tests.etcd.processes import EtcdCluster
from tests.ipam.stores.kinds import KEYS, KINDS, Open, opener

# Far beyond what is needed: a fact is awaited, this only ends a test that has failed.
LIMIT_S = 60
BATCHES = st.lists(st.dictionaries(KEYS, st.none() | st.binary(max_size=3), max_size=6), max_size=6)


def write(store: Store, writes: Writes) -> int:
    """Write whatever was there before; return the revision."""
    assert store.commit((), writes)
    with store.snapshot() as view:
        return max([entry.revision for entry in view.scan("").entries if entry.key in writes], default=0)


def everything(store: Store) -> dict[str, bytes]:
    with store.snapshot() as view:
        return {entry.key: entry.value for entry in view.scan("").entries}


FILLED: Mapping[str, bytes] = {key: key.encode() for key in ("a/2", "b/1", "a/1", "a/10", "a", "ab")}


@pytest.mark.parametrize(
    ("prefix", "limit", "expected"),
    [
        pytest.param("a/", None, ["a/1", "a/10", "a/2"], id="in the order of the keys"),
        pytest.param("a/", 2, ["a/1", "a/10"], id="the first ones"),
        pytest.param("a/", 0, [], id="none of them"),
        pytest.param("a/", 9, ["a/1", "a/10", "a/2"], id="fewer than asked for"),
        pytest.param("a", None, ["a", "a/1", "a/10", "a/2", "ab"], id="a prefix is no directory"),
        pytest.param("c", None, [], id="nothing"),
        pytest.param("", None, ["a", "a/1", "a/10", "a/2", "ab", "b/1"], id="everything"),
    ],
)
def test_scan(store: Store, prefix: str, limit: int | None, expected: list[str]) -> None:
    revision = write(store, FILLED)

    with store.snapshot() as view:
        found = view.scan(prefix, limit)
    with store.attempt() as attempt:
        again, peeked = attempt.scan(prefix, limit), attempt.peek(prefix, limit)

    entries = tuple(Entry(key, key.encode(), revision) for key in expected)
    assert (found.entries, again.entries, peeked.entries) == (entries, entries, entries)
    assert limit == 0 or found.revision >= revision


def test_a_revision_grows_with_each_write(store: Store) -> None:
    """Also where a key was deleted in between: an equal revision is the very same entry."""
    revisions = [write(store, {"k": b"v"})]
    revisions.append(write(store, {"k": b"v"}))
    write(store, {"k": None})
    revisions.append(write(store, {"k": b"v", "other": b"w"}))

    assert sorted(set(revisions)) == revisions
    with store.snapshot() as view:
        assert view.get("k") == Entry("k", b"v", revisions[-1])
        assert view.get("gone") is None


@pytest.mark.parametrize("extra", [None, "a", "b"])
def test_guards_of_keys(store: Store, extra: str | None) -> None:
    """One that does not hold is enough, and then nothing is written."""
    revision = write(store, {"k": b"old"})
    good = [KeyGuard("k", revision), KeyGuard("none", 0)]
    bad = {None: [], "a": [KeyGuard("k", 0)], "b": [KeyGuard("none", revision)]}[extra]

    held = store.commit([*good, *bad], {"k": b"new", "more": b"new"})

    assert held == (extra is None)
    assert everything(store) == ({"k": b"new", "more": b"new"} if held else {"k": b"old"})
    counters = store.counters
    assert (counters.transactions, counters.conflicts) == (2, 0 if held else 1)


@pytest.mark.parametrize(
    ("change", "holds"),
    [
        pytest.param({"a/0": b"v"}, False, id="one more, before the first"),
        pytest.param({"a/9": b"v"}, False, id="one more, after the last"),
        pytest.param({"a/1": b"v"}, False, id="one that is there"),
        pytest.param({"a": b"v", "a0": b"v", "b": b"v"}, True, id="outside"),
        pytest.param({"a/none": None}, True, id="nothing"),
    ],
)
def test_a_range_has_no_phantoms(store: Store, change: Writes, holds: bool) -> None:
    write(store, FILLED)
    with store.snapshot() as view:
        seen = view.scan("a/")
    write(store, change)

    assert store.commit([RangeGuard("a/", prefix_end("a/"), seen.revision)], {"x": b"y"}) == holds


def test_a_guard_of_an_empty_range(store: Store) -> None:
    write(store, FILLED)
    with store.snapshot() as view:
        seen = view.scan("c/")
    guards = [RangeGuard("c/", prefix_end("c/"), seen.revision)]
    assert store.commit(guards, {"c/1": b""})

    assert not store.commit(guards, {"c/2": b""})
    assert "c/2" not in everything(store)


def test_guards_alone_say_whether_they_hold(store: Store) -> None:
    revision = write(store, {"k": b"v"})

    assert store.commit([KeyGuard("k", revision)], {})
    assert not store.commit([KeyGuard("k", revision + 1)], {})
    assert everything(store) == {"k": b"v"}


def test_what_is_deleted_is_gone(store: Store, open_one: Open) -> None:
    write(store, FILLED)
    assert store.commit((), {"a/1": None, "never": None, "b/1": b"new"})

    expected = {key: value for key, value in FILLED.items() if key != "a/1"} | {"b/1": b"new"}
    assert everything(store) == everything(open_one()) == expected


def test_any_bytes_and_many(store: Store) -> None:
    """Values are bytes, and what a transaction may write at most can be written."""
    values = {f"k/{number:03}": bytes([number, 0, 255]) * 500 for number in range(100)}
    write(store, values)

    assert everything(store) == values


def test_a_snapshot_stays_as_it_was(store: Store, open_one: Open) -> None:
    write(store, FILLED)
    other = open_one()

    with store.snapshot() as view:
        before = view.scan("a")
        write(other, {"a/0": b"", "a/1": b"new", "a/2": None})
        after = view.scan("a"), view.get("a/0"), view.get("a/1")

    assert after == (before, None, next(entry for entry in before.entries if entry.key == "a/1"))
    assert everything(store) == everything(other)


def test_what_was_written_is_there_for_the_next(open_one: Open) -> None:
    first = open_one()
    revision = write(first, FILLED)

    second = open_one()
    assert everything(second) == FILLED
    assert write(second, {"k": b""}) > revision


def test_an_attempt_without_commit_changes_nothing(store: Store) -> None:
    write(store, FILLED)
    with store.attempt() as attempt:
        attempt.scan("")
    with pytest.raises(LookupError), store.attempt():
        raise LookupError

    assert everything(store) == FILLED
    assert store.commit((), {"a": b"again"})


def test_two_attempts_on_the_same_entry(open_one: Open) -> None:
    """Of two that read and then write, the second either waits for the first or is refused."""
    first, second = open_one(), open_one()
    write(first, {"k": b"\x00"})
    barrier = Barrier(2)

    def add(store: Store) -> int:
        barrier.wait()
        tries = 0
        for _ in range(50):
            while True:
                tries += 1
                with store.attempt() as attempt:
                    entry = attempt.get("k")
                    guard = KeyGuard("k", 0 if entry is None else entry.revision)
                    if attempt.commit([guard], {"k": bytes([(entry.value[0] if entry else 0) + 1])}):
                        break
        return tries

    with ThreadPoolExecutor(2) as executor:
        tries = list(executor.map(add, (first, second)))

    assert everything(first) == {"k": bytes([100])}
    assert sum(tries) >= 100


def test_sound(store: Store) -> None:
    assert store.verify() == []


def test_a_watch_wakes_on_each_change(store: Store, open_one: Open) -> None:
    """Changes from before it count for nothing, those after it are never missed."""
    write(store, FILLED)
    watch = store.watch("a/")
    other = open_one()
    with ThreadPoolExecutor(1) as executor:
        for number in range(5):
            waiting = executor.submit(watch.wait)
            assert other.commit((), {f"a/{number}": b"new"})
            assert waiting.result(LIMIT_S)
        assert other.commit((), {"a/x": b"while nobody waits"})
        assert executor.submit(watch.wait).result(LIMIT_S)
        assert other.commit((), {"a/x": None})
        assert executor.submit(watch.wait).result(LIMIT_S)
        watch.close()


def test_a_closed_watch_wakes(store: Store) -> None:
    watch = store.watch("")
    with ThreadPoolExecutor(1) as executor:
        waiting = executor.submit(watch.wait)
        watch.close()
        assert waiting.result(LIMIT_S) is False
    assert watch.wait() is False
    watch.close()


@pytest.mark.parametrize("kind", KINDS)
@given(batches=BATCHES, prefix=KEYS, limit=st.none() | st.integers(1, 3))
@settings(deadline=None, max_examples=25)
def test_a_store_is_an_ordered_map(
    kind: str,
    etcd: EtcdCluster,
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[dict[str, bytes | None]],
    prefix: str,
    *,
    limit: int | None,
) -> None:
    """Whatever is written in whatever commits, a store reads as a dict would."""
    expected: dict[str, bytes] = {}
    with opener(kind, tmp_path_factory.mktemp("store"), etcd) as open_one:
        store = open_one()
        for batch in batches:
            assert store.commit((), batch)
            for key, value in batch.items():
                expected.pop(key, None)
                if value is not None:
                    expected[key] = value
            entries = sorted((key, value) for key, value in expected.items() if key.startswith(prefix))
            with store.snapshot() as view:
                found, one = view.scan(prefix, limit), view.get(prefix)
            assert [(entry.key, entry.value) for entry in found.entries] == entries[:limit]
            assert (one and one.value) == expected.get(prefix)
