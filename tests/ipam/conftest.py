"""An etcd for all tests of this package; each uses a prefix of its own."""

from collections.abc import Iterator

import pytest

from tests.etcd.processes import EtcdCluster, etcd_cluster


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """Return a running etcd of one member."""
    with etcd_cluster(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster
