"""Which datastore a URL names, and what is no URL of one."""

import subprocess
import sys
from pathlib import Path

import pytest

from ipam.datastore_url import DatastoreUrl, EtcdUrl, MemoryUrl, SqliteUrl, decode_datastore
from nodeplane.errors import ConfigError

EXPECTED = "expected sqlite:///absolute/path or etcd://host:port[,host:port]/prefix"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param("sqlite:///a/b.sqlite", SqliteUrl(Path("/a/b.sqlite")), id="three slashes"),
        pytest.param(
            "sqlite:////a/b.sqlite", SqliteUrl(Path("/a/b.sqlite")), id="four, as SQLAlchemy writes it"
        ),
        pytest.param("sqlite:///a b?c#d", SqliteUrl(Path("/a b?c#d")), id="odd names"),
        pytest.param("memory://test", MemoryUrl("test"), id="memory"),
        pytest.param(
            "etcd://127.0.0.1:2379/nodeplane",
            EtcdUrl(endpoints=("127.0.0.1:2379",), prefix="/nodeplane"),
            id="etcd",
        ),
        pytest.param(
            "etcd://etcd-0.etcd:2379,[::1]:2379,h:1/a/b_c.d-e/",
            EtcdUrl(endpoints=("etcd-0.etcd:2379", "[::1]:2379", "h:1"), prefix="/a/b_c.d-e"),
            id="several endpoints",
        ),
        pytest.param(
            "etcd://h:1/p?ca=/e/ca.crt&cert=/e/c.crt&key=/e/c.key&user=node%40a&passwordFile=/e/a%20b",
            EtcdUrl(
                endpoints=("h:1",),
                prefix="/p",
                ca="/e/ca.crt",
                cert="/e/c.crt",
                key="/e/c.key",
                user="node@a",
                password_file="/e/a b",  # noqa: S106  # a path
            ),
            id="TLS and a user",
        ),
    ],
)
def test_decoded(url: str, expected: DatastoreUrl) -> None:
    assert decode_datastore(url) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        *(
            pytest.param(url, f"{EXPECTED}, got {url!r}", id=url or "nothing")
            for url in (
                "",
                "sqlite://",
                "sqlite:///",
                "sqlite://a/b",
                "/a/b",
                "sqlite:/a",
                "memory://",
                "redis://h:1/p",
                "etcd://",
                "etcd://h:1",
                "etcd://h:1/",
                "etcd:///p",
                "etcd://h:1/a b",
                "etcd://h:1/a//b",
                "etcd://h:1?user=x",
            )
        ),
        pytest.param("etcd://h/p", "expected host:port in 'etcd://h/p', got 'h'", id="no port"),
        pytest.param("etcd://h:1,/p", "expected host:port in 'etcd://h:1,/p', got ''", id="no host"),
        pytest.param(
            "etcd://h:65536/p", "expected host:port in 'etcd://h:65536/p', got 'h:65536'", id="no such port"
        ),
        pytest.param(
            "etcd://a@h:1/p", "expected host:port in 'etcd://a@h:1/p', got 'a@h:1'", id="a user in front"
        ),
        pytest.param(
            "etcd://h:1/p?tls=1",
            "expected ca, cert, key, user, passwordFile once each in 'etcd://h:1/p?tls=1', got 'tls=1'",
            id="unknown option",
        ),
        pytest.param(
            "etcd://h:1/p?ca=/a&ca=/b",
            "expected ca, cert, key, user, passwordFile once each in 'etcd://h:1/p?ca=/a&ca=/b', got 'ca=/b'",
            id="twice",
        ),
        pytest.param(
            "etcd://h:1/p?ca=a", "expected ca=/absolute/path in 'etcd://h:1/p?ca=a', got 'a'", id="relative"
        ),
        pytest.param(
            "etcd://h:1/p?cert=/c", "expected key= beside cert= in 'etcd://h:1/p?cert=/c'", id="no key"
        ),
        pytest.param(
            "etcd://h:1/p?key=/c", "expected cert= beside key= in 'etcd://h:1/p?key=/c'", id="no cert"
        ),
        pytest.param(
            "etcd://h:1/p?user=n",
            "expected passwordFile= beside user= in 'etcd://h:1/p?user=n'",
            id="no password",
        ),
    ],
)
def test_refused(url: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode_datastore(url, "FILE", "--datastore")

    assert str(caught.value) == f"FILE: --datastore: {expected}"


def test_who_uses_a_file_does_not_pay_for_a_cluster(tmp_path: Path) -> None:
    """A pod start loads no module of http, TLS or etcd for it."""
    program = f"""
import sys
from ipam import plugin
from ipam.datastore import open_datastore
open_datastore("sqlite://{tmp_path}/ipam.sqlite").close()
print([name for name in ("http", "ssl", "email", "nodeplane.etcd", "ipam.stores.memory", "random",
                         "asyncio", "inotify_simple") if name in sys.modules])
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert found.stdout == "[]\n"
