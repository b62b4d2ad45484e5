"""A watch misses nothing, whatever happens to its connection, its member and etcd's history."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from nodeplane.etcd.client import Credentials, EtcdClient
from nodeplane.etcd.errors import EtcdRefusedError
from nodeplane.etcd.messages import DeleteRange, Operation, Put, Txn
from nodeplane.etcd.watch import EtcdWatch
from tests.etcd.authority import Authority
from tests.etcd.processes import EtcdCluster, etcd_cluster, post
from tests.etcd.relay import relay

# Far beyond what is needed: a fact is awaited, this only ends a test that has failed.
LIMIT_S = 60


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with etcd_cluster(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster


class Watching:
    """A watch of `a/`, and the thread that waits for it."""

    def __init__(self, client: EtcdClient) -> None:
        self.watch = EtcdWatch(client, b"a/", b"a0")
        self._executor = ThreadPoolExecutor(1)

    def wait(self) -> "Future[bool]":
        return self._executor.submit(self.watch.wait)

    def close(self) -> None:
        self.watch.close()
        self._executor.shutdown()


@contextmanager
def watching(*endpoints: str) -> Iterator[Watching]:
    with closing(Watching(EtcdClient(endpoints))) as found:
        yield found


def put(cluster: EtcdCluster, key: bytes) -> None:
    with closing(EtcdClient(cluster.addresses)) as client:
        assert client.txn(Txn((), (Operation(request_put=Put(key, b"v")),))).succeeded


def test_only_what_is_watched_wakes(etcd: EtcdCluster) -> None:
    with watching(*etcd.addresses) as found:
        waiting = found.wait()
        put(etcd, b"b/1")
        put(etcd, b"a0")
        assert not waiting.done()
        put(etcd, b"a/1")
        assert waiting.result(LIMIT_S)
        waiting = found.wait()
        with closing(EtcdClient(etcd.addresses)) as client:
            client.txn(Txn((), (Operation(request_delete_range=DeleteRange(b"a/1")),)))
        assert waiting.result(LIMIT_S)


def test_a_broken_connection_loses_nothing(etcd: EtcdCluster) -> None:
    """What happened while there was no connection is told after the next one is made."""
    with relay(etcd.addresses[0]) as line, watching(line.address) as found:
        put(etcd, b"a/1")
        assert found.wait().result(LIMIT_S)
        for _ in range(3):
            line.cut()
            put(etcd, b"a/2")
            assert found.wait().result(LIMIT_S)


def test_a_compacted_history_counts_as_a_change(etcd: EtcdCluster) -> None:
    with relay(etcd.addresses[0]) as line, watching(line.address) as found:
        line.cut(refuse=True)
        put(etcd, b"a/1")
        put(etcd, b"b/1")
        with closing(EtcdClient(etcd.addresses)) as client:
            revision = client.txn(Txn((), (Operation(request_put=Put(b"b/2")),))).header.revision
        post(etcd.addresses[0], "/v3/kv/compaction", {"revision": revision, "physical": True})
        waiting = found.wait()
        line.accept()

        assert waiting.result(LIMIT_S)
        waiting = found.wait()
        put(etcd, b"a/1")
        assert waiting.result(LIMIT_S)


def test_a_closed_watch_ends(etcd: EtcdCluster) -> None:
    with watching(*etcd.addresses) as found:
        waiting = found.wait()
        found.watch.close()
        assert waiting.result(LIMIT_S) is False
        assert found.watch.wait() is False


def test_a_member_dies(tmp_path: Path) -> None:
    """Also when no majority is left for a while: the watch goes on when there is one again."""
    with etcd_cluster(tmp_path, 3) as cluster, watching(*cluster.addresses) as found:
        put(cluster, b"a/1")
        assert found.wait().result(LIMIT_S)
        waiting = found.wait()
        first = cluster.kill_leader()
        second = (first + 1) % 3
        cluster.kill(second)
        cluster.start(first)
        cluster.start(second)
        cluster.await_health()
        put(cluster, b"a/2")
        assert waiting.result(LIMIT_S)


def test_over_tls(tmp_path: Path) -> None:
    server = Authority(tmp_path).files("server")
    options = {"cert-file": server.cert, "key-file": server.key}
    with etcd_cluster(tmp_path, options=options, scheme="https") as cluster:
        client = EtcdClient(cluster.addresses, tls=server)
        with closing(Watching(client)) as found:
            waiting = found.wait()
            with closing(EtcdClient(cluster.addresses, tls=server)) as writer:
                writer.txn(Txn((), (Operation(request_put=Put(b"a/1")),)))
            assert waiting.result(LIMIT_S)
            waiting = found.wait()
            found.watch.close()
            assert waiting.result(LIMIT_S) is False


def test_as_a_user(tmp_path: Path) -> None:
    """Who may not read may not watch; whose token is forgotten gets another."""
    (tmp_path / "password").write_text("secret")
    with etcd_cluster(tmp_path) as cluster:
        address = cluster.addresses[0]
        for user in ("root", "other"):
            post(address, "/v3/auth/user/add", {"name": user, "password": "secret"})
        post(address, "/v3/auth/user/grant", {"user": "root", "role": "root"})
        post(address, "/v3/auth/enable", {})
        users = {user: Credentials(user, str(tmp_path / "password")) for user in ("root", "other")}

        other = EtcdClient(cluster.addresses, credentials=users["other"])
        with closing(other), pytest.raises(EtcdRefusedError, match="permission denied"):
            EtcdWatch(other, b"a/", b"a0")
        client = EtcdClient(cluster.addresses, credentials=users["root"])
        with closing(Watching(client)) as found:
            waiting = found.wait()
            cluster.kill(0)
            cluster.start(0)
            with closing(EtcdClient(cluster.addresses, credentials=users["root"])) as writer:
                writer.txn(Txn((), (Operation(request_put=Put(b"a/1")),)))
            assert waiting.result(LIMIT_S)
