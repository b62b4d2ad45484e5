"""The contract that every store keeps."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipam.memory_store import MemoryStore
from ipam.sqlite_store import SqliteStore
from ipam.store import Reader, Store, Transaction

OPENERS: dict[str, Callable[[Path], Store]] = {
    "memory": lambda _: MemoryStore(),
    "sqlite": lambda directory: SqliteStore(directory / "ipam.sqlite"),
}

KEYS = st.sampled_from(["a", "a/", "a/b", "a/b/c", "a0", "b/1", "b/2", "b/2/x"])
STEPS = st.lists(st.tuples(KEYS, st.one_of(st.none(), st.binary(max_size=3))), max_size=6)


@pytest.fixture(params=OPENERS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened = OPENERS[request.param](tmp_path)
    yield opened
    opened.close()


def fill(transaction: Transaction) -> None:
    for key in ("a/2", "b/1", "a/1", "a/10", "a", "ab"):
        transaction.put(key, key.encode())


@pytest.mark.parametrize(
    ("prefix", "limit", "expected"),
    [
        pytest.param("a/", None, ["a/1", "a/10", "a/2"], id="in the order of the keys"),
        pytest.param("a/", 2, ["a/1", "a/10"], id="the first ones"),
        pytest.param("a", None, ["a", "a/1", "a/10", "a/2", "ab"], id="a prefix is no directory"),
        pytest.param("c", None, [], id="nothing"),
        pytest.param("", None, ["a", "a/1", "a/10", "a/2", "ab", "b/1"], id="everything"),
    ],
)
def test_scan(store: Store, prefix: str, limit: int | None, expected: list[str]) -> None:
    store.transact(fill)

    found = store.read(lambda reader: reader.scan(prefix, limit))

    assert found == [(key, key.encode()) for key in expected]


def test_a_step_sees_its_own_changes(store: Store) -> None:
    def step(transaction: Transaction) -> list[object]:
        transaction.put("k", b"1")
        transaction.put("k", b"2")
        seen: list[object] = [transaction.get("k"), transaction.scan("")]
        transaction.delete("k")
        transaction.delete("k")
        return [*seen, transaction.get("k"), transaction.scan("")]

    assert store.transact(step) == [b"2", [("k", b"2")], None, []]


def test_a_step_that_raises_changes_nothing(store: Store) -> None:
    store.transact(fill)
    before = store.read(lambda reader: reader.scan(""))

    def step(transaction: Transaction) -> None:
        transaction.put("a", b"changed")
        transaction.delete("ab")
        raise LookupError

    with pytest.raises(LookupError):
        store.transact(step)

    assert store.read(lambda reader: reader.scan("")) == before
    store.transact(fill)


def test_sound(store: Store) -> None:
    assert store.verify() == []


@pytest.mark.parametrize("opener", OPENERS.values(), ids=OPENERS)
@given(batches=st.lists(STEPS, max_size=6), prefix=KEYS)
@settings(deadline=None, max_examples=40)
def test_a_store_is_an_ordered_map(
    opener: Callable[[Path], Store],
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[list[tuple[str, bytes | None]]],
    prefix: str,
) -> None:
    """Whatever is written in whatever transactions, a store reads as a dict would."""
    store = opener(tmp_path_factory.mktemp("store"))
    expected: dict[str, bytes] = {}

    def write(batch: list[tuple[str, bytes | None]], transaction: Transaction) -> None:
        for key, value in batch:
            if value is None:
                transaction.delete(key)
            else:
                transaction.put(key, value)

    def read(reader: Reader) -> tuple[list[tuple[str, bytes]], bytes | None]:
        return reader.scan(prefix), reader.get(prefix)

    for batch in batches:
        store.transact(partial(write, batch))
        for key, value in batch:
            if value is None:
                expected.pop(key, None)
            else:
                expected[key] = value
        entries = sorted((key, value) for key, value in expected.items() if key.startswith(prefix))
        assert store.read(read) == (entries, expected.get(prefix))
    store.close()
