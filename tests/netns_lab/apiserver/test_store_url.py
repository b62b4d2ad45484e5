"""Which store a URL names, and what is no URL of one."""

from pathlib import Path

import pytest

from netns_lab.apiserver.etcd_store import EtcdStore
from netns_lab.apiserver.memory_store import MemoryStore
from netns_lab.apiserver.sqlite_store import SqliteStore
from netns_lab.apiserver.store import Store, StoreError
from netns_lab.apiserver.store_url import open_store
from nodeplane.errors import ConfigError
from tests.netns_lab.apiserver.etcd import etcd
from tests.netns_lab.apiserver.free_port import free_ports


@pytest.mark.parametrize(
    ("url", "kind", "file"),
    [
        pytest.param("", SqliteStore, "apiserver.sqlite", id="none"),
        pytest.param("sqlite://{directory}/own.sqlite", SqliteStore, "own.sqlite", id="SQLite"),
        pytest.param("sqlite:///{directory}/own.sqlite", SqliteStore, "own.sqlite", id="a slash more"),
        pytest.param("memory://", MemoryStore, "", id="memory"),
    ],
)
def test_opened(tmp_path: Path, url: str, kind: type[Store], file: str) -> None:
    store = open_store(url.format(directory=tmp_path), tmp_path)

    assert type(store) is kind
    assert (tmp_path / file).exists()
    store.close()


def test_the_first_etcd_that_answers(tmp_path: Path) -> None:
    (nobody,) = free_ports(1)
    with etcd(tmp_path) as address:
        store = open_store(f"etcd://127.0.0.1:{nobody},{address}/lab/one/", tmp_path)

        assert type(store) is EtcdStore
        assert store.load().revision == 1
        store.close()


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        pytest.param("redis://x", "redis://x: expected sqlite:///PATH", id="another scheme"),
        pytest.param("apiserver.sqlite", "apiserver.sqlite: expected sqlite:///PATH", id="a path"),
        pytest.param("sqlite://own.sqlite", "expected sqlite:///PATH", id="SQLite on a host"),
        pytest.param("sqlite:own.sqlite", "expected sqlite:///PATH", id="SQLite without an absolute path"),
        pytest.param("sqlite:///", "expected sqlite:///PATH", id="SQLite without a file"),
        pytest.param("memory://lab", "expected sqlite:///PATH", id="memory somewhere"),
        pytest.param("etcd://127.0.0.1:2379", "expected sqlite:///PATH", id="etcd without a prefix"),
        pytest.param("etcd://127.0.0.1:2379/", "expected sqlite:///PATH", id="etcd with an empty prefix"),
        pytest.param("etcd:///prefix", "expected sqlite:///PATH", id="etcd nowhere"),
        pytest.param("etcd://127.0.0.1/p", "127.0.0.1: expected HOST:PORT", id="no port"),
        pytest.param("etcd://a:1,:2/p", ":2: expected HOST:PORT", id="no host"),
        pytest.param("etcd://a:65536/p", "a:65536: expected HOST:PORT", id="no such port"),
        pytest.param("etcd://[::1/p", "etcd://[::1/p: expected sqlite:///PATH", id="half an address"),
    ],
)
def test_no_store(tmp_path: Path, url: str, wrong: str) -> None:
    with pytest.raises(ConfigError) as refused:
        open_store(url, tmp_path)

    assert url in str(refused.value)
    assert wrong in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="unable to open"):
        open_store(f"sqlite://{tmp_path}", tmp_path)


def test_a_directory_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """A slip in the URL must not become a second state somewhere else; nor is the place misspelt."""
    with pytest.raises(StoreError, match=f"^{tmp_path}/new/own.sqlite: unable to open"):
        open_store(f"sqlite:///{tmp_path}/new/own.sqlite", tmp_path)

    assert list(tmp_path.iterdir()) == []
