"""Datastores in an etcd that the tests share, each below a prefix of its own."""

from collections.abc import Callable, Iterator

import pytest

from ipam.stores.etcd import EtcdStore
from nodeplane.etcd.client import EtcdClient
from tests.etcd.processes import EtcdCluster
from tests.ipam.stores.kinds import next_prefix


@pytest.fixture
def prefix() -> str:
    return next_prefix()


@pytest.fixture
def opened(etcd: EtcdCluster, prefix: str) -> Iterator[Callable[[], EtcdStore]]:
    """Opens the same datastore, each time with another store object."""
    stores: list[EtcdStore] = []

    def open_one() -> EtcdStore:
        stores.append(EtcdStore(lambda: EtcdClient(etcd.addresses), prefix))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()
