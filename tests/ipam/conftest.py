"""An etcd for all tests of this package, stores of each kind, and ipamctl over a small datastore."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ipam.allocator import Allocator
from ipam.datastore import Datastore
from ipam.store import Store
from ipam.stores.sqlite import SqliteStore
from tests.etcd.processes import EtcdCluster, etcd_cluster
from tests.ipam import values
from tests.ipam.ctl import MANIFESTS, POOL, Run
from tests.ipam.stores.kinds import KINDS, Open, opener


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """Return a running etcd of one member."""
    with etcd_cluster(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster


@pytest.fixture(params=KINDS)
def open_one(request: pytest.FixtureRequest, tmp_path: Path, etcd: EtcdCluster) -> Iterator[Open]:
    """Opens the map of this test, each time with another store object: over each kind of store."""
    with opener(request.param, tmp_path, etcd) as found:
        yield found


@pytest.fixture
def store(open_one: Open) -> Store:
    return open_one()


@pytest.fixture
def ctl_path(tmp_path: Path) -> Path:
    """Make a datastore with two allocations of node n1; the namespace of the second is gone."""
    path = tmp_path / "ipam.sqlite"
    with Datastore(SqliteStore(path)) as datastore:
        allocator = Allocator(datastore, (POOL,))
        allocator.assign(values.request(0, 1_700_000_000, netns="/"))
        allocator.assign(values.request(1, 1_700_000_000, netns="/nowhere"))
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
