"""All stores, for tests that hold over each of them."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import strategies as st

from ipam.datastore import open_store
from ipam.store import Store
from tests.etcd.processes import EtcdCluster

KINDS = ["memory", "sqlite", "etcd"]
KEYS = st.sampled_from(["a", "a/", "a/b", "a/b/c", "a0", "b/1", "b/2", "b/2/x"])
_numbers = itertools.count()

Open = Callable[[], Store]
"""Opens the same map once more."""


def next_prefix() -> str:
    """Return a prefix of etcd that nobody else has."""
    return f"/test/{next(_numbers)}"


def url_of(kind: str, directory: Path, etcd: EtcdCluster) -> str:
    """Return the URL of a datastore that nobody else has."""
    number = next(_numbers)
    return {
        "memory": f"memory://{directory}/{number}",
        "sqlite": f"sqlite://{directory}/{number}/ipam.sqlite",
        "etcd": etcd.url(next_prefix()),
    }[kind]


@contextmanager
def opener(kind: str, directory: Path, etcd: EtcdCluster) -> Iterator[Open]:
    """Yield what opens the stores of a new map; closed with the block."""
    url = url_of(kind, directory, etcd)
    opened: list[Store] = []

    def open_one() -> Store:
        opened.append(open_store(url))
        return opened[-1]

    try:
        yield open_one
    finally:
        for store in opened:
            store.close()
