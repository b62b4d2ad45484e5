"""Elements that several want: the first by name has them, and changes say exactly what changed."""

from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubeproxy.desired.element_store import ElementKey, ElementStore
from kubeproxy.desired.service_port import PortName
from nodeplane.datapath.nft.table import ElementChange

A, B, C = (PortName("default", name, "", "TCP") for name in "abc")
MAPS = ("numbers", "ranges")
Wanted = dict[PortName, dict[ElementKey, bytes]]


def split(key: bytes, data: bytes) -> list[bytes]:
    return [key + data[index : index + 1] for index in range(len(data))]


def store_of(wanted: Mapping[PortName, Mapping[ElementKey, bytes]] = {}) -> ElementStore:
    store = ElementStore(MAPS, {"ranges": split})
    for owner, claims in wanted.items():
        store.claim(owner, claims)
    return store


def applied(elements: dict[str, dict[bytes, bytes]], changes: Mapping[str, ElementChange]) -> None:
    """Do to `elements` what changes say, as strictly as a kernel."""
    for name, change in changes.items():
        for key in change.remove:
            del elements[name][key]
    for name, change in changes.items():
        assert not elements[name].keys() & change.add.keys()
        elements[name].update(change.add)


NUMBER, RANGE = ("numbers", b"k"), ("ranges", b"k")


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        pytest.param([(A, {NUMBER: b"1"})], {"numbers": {b"k": b"1"}}, id="one"),
        pytest.param([(A, {NUMBER: b"1"}), (A, {NUMBER: b"2"})], {"numbers": {b"k": b"2"}}, id="other data"),
        pytest.param([(A, {NUMBER: b"1"}), (A, {})], {}, id="gone"),
        pytest.param(
            [(A, {NUMBER: b"1"}), (B, {NUMBER: b"2"})], {"numbers": {b"k": b"1"}}, id="first by name"
        ),
        pytest.param([(B, {NUMBER: b"2"}), (A, {NUMBER: b"1"})], {"numbers": {b"k": b"1"}}, id="came second"),
        pytest.param(
            [(A, {NUMBER: b"1"}), (C, {NUMBER: b"3"}), (B, {NUMBER: b"2"}), (A, {})],
            {"numbers": {b"k": b"2"}},
            id="the next one has it",
        ),
        pytest.param(
            [(A, {NUMBER: b"1"}), (B, {NUMBER: b"2"}), (B, {NUMBER: b"4"}), (A, {})],
            {"numbers": {b"k": b"4"}},
            id="who waits changes its mind",
        ),
        pytest.param(
            [(A, {NUMBER: b"1"}), (B, {NUMBER: b"2"}), (B, {})],
            {"numbers": {b"k": b"1"}},
            id="who waits goes",
        ),
        pytest.param(
            [(B, {RANGE: b"xy"}), (A, {RANGE: b"yz"})],
            {"ranges": {b"ky": b"", b"kz": b""}},
            id="ranges of one owner, not of both",
        ),
        pytest.param([(B, {RANGE: b"xy"}), (A, {RANGE: b""})], {}, id="of one who lets nobody in"),
        pytest.param(
            [(B, {RANGE: b"xy"}), (A, {RANGE: b""}), (A, {})],
            {"ranges": {b"kx": b"", b"ky": b""}},
            id="and back",
        ),
    ],
)
def test_claims(
    steps: list[tuple[PortName, dict[ElementKey, bytes]]], expected: dict[str, dict[bytes, bytes]]
) -> None:
    """The owner of an element is the first by name of those who want it."""
    store = store_of()
    for owner, claims in steps:
        store.claim(owner, claims)

    assert {name: content for name, content in store.elements.items() if content} == expected


KEYS = st.sampled_from([(name, key) for name in MAPS for key in (b"k", b"l")])
CLAIMS = st.dictionaries(KEYS, st.sampled_from([b"", b"1", b"12", b"23"]))


@given(st.lists(st.tuples(st.sampled_from([A, B, C]), CLAIMS, st.booleans()), max_size=20))
@settings(deadline=None)
def test_path_does_not_matter(steps: list[tuple[PortName, dict[ElementKey, bytes], bool]]) -> None:
    """Whatever was claimed before, the elements are those of a fresh start, and changes lead there."""
    store = store_of()
    kernel: dict[str, dict[bytes, bytes]] = {name: {} for name in MAPS}
    wanted: Wanted = {}
    for owner, claims, is_written in steps:
        store.claim(owner, claims)
        wanted[owner] = claims
        if is_written:
            applied(kernel, store.take_changes())
            assert kernel == store.elements
    other = {name: {b"k1": b"", b"k": b"1"} for name in MAPS}
    applied(other, store.changes_from(other))

    assert store.elements == store_of(dict(reversed(wanted.items()))).elements == other
    assert store.take_changes() == {}


@pytest.mark.parametrize(
    ("puts", "expected"),
    [
        pytest.param([(b"k", b"2")], {"numbers": ElementChange([b"k"], {b"k": b"2"})}, id="other data"),
        pytest.param([(b"k", None)], {"numbers": ElementChange([b"k"], {})}, id="gone"),
        pytest.param([(b"l", b"1")], {"numbers": ElementChange([], {b"l": b"1"})}, id="new"),
        pytest.param([(b"k", None), (b"k", b"1")], {}, id="away and back"),
        pytest.param([(b"l", b"1"), (b"l", None)], {}, id="there and gone"),
        pytest.param([(b"l", None)], {}, id="never there"),
    ],
)
def test_changes(puts: Iterable[tuple[bytes, bytes | None]], expected: dict[str, ElementChange]) -> None:
    """What has not changed in the end is not written."""
    store = store_of()
    store.put("numbers", b"k", b"1")
    store.take_changes()
    for key, data in puts:
        store.put("numbers", key, data)

    assert store.take_changes() == expected
    assert store.take_changes() == {}
