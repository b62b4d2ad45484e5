"""Which datastore a URL names: a file, a part of an etcd, or one of this process, for tests.

    sqlite:///absolute/path
    etcd://host:port[,host:port]/prefix[?ca=F&cert=F&key=F&user=NAME&passwordFile=F]
    memory://name

The file of a password holds it alone. TLS is spoken where a `ca` or a `cert` is given.
"""

import re
from pathlib import Path

import msgspec

from nodeplane.cnispec import PLACE
from nodeplane.errors import ConfigError

_EXPECTED = "expected sqlite:///absolute/path or etcd://host:port[,host:port]/prefix"
_HOST = re.compile(r"\[[0-9a-fA-F:.]+\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_PREFIX = re.compile(r"(/[A-Za-z0-9._-]+)+")
# What may follow etcd's prefix, and the field of `EtcdUrl` that it fills.
_OPTIONS = {"ca": "ca", "cert": "cert", "key": "key", "user": "user", "passwordFile": "password_file"}


class SqliteUrl(msgspec.Struct, frozen=True):
    """A file on this machine."""

    path: Path


class EtcdUrl(msgspec.Struct, frozen=True, kw_only=True):
    """The keys below a prefix of an etcd cluster.

    TLS is spoken when `ca` or `cert` is given. `ca`, `cert`, `key` and `password_file` are paths; empty ones
    were not given.
    """

    endpoints: tuple[str, ...]
    prefix: str
    ca: str = ""
    cert: str = ""
    key: str = ""
    user: str = ""
    password_file: str = ""


class MemoryUrl(msgspec.Struct, frozen=True):
    """A store of this process."""

    name: str


DatastoreUrl = SqliteUrl | EtcdUrl | MemoryUrl


def decode_datastore(url: str, place: str = PLACE, field: str = "ipam.datastore") -> DatastoreUrl:
    """Return what a datastore URL names.

    Raises:
        ConfigError: it is not one that we know.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "sqlite" and rest.startswith("/") and rest.strip("/"):
        # POSIX keeps a leading '//' apart; the four slashes of SQLAlchemy's URLs mean the same file as three.
        return SqliteUrl(Path("/" + rest.lstrip("/")))
    if separator and scheme == "memory" and rest:
        return MemoryUrl(rest)
    if separator and scheme == "etcd":
        return _decode_etcd(url, rest, place, field)
    raise ConfigError(place, field, f"{_EXPECTED}, got {url!r}")


def _decode_etcd(url: str, rest: str, place: str, field: str) -> EtcdUrl:
    where, _, query = rest.partition("?")
    hosts, slash, prefix = where.partition("/")
    prefix = (slash + prefix).rstrip("/")
    if not hosts or not _PREFIX.fullmatch(prefix):
        raise ConfigError(place, field, f"{_EXPECTED}, got {url!r}")
    endpoints = tuple(hosts.split(","))
    for endpoint in endpoints:
        host, _, port = endpoint.rpartition(":")
        if not _HOST.fullmatch(host) or not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536:
            raise ConfigError(place, field, f"expected host:port in {url!r}, got {endpoint!r}")
    options = _decode_options(url, query, place, field)
    for first, second in (
        ("cert", "key"),
        ("key", "cert"),
        ("user", "password_file"),
        ("password_file", "user"),
    ):
        if options.get(first) and not options.get(second):
            raise ConfigError(place, field, f"expected {_name(second)}= beside {_name(first)}= in {url!r}")
    return EtcdUrl(endpoints=endpoints, prefix=prefix, **options)


def _decode_options(url: str, query: str, place: str, field: str) -> dict[str, str]:
    # Only for etcd, whose client needs urllib anyway.
    from urllib.parse import unquote

    options: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        name, _, value = part.partition("=")
        if name not in _OPTIONS or _OPTIONS[name] in options or not value:
            raise ConfigError(
                place, field, f"expected {', '.join(_OPTIONS)} once each in {url!r}, got {part!r}"
            )
        options[_OPTIONS[name]] = unquote(value)
        if name != "user" and not options[_OPTIONS[name]].startswith("/"):
            raise ConfigError(place, field, f"expected {name}=/absolute/path in {url!r}, got {value!r}")
    return options


def _name(field: str) -> str:
    return next(name for name, filled in _OPTIONS.items() if filled == field)
