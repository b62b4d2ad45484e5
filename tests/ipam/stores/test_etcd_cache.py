"""What is remembered of etcd never has two revisions of one key, and never grows beyond its limits."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipam.store import Entry, Found
from ipam.stores import etcd_cache
from ipam.stores.etcd_cache import EtcdCache, Scan, covered_end

KEYS = ["a/1", "a/2", "a/3", "b/1", "b/2"]
SCANS: list[Scan] = [("", None), ("a/", None), ("a/", 1), ("a/", 2), ("b/", None), ("c/", 3)]


def entry(key: str, revision: int) -> Entry:
    return Entry(key, b"%d" % revision, revision)


def found(revision: int, *entries: Entry) -> Found:
    return Found(entries, revision)


def test_what_was_taken_in_is_known() -> None:
    cache = EtcdCache()
    cache.take_entry("k", entry("k", 1))
    cache.take_scan(("a/", None), found(3, entry("a/1", 2)))

    assert (cache.get("k"), cache.get("a/1"), cache.get("a/2")) == (entry("k", 1), entry("a/1", 2), None)
    assert cache.scan(("a/", None)) == found(3, entry("a/1", 2))
    assert cache.scan(("a/", 1)) is None
    cache.clear()
    assert (cache.get("k"), cache.scan(("a/", None)), len(cache)) == (None, None, 0)


@pytest.mark.parametrize(
    ("key", "known", "is_forgotten"),
    [
        pytest.param("a/1", entry("a/1", 9), True, id="changed"),
        pytest.param("a/1", None, True, id="gone"),
        pytest.param("a/15", entry("a/15", 9), True, id="come in between"),
        pytest.param("a/1", entry("a/1", 2), False, id="as it was"),
        pytest.param("a/3", entry("a/3", 9), False, id="behind the last"),
        pytest.param("b/1", entry("b/1", 9), False, id="elsewhere"),
    ],
)
def test_a_scan_that_is_contradicted_is_forgotten(key: str, known: Entry | None, is_forgotten: bool) -> None:
    cache = EtcdCache()
    scan = ("a/", 2)
    cache.take_scan(scan, found(3, entry("a/1", 2), entry("a/2", 2)))
    assert cache.scans_of([key]) == ([scan] if key < "a/2\0" else [])

    cache.take_entry(key, known)

    assert (cache.scan(scan) is None) == is_forgotten


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.sampled_from(KEYS), st.booleans()),
            st.tuples(st.sampled_from(SCANS), st.sets(st.sampled_from(KEYS))),
        ),
        max_size=30,
    )
)
@settings(deadline=None)
def test_it_never_contradicts_itself(steps: list[tuple[object, object]]) -> None:
    """Whatever is taken in, in whatever order: a key has one revision, wherever it is found."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(etcd_cache, "MAX_ENTRIES", 3)
        patch.setattr(etcd_cache, "MAX_SCANS", 2)
        cache = EtcdCache()
        for revision, (what, detail) in enumerate(steps, 1):
            if isinstance(what, str):
                cache.take_entry(what, entry(what, revision) if detail else None)
            else:
                assert isinstance(what, tuple)
                assert isinstance(detail, set)
                prefix, limit = what
                # What is still known of a key is repeated, as etcd would; what is not is new.
                entries = [
                    cache.get(key) or entry(key, revision) for key in sorted(detail) if key.startswith(prefix)
                ]
                cache.take_scan(what, found(revision, *entries[:limit]))
            for scan in SCANS:
                known = cache.scan(scan)
                for item in known.entries if known else ():
                    assert cache.get(item.key) == item
                    assert scan in cache.scans_of([item.key])
            assert len(cache) <= 3 + 2 * len(KEYS)


@pytest.mark.parametrize(
    ("scan", "entries", "end"),
    [
        pytest.param(("a/", None), (entry("a/1", 1),), "a/\x7f", id="all"),
        pytest.param(("a/", 2), (entry("a/1", 1),), "a/\x7f", id="fewer than asked for"),
        pytest.param(("a/", 1), (entry("a/1", 1),), "a/1\0", id="up to the last"),
        pytest.param(("a/", 0), (), "a/", id="nothing"),
    ],
)
def test_what_a_scan_covers(scan: Scan, entries: tuple[Entry, ...], end: str) -> None:
    assert covered_end(scan, Found(entries, 1)) == end


def test_a_long_scan_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etcd_cache, "MAX_SCAN_ENTRIES", 1)
    cache = EtcdCache()
    cache.take_scan(("a/", None), found(3, entry("a/1", 2), entry("a/2", 2)))

    assert cache.scan(("a/", None)) is None
