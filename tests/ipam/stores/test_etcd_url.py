"""The whole way, from a URL: TLS, users, alarms."""

from contextlib import closing
from pathlib import Path

import pytest

from ipam.allocator import Allocator
from ipam.datastore import open_datastore
from ipam.errors import DatastoreError
from tests.etcd.authority import Authority
from tests.etcd.processes import EtcdCluster, etcd_cluster, post
from tests.ipam.values import POOL, handle, request


def test_tls_and_a_user_by_url(tmp_path: Path) -> None:
    server = Authority(tmp_path).files("server")
    (tmp_path / "password").write_text("secret\n")
    options = {
        "cert-file": server.cert,
        "key-file": server.key,
        "trusted-ca-file": server.ca,
        "client-cert-auth": "",
    }
    query = f"?ca={server.ca}&cert={server.cert}&key={server.key}"
    user = f"&user=root&passwordFile={tmp_path}/password"
    with etcd_cluster(tmp_path, options=options, scheme="https") as cluster:
        with open_datastore(cluster.url("/a/b", query)) as datastore:
            Allocator(datastore, (POOL,)).assign(request(1))
        enable_users(cluster, query)

        with open_datastore(cluster.url("/a/b", query + user)) as datastore:
            assert Allocator(datastore, (POOL,)).release(handle(1))
        with pytest.raises(DatastoreError, match=r"permission denied|user name is empty"):
            open_datastore(cluster.url("/a/b", query))


def enable_users(cluster: EtcdCluster, query: str) -> None:
    from ipam.datastore_url import EtcdUrl, decode_datastore
    from ipam.stores.etcd import _client

    url = decode_datastore(cluster.url("/a", query))
    assert isinstance(url, EtcdUrl)
    with closing(_client(url, None)) as client:
        for path, body in (
            ("user/add", {"name": "root", "password": "secret"}),
            ("user/grant", {"user": "root", "role": "root"}),
            ("enable", {}),
        ):
            client._ask(f"/v3/auth/{path}", body, dict, is_read=False)


def test_alarms_are_told(tmp_path: Path) -> None:
    with etcd_cluster(tmp_path) as cluster, open_datastore(cluster.url()) as datastore:
        assert datastore.verify() == []
        member = int(post(cluster.addresses[0], "/v3/maintenance/status", {})["header"]["member_id"])
        body = {"action": "ACTIVATE", "memberID": member, "alarm": "NOSPACE"}
        post(cluster.addresses[0], "/v3/maintenance/alarm", body)

        assert datastore.verify() == [f"etcd member {member:x}: alarm NOSPACE"]
        with pytest.raises(DatastoreError, match="database space exceeded"):
            Allocator(datastore, (POOL,)).assign(request(1))
