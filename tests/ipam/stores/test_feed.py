"""The contract of a feed over every store, and what a change costs in SQLite."""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipam.store import Feed, News, Store
from ipam.stores import sqlite_feed
from ipam.stores.sqlite import SqliteStore
from tests.etcd.processes import EtcdCluster
from tests.ipam.stores.kinds import KINDS, Open, opener

# Far beyond what is needed: a fact is awaited, this only ends a test that has failed.
LIMIT_S = 60
PREFIXES = ("a/", "c")
KEYS = st.sampled_from(["a", "a/1", "a/2", "b/1", "c", "c/1"])
BATCHES = st.lists(st.dictionaries(KEYS, st.none() | st.binary(max_size=3), max_size=4), max_size=8)


def following(entries: dict[str, bytes]) -> dict[str, bytes]:
    return {key: value for key, value in entries.items() if key.startswith(PREFIXES)}


def take(feed: Feed, known: dict[str, bytes]) -> None:
    """Take the next news in, as whoever follows does."""
    news = feed.next()
    assert news is not None
    if news.is_whole:
        known.clear()
    for key, value in news.entries.items():
        known.pop(key, None)
        if value is not None:
            known[key] = value


def test_first_all_then_what_changes(open_one: Open) -> None:
    store, other = open_one(), open_one()
    assert store.commit((), {"a/1": b"1", "a/2": b"2", "b": b"3", "c/x": b"4"})
    feed = store.follow(PREFIXES)
    with ThreadPoolExecutor(1) as executor:
        first = executor.submit(feed.next).result(LIMIT_S)
        assert first == News({"a/1": b"1", "a/2": b"2", "c/x": b"4"}, is_whole=True)
        for writes in ({"a/3": b"new"}, {"a/1": b"other"}, {"a/2": None}, {"a/2": b"again"}):
            waiting = executor.submit(feed.next)
            assert other.commit((), {"b": b"whatever"})
            assert other.commit((), writes)
            assert waiting.result(LIMIT_S) == News(dict(writes), is_whole=False)
        feed.close()


def test_a_closed_feed_ends(open_one: Open) -> None:
    feed = open_one().follow(PREFIXES)
    with ThreadPoolExecutor(1) as executor:
        assert executor.submit(feed.next).result(LIMIT_S) == News({}, is_whole=True)
        waiting = executor.submit(feed.next)
        feed.close()
        assert waiting.result(LIMIT_S) is None
    assert feed.next() is None
    feed.close()


def test_one_that_is_closed_before_it_was_read(open_one: Open) -> None:
    feed = open_one().follow(PREFIXES)
    feed.close()

    assert feed.next() is None


@pytest.mark.parametrize("kind", KINDS)
@given(batches=BATCHES, reads=st.lists(st.booleans(), min_size=8, max_size=8))
@settings(deadline=None, max_examples=25)
def test_who_follows_knows_what_is_there(
    kind: str,
    etcd: EtcdCluster,
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[dict[str, bytes | None]],
    reads: list[bool],
) -> None:
    """Whatever is written, and however much of it comes as one."""
    expected: dict[str, bytes] = {}
    known: dict[str, bytes] = {}
    with opener(kind, tmp_path_factory.mktemp("feed"), etcd) as open_one:
        store = open_one()
        feed = store.follow(PREFIXES)
        take(feed, known)
        for batch, reads_now in zip(batches, reads, strict=False):
            assert store.commit((), batch)
            for key, value in batch.items():
                expected.pop(key, None)
                if value is not None:
                    expected[key] = value
            while reads_now and known != following(expected):
                take(feed, known)
        # Ends also when nothing of what is followed has changed since.
        assert store.commit((), {"a/end": b"end"})
        while known.pop("a/end", None) is None:
            take(feed, known)
        assert known == following(expected)
        feed.close()


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[tuple[Store, Path]]:
    store = SqliteStore(tmp_path / "ipam.sqlite")
    yield store, tmp_path / "ipam.sqlite"
    store.close()


def test_a_change_is_found_by_an_index(sqlite_store: tuple[Store, Path]) -> None:
    """Neither the number of entries below the prefix nor that of others matters."""
    store, path = sqlite_store
    feed = store.follow(("blocks/",))
    for start in range(0, 3000, 100):
        assert store.commit((), {f"blocks/p/{number}": b"x" for number in range(start, start + 100)})
    feed.next()
    connection = sqlite3.connect(path)
    names = sqlite_feed._names("blocks/")
    query = sqlite_feed._CHANGED.substitute(names).replace("?", "7")

    plan = " ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}"))

    assert plan.endswith(f"INDEX {names['name']} (revision>?)")
    feed.close()
    connection.close()


def test_one_that_slept_for_too_long_reads_everything(
    sqlite_store: tuple[Store, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deletions are kept for a while only."""
    monkeypatch.setattr("ipam.stores.sqlite_feed._KEPT_REVISIONS", 5)
    store, path = sqlite_store
    feed = store.follow(("a/",))
    assert store.commit((), {"a/1": b"1", "a/2": b"2"})
    feed.next()
    assert store.commit((), {"a/1": None})
    for number in range(9):
        assert store.commit((), {"a/3": None if number % 2 else b"3"})

    assert feed.next() == News({"a/2": b"2", "a/3": b"3"}, is_whole=True)
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM deletions").fetchone()[0] <= 5
    connection.close()
    feed.close()


def test_a_second_feed_writes_nothing(sqlite_store: tuple[Store, Path]) -> None:
    store, path = sqlite_store
    store.follow(("a/",)).close()
    connection = sqlite3.connect(path)
    before = connection.execute("PRAGMA schema_version").fetchone()

    store.follow(("a/",)).close()

    assert connection.execute("PRAGMA schema_version").fetchone() == before
    connection.close()
