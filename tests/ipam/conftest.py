"""An etcd for all tests of this package, with a prefix for each; and ipamctl over a small datastore."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ipam.allocator import Allocator
from ipam.datastore import Datastore
from ipam.stores.sqlite import SqliteStore
from tests.etcd.processes import EtcdCluster, etcd_cluster
from tests.ipam.ctl import MANIFESTS, POOL, Run
from tests.ipam.values import request


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """Return a running etcd of one member."""
    with etcd_cluster(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster


@pytest.fixture
def ctl_path(tmp_path: Path) -> Path:
    """Make a datastore with two allocations of node n1; the namespace of the second is gone."""
    path = tmp_path / "ipam.sqlite"
    with Datastore(SqliteStore(path)) as datastore:
        allocator = Allocator(datastore, (POOL,))
        allocator.assign(request(0, 1_700_000_000, netns="/"))
        allocator.assign(request(1, 1_700_000_000, netns="/nowhere"))
    return path


@pytest.fixture
def run(ctl_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return what runs ipamctl over `ctl_path`."""
    return Run(ctl_path, monkeypatch, capsys)


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    """Return a directory with a cluster of the node n1, and pods that do not all fit the datastore."""
    directory = tmp_path / "manifests"
    directory.mkdir()
    (directory / "all.yaml").write_text(MANIFESTS)
    return directory
