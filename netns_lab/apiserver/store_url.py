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
    try:
        parts = urlsplit(url)
    except ValueError as exc:
        raise ConfigError(url, "", _EXPECTED) from exc
    if parts.scheme == "sqlite" and not parts.netloc and re.match(r"/+[^/]", parts.path):
        # Two slashes at the beginning mean a root of their own to POSIX, and to pathlib.
        return SqliteStore(Path("/" + parts.path.lstrip("/")))
    if parts.scheme == "memory" and not parts.netloc and not parts.path:
        return MemoryStore()
    if parts.scheme == "etcd" and parts.netloc and parts.path.strip("/"):
        addresses = parts.netloc.split(",")
        for address in addresses:
            host, _, port = address.rpartition(":")
            if not host or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
                raise ConfigError(url, address, "expected HOST:PORT")
        return EtcdStore(addresses, parts.path)
    raise ConfigError(url, "", _EXPECTED)
