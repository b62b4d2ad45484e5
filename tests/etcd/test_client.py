"""A cluster's endpoints as one etcd: failover, TLS, users, and what is said when nothing helps."""

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from nodeplane.errors import ConfigError
from nodeplane.etcd.client import Credentials, EtcdClient
from nodeplane.etcd.connection import TlsFiles
from nodeplane.etcd.errors import (
    EtcdError,
    EtcdRefusedError,
    EtcdUnavailableError,
    EtcdUnknownError,
)
from nodeplane.etcd.messages import Compare, KeyValue, Operation, Put, Range, Txn
from tests.etcd.authority import Authority
from tests.etcd.processes import EtcdCluster, etcd_cluster, post
from tests.etcd.relay import relay
from tests.netns_lab.apiserver.free_port import free_ports

WRITE = Txn((), (Operation(request_put=Put(b"k", b"v")),))


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with etcd_cluster(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster


@contextmanager
def client(*endpoints: str, **options: object) -> Iterator[EtcdClient]:
    with closing(EtcdClient(endpoints, **{"patience_s": 0.0, **options})) as found:  # type: ignore[arg-type]
        yield found


def value(found: EtcdClient) -> bytes | None:
    kvs = found.range(Range(b"k")).kvs
    return kvs[0].value if kvs else None


def test_what_is_written_is_read(etcd: EtcdCluster) -> None:
    with client(*etcd.addresses) as found:
        written = found.txn(WRITE)
        answer = found.range(Range(b"k", b"l"))
        refused = found.txn(
            Txn((Compare(b"k", mod_revision=0),), (), (Operation(request_range=Range(b"k")),))
        )

    entry = KeyValue(b"k", b"v", written.header.revision)
    assert (written.succeeded, answer.kvs, refused.succeeded) == (True, (entry,), False)
    assert [item.response_range and item.response_range.kvs for item in refused.responses] == [(entry,)]
    assert found.connection_count == 1


def test_another_endpoint_answers(etcd: EtcdCluster) -> None:
    """Whichever it tries first: a write that never left is sent to the next."""
    dead = [f"127.0.0.1:{port}" for port in free_ports(3)]
    for _ in range(5):
        with client(*dead, *etcd.addresses) as found:
            assert found.txn(WRITE).succeeded


def test_a_silent_endpoint_is_left(etcd: EtcdCluster) -> None:
    """It takes the connection, and says nothing: a read goes elsewhere, of a write nothing is known."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with client(address, *etcd.addresses, timeout_s=0.2) as found:
            found.txn(WRITE) if found._connections[0].endpoint != address else None
            assert value(found) == b"v"
        with (
            client(address, timeout_s=0.2) as found,
            pytest.raises(EtcdUnknownError, match="a write: timed out"),
        ):
            found.txn(WRITE)
        with client(address, timeout_s=0.2) as found, pytest.raises(EtcdUnavailableError) as caught:
            value(found)
        assert str(caught.value) == f"no etcd answers: {address}: timed out"


def test_nobody_answers() -> None:
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]

    with client(*addresses) as found, pytest.raises(EtcdUnavailableError) as caught:
        found.txn(WRITE)

    assert str(caught.value).startswith("no etcd answers: ")
    for address in addresses:
        assert f"{address}: Connection refused" in str(caught.value)


def test_another_server_is_not_etcd() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as executor:
        executor.submit(answer_html, server)
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with client(address) as found, pytest.raises(EtcdUnavailableError, match="not etcd's answer"):
            value(found)


def answer_html(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>")


def test_it_waits_for_etcd_to_start(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as executor:
        cluster = EtcdCluster(tmp_path, 1, {}, "http")
        with client(*cluster.addresses, patience_s=60.0) as found:
            written = executor.submit(found.txn, WRITE)
            try:
                cluster.start(0)
                assert written.result(60).succeeded
            finally:
                cluster.stop()


@pytest.mark.parametrize("fault", ["lose the request", "lose the answer"])
def test_a_lost_answer(fault: str, etcd: EtcdCluster) -> None:
    with relay(etcd.addresses[0]) as line, client(line.address) as found:
        assert found.txn(WRITE).succeeded
        line.arm(fault)  # type: ignore[arg-type]
        with pytest.raises(EtcdUnknownError):
            found.txn(WRITE)
        assert value(found) == b"v"
        line.arm(fault)  # type: ignore[arg-type]
        # A transaction that only reads is asked again.
        assert found.txn(Txn((Compare(b"k", mod_revision=0),))).succeeded is False
        assert line.faults == 2


def test_a_refusal_names_the_reason(etcd: EtcdCluster) -> None:
    too_much = Txn((), tuple(Operation(request_put=Put(b"k%d" % number)) for number in range(200)))

    with client(*etcd.addresses) as found, pytest.raises(EtcdRefusedError) as caught:
        found.txn(too_much)

    assert str(caught.value) == f"etcd at {etcd.addresses[0]}: etcdserver: too many operations in txn request"


# --- TLS ---


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def tls_etcd(tmp_path_factory: pytest.TempPathFactory, pki: Authority) -> Iterator[EtcdCluster]:
    """An etcd that wants to see certificates."""
    server = pki.files("server")
    options = {
        "cert-file": server.cert,
        "key-file": server.key,
        "trusted-ca-file": server.ca,
        "client-cert-auth": "",
    }
    with etcd_cluster(tmp_path_factory.mktemp("tls"), options=options, scheme="https") as cluster:
        yield cluster


def test_tls_with_client_certificates(tls_etcd: EtcdCluster, pki: Authority) -> None:
    with client(*tls_etcd.addresses, tls=pki.files("client"), patience_s=20.0) as found:
        assert found.txn(WRITE).succeeded
        assert value(found) == b"v"


def test_a_client_without_certificate(tls_etcd: EtcdCluster, pki: Authority) -> None:
    with client(*tls_etcd.addresses, tls=TlsFiles(pki.ca)) as found, pytest.raises(EtcdError):
        value(found)


def test_a_server_that_is_not_trusted(tls_etcd: EtcdCluster, pki: Authority, tmp_path: Path) -> None:
    """Said at once, however long the patience: trying again can't help."""
    stranger = TlsFiles(Authority(tmp_path, "stranger").ca)

    with (
        client(*tls_etcd.addresses, tls=stranger, patience_s=600.0) as found,
        pytest.raises(EtcdError) as caught,
    ):
        found.txn(WRITE)

    assert f"{tls_etcd.addresses[0]}: certificate not trusted:" in str(caught.value)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param(
            lambda tmp: TlsFiles(ca=f"{tmp}/none"), "none: can't be read: No such file", id="no file"
        ),
        pytest.param(
            lambda tmp: TlsFiles(ca=f"{tmp}/junk"), "junk: expected certificates in PEM", id="no PEM"
        ),
        pytest.param(
            lambda tmp: TlsFiles(cert=f"{tmp}/junk", key=f"{tmp}/junk"),
            "junk: expected a certificate in PEM, with its key",
            id="no key",
        ),
    ],
)
def test_bad_files(files: Callable[[Path], TlsFiles], expected: str, tmp_path: Path) -> None:
    (tmp_path / "junk").write_text("junk")

    with pytest.raises(ConfigError, match=expected):
        EtcdClient(["h:1"], tls=files(tmp_path))


# --- users ---


@pytest.fixture
def auth_etcd(tmp_path: Path) -> Iterator[EtcdCluster]:
    """An etcd in which only root, with the password `first`, may do something."""
    with etcd_cluster(tmp_path / "auth") as cluster:
        address = cluster.addresses[0]
        post(address, "/v3/auth/user/add", {"name": "root", "password": "first"})
        post(address, "/v3/auth/user/add", {"name": "other", "password": "first"})
        post(address, "/v3/auth/user/grant", {"user": "root", "role": "root"})
        post(address, "/v3/auth/enable", {})
        yield cluster


def credentials(directory: Path, password: str, user: str = "root") -> Credentials:
    path = directory / "password"
    path.write_text(f"{password}\n")
    return Credentials(user, str(path))


def test_a_user_with_a_password(auth_etcd: EtcdCluster, tmp_path: Path) -> None:
    options = {"credentials": credentials(tmp_path, "first"), "patience_s": 60.0}
    with client(*auth_etcd.addresses, **options) as found:
        assert found.txn(WRITE).succeeded
        # It forgets its tokens; a write is refused before it begins, so it is sent again with a new one.
        auth_etcd.kill(0)
        auth_etcd.start(0)
        auth_etcd.await_health()
        assert value(found) == b"v"
        token = found._token
        found._token = "expired.7"  # noqa: S105  # no secret
        assert found.txn(WRITE).succeeded
        assert found._token not in {"expired.7", token}


def test_users_that_change_meanwhile(auth_etcd: EtcdCluster, tmp_path: Path) -> None:
    """Each change of users makes older tokens useless; a new password is read from the file."""
    with client(*auth_etcd.addresses, credentials=credentials(tmp_path, "first"), patience_s=60.0) as found:
        assert found.txn(WRITE).succeeded
        root = found._ask
        root("/v3/auth/user/changepw", {"name": "root", "password": "second"}, dict, is_read=False)
        credentials(tmp_path, "second")
        assert found.txn(WRITE).succeeded


@pytest.mark.parametrize(
    ("user", "password", "expected"),
    [
        pytest.param("root", "wrong", "authentication failed, invalid user ID or password", id="password"),
        pytest.param("nobody", "first", "authentication failed, invalid user ID or password", id="user"),
        pytest.param("other", "first", "etcdserver: permission denied", id="rights"),
    ],
)
def test_who_may_not(user: str, password: str, expected: str, auth_etcd: EtcdCluster, tmp_path: Path) -> None:
    options = {"credentials": credentials(tmp_path, password, user)}
    with client(*auth_etcd.addresses, **options) as found, pytest.raises(EtcdRefusedError) as caught:
        found.txn(WRITE)
    assert str(caught.value).endswith(expected)


def test_nobody_may_not(auth_etcd: EtcdCluster) -> None:
    with client(*auth_etcd.addresses) as found, pytest.raises(EtcdRefusedError, match="user name is empty"):
        found.txn(WRITE)


def test_a_password_file_that_is_not_there(auth_etcd: EtcdCluster, tmp_path: Path) -> None:
    missing = Credentials("root", f"{tmp_path}/none")

    with client(*auth_etcd.addresses, credentials=missing) as found, pytest.raises(ConfigError) as caught:
        found.txn(WRITE)

    assert str(caught.value) == f"{tmp_path}/none: can't be read: No such file or directory"


def test_a_user_where_nobody_needs_one(etcd: EtcdCluster, tmp_path: Path) -> None:
    """As etcd's own client does: before authentication is enabled the same configuration works."""
    with client(*etcd.addresses, credentials=credentials(tmp_path, "first")) as found:
        assert found.txn(WRITE).succeeded
