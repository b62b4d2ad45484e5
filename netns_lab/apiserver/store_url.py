"""Which store a URL names."""

import re
from pathlib import Path
from urllib.parse import urlsplit

from netns_lab.apiserver.etcd_store import EtcdStore
from netns_lab.apiserver.memory_store import MemoryStore
from netns_lab.apiserver.sqlite_store import SqliteStore
from netns_lab.apiserver.store import Store
from nodeplane.errors import ConfigError

_EXPECTED = "expected sqlite:///PATH, etcd://HOST:PORT/PREFIX or memory://"


def open_store(url: str, directory: Path) -> Store:
    """Open the store of a URL; none is SQLite in the server's directory.

    Raises:
        ConfigError: the URL names no store.
        StoreError: the store can't be used.
    """
    if not url:
        return SqliteStore(directory / "apiserver.sqlite")
    parts = urlsplit(url)
    if parts.scheme == "sqlite" and not parts.netloc and parts.path.startswith("/"):
        return SqliteStore(Path(parts.path))
    if parts.scheme == "memory":
        return MemoryStore()
    if parts.scheme == "etcd" and parts.netloc and parts.path.strip("/"):
        addresses = parts.netloc.split(",")
        for address in addresses:
            if not re.fullmatch(r".+:\d{1,5}", address):
                raise ConfigError(url, address, "expected HOST:PORT")
        return EtcdStore(addresses, parts.path)
    raise ConfigError(url, "", _EXPECTED)
