"""The contract that every store keeps."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netns_lab.apiserver.etcd_store import EtcdStore, _runs
from netns_lab.apiserver.memory_store import MemoryStore
from netns_lab.apiserver.sqlite_store import SqliteStore
from netns_lab.apiserver.store import (
    MAX_RECORDS,
    MAX_VALUE_BYTES,
    Record,
    Snapshot,
    Store,
    StoreError,
    StoreLostError,
)
from nodeplane.etcd.messages import Txn
from tests.netns_lab.apiserver.etcd import etcd
from tests.netns_lab.apiserver.free_port import free_ports

Reopen = Callable[[], Store]
KINDS = ["memory", "sqlite", "etcd"]

FIRST = [
    Record(2, "services/a/x", b"1"),
    Record(3, "services/a/y", b"2"),
    Record(4, "services/a/x", b"3", b"1", 2),
    Record(5, "services/a/y", None, b"2", 3),
]


@pytest.fixture(scope="module")
def etcd_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with etcd(tmp_path_factory.mktemp("etcd")) as address:
        yield address


@pytest.fixture(params=KINDS)
def reopen(request: pytest.FixtureRequest, tmp_path: Path, etcd_address: str) -> Iterator[Reopen]:
    """A function that opens the store again, as after the server's end."""
    yield from openers(request.param, tmp_path, etcd_address)


def openers(kind: str, directory: Path, etcd_address: str) -> Iterator[Reopen]:
    opened: list[Store] = []
    memory = MemoryStore()

    def open_again() -> Store:
        for store in opened:
            store.close()
        if kind == "memory":
            opened[:] = [memory]
        elif kind == "sqlite":
            opened[:] = [SqliteStore(directory / "state.sqlite")]
        else:
            opened[:] = [EtcdStore([etcd_address], f"/nodeplane{directory}")]
        return opened[0]

    yield open_again
    for store in opened:
        store.close()


def test_a_new_store_is_empty_at_the_first_revision(reopen: Reopen) -> None:
    assert reopen().load() == Snapshot()


def test_what_was_written_is_there(reopen: Reopen) -> None:
    store = reopen()
    store.append(FIRST[:1])
    store.append(FIRST[1:])

    expected = Snapshot(5, 1, (("services/a/x", 4, b"3"),), tuple(FIRST))
    assert store.load() == expected
    assert reopen().load() == expected


def test_the_log_is_forgotten_up_to_a_revision(reopen: Reopen) -> None:
    store = reopen()
    store.append(FIRST)
    store.compact(3)
    store.compact(2)

    expected = Snapshot(5, 3, (("services/a/x", 4, b"3"),), tuple(FIRST[2:]))
    assert store.load() == expected
    assert reopen().load() == expected


def test_a_forgotten_log_keeps_the_revision(reopen: Reopen) -> None:
    """Revisions only grow, also over a restart with nothing left to show for them."""
    store = reopen()
    store.append(FIRST)
    store.compact(5)

    assert reopen().load() == Snapshot(5, 5, (("services/a/x", 4, b"3"),), ())


def test_a_second_server_on_the_same_file_is_refused(tmp_path: Path) -> None:
    first = SqliteStore(tmp_path / "state.sqlite")
    first.append(FIRST)

    with pytest.raises(StoreError, match="in use by another server"):
        SqliteStore(tmp_path / "state.sqlite")

    first.close()


def test_of_two_servers_that_read_etcd_the_first_to_write_stays(etcd_address: str, tmp_path: Path) -> None:
    first, second = (EtcdStore([etcd_address], f"/nodeplane{tmp_path}") for _ in range(2))
    first.append(FIRST[:1])

    with pytest.raises(StoreError, match="another server has written"):
        second.append(FIRST[:1])
    first.append(FIRST[1:])

    assert second.load().log == tuple(FIRST)
    first.close()
    second.close()


def test_a_server_that_is_started_later_takes_over_etcd(etcd_address: str, tmp_path: Path) -> None:
    """It begins where the first one was, and the first can write no more."""
    first = EtcdStore([etcd_address], f"/nodeplane{tmp_path}")
    first.append(FIRST[:1])
    second = EtcdStore([etcd_address], f"/nodeplane{tmp_path}")
    assert second.load().log == tuple(FIRST[:1])
    second.append(FIRST[1:])

    with pytest.raises(StoreLostError, match="another server has written"):
        first.append(FIRST[1:])
    assert second.load().log == tuple(FIRST)
    first.close()
    second.close()


def test_the_largest_value_is_written_and_replaced(reopen: Reopen) -> None:
    """An update carries as much as a creation: no copy of what was there before."""
    large = [bytes([65 + number]) * MAX_VALUE_BYTES for number in range(2)]
    key = f"configmaps/{'n' * 63}/{'x' * 253}"
    records = [Record(2, key, large[0]), Record(3, key, large[1], large[0], 2)]
    store = reopen()
    for record in records:
        store.append([record])

    assert reopen().load() == Snapshot(3, 1, ((key, 3, large[1]),), tuple(records))


def test_the_fullest_group_is_written(reopen: Reopen) -> None:
    size = MAX_VALUE_BYTES // MAX_RECORDS
    records = [
        Record(number + 2, f"configmaps/{'n' * 63}/{number:0253}", b"x" * size)
        for number in range(MAX_RECORDS)
    ]
    reopen().append(records)

    assert reopen().load().log == tuple(records)


def test_a_compacted_etcd_keeps_current_values_alone(etcd_address: str, tmp_path: Path) -> None:
    """As many values as objects, and no log: nothing is left that nobody asks for again."""
    store = EtcdStore([etcd_address], f"/nodeplane{tmp_path}")
    store.append(FIRST)
    store.compact(5)

    assert list(store._scan("values/")) == [(f"{4:020}", b"3")]  # what is there, not what is loaded
    assert list(store._scan("log/")) == []
    store.close()


@pytest.mark.parametrize(
    ("dead", "kept", "runs"),
    [
        pytest.param([], [1], [], id="nothing"),
        pytest.param([4, 2, 3], [], [(2, 4)], id="in a row"),
        pytest.param([2, 9], [1, 10], [(2, 9)], id="with deletions in between, that have no value"),
        pytest.param([2, 3, 6, 7, 9], [4, 5, 8], [(2, 3), (6, 7), (9, 9)], id="with kept ones in between"),
    ],
)
def test_a_compaction_deletes_what_is_between_the_kept(
    dead: list[int], kept: list[int], runs: list[tuple[int, int]]
) -> None:
    assert _runs(dead, kept) == runs


def test_an_interrupted_compaction_in_etcd_is_finished_by_the_next(
    etcd_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = EtcdStore([etcd_address], f"/nodeplane{tmp_path}")
    store.append(FIRST)
    with monkeypatch.context() as interrupted:
        interrupted.setattr(EtcdStore, "_delete_range", killed)
        with pytest.raises(StoreError, match="killed"):
            store.compact(4)
    again = EtcdStore([etcd_address], f"/nodeplane{tmp_path}")
    assert again.load() == Snapshot(5, 4, (("services/a/x", 4, b"3"),), (FIRST[3],))
    again.compact(5)

    assert list(again._scan("log/")) == []
    assert list(again._scan("values/")) == [(f"{4:020}", b"3")]
    store.close()
    again.close()


def killed(*_: object) -> None:
    raise StoreError("killed")


def test_another_versions_etcd_is_left_alone(etcd_address: str, tmp_path: Path) -> None:
    store = EtcdStore([etcd_address], f"/nodeplane{tmp_path}")
    store._client.txn(Txn(success=(store._put("reached", b'{"revision":7}'),)))

    with pytest.raises(StoreError, match="of another version of this server: expected an empty prefix"):
        EtcdStore([etcd_address], f"/nodeplane{tmp_path}")
    store.close()


def test_an_etcd_that_does_not_answer_is_named() -> None:
    (port,) = free_ports(1)

    with pytest.raises(StoreError, match=f"no etcd answers: 127.0.0.1:{port}: Connection refused"):
        EtcdStore([f"127.0.0.1:{port}"], "/nodeplane")


def test_what_is_longer_than_a_page_is_read_whole(reopen: Reopen) -> None:
    records = [Record(number, f"services/a/{number:04}", b"x") for number in range(2, 2503)]
    store = reopen()
    for start in range(0, len(records), MAX_RECORDS):
        store.append(records[start : start + MAX_RECORDS])

    loaded = reopen().load()
    assert (loaded.revision, loaded.log) == (2502, tuple(records))
    assert [key for key, _, _ in loaded.objects] == [record.key for record in records]


def test_another_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    path.write_bytes(b"not a database, and long enough to be looked at" * 30)

    with pytest.raises(StoreError, match="not a database"):
        SqliteStore(path)


KEYS = st.sampled_from(["services/a/x", "services/a/y", "nodes//n"])
STEPS = st.lists(
    st.lists(st.tuples(KEYS, st.one_of(st.none(), st.binary(max_size=3))), max_size=4), max_size=5
)


@pytest.mark.parametrize("kind", KINDS)
@given(steps=STEPS, compacted=st.integers(0, 20))
@settings(deadline=None, max_examples=40)
def test_a_store_is_a_map_with_a_log(
    kind: str,
    etcd_address: str,
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[list[tuple[str, bytes | None]]],
    compacted: int,
) -> None:
    """Whatever is written in whatever groups, a store reads as a dict and a list would."""
    opened = openers(kind, tmp_path_factory.mktemp("store"), etcd_address)
    reopen = next(opened)
    store = reopen()
    objects: dict[str, tuple[int, bytes]] = {}
    log: list[Record] = []
    revision = 1
    for step in steps:
        group = []
        for key, value in step:
            before = objects.pop(key, None)
            if value is None and before is None:
                continue
            revision += 1
            old_revision, old = before or (0, None)
            group.append(Record(revision, key, value, old, old_revision))
            if value is not None:
                objects[key] = (revision, value)
        store.append(group)
        log += group
    compacted = min(compacted, revision)
    store.compact(compacted)

    expected = Snapshot(
        revision,
        max(1, compacted),
        tuple((key, *objects[key]) for key in sorted(objects)),
        tuple(record for record in log if record.revision > compacted),
    )
    assert store.load() == expected
    assert reopen().load() == expected
    assert next(opened, None) is None
