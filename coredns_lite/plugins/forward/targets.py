"""Whom to forward to: the addresses of a Corefile's line, and those of files like /etc/resolv.conf."""

import re
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path

import msgspec

from coredns_lite.corefile.lexer import Token
from nodeplane.errors import ConfigError

MAX_TARGETS = 15
_PORTS = {"dns": 53, "tls": 853}
_PORT = re.compile(r"[0-9]{1,5}")
_MAX_PORT = 65_535
_HOST_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+\.?")


class Target(msgspec.Struct, frozen=True):
    """An upstream: address, maybe with its interface (`%eth0`), and port.

    `server_name` is whom its certificate must name, empty for the address.
    """

    host: str
    port: int
    is_tls: bool = False
    server_name: str = ""

    def __str__(self) -> str:
        """Return it as CoreDNS's metrics name it (their label `to`)."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class TargetFile(msgspec.Struct, frozen=True):
    """A file that names upstreams, in the form of /etc/resolv.conf; `place` is the line that names it."""

    path: Path
    place: str


def decode_target(token: Token) -> Target | TargetFile:
    """Decode `[dns://|tls://]ADDRESS[:PORT]`, or the path of a file.

    Raises:
        ConfigError: it is neither.
    """
    if "/" in token.text and "://" not in token.text:
        return TargetFile(Path(token.text), f"{token.file}:{token.line}")
    scheme, _, rest = token.text.rpartition("://")
    scheme = scheme or "dns"
    if scheme not in _PORTS:
        raise token.error("expected one of the transports dns, tls")
    server_name = ""
    if scheme == "tls" and (found := re.fullmatch(r"([^%]*)%([^:]*)(:[0-9]+)?", rest)):
        # CoreDNS: the name in the certificate stands between address and port.
        rest, server_name = found[1] + (found[3] or ""), found[2]
        if not _HOST_NAME.fullmatch(server_name):
            raise token.error("expected the server's name behind '%'")
    host, port = _split_port(token, rest)
    return Target(host, port or _PORTS[scheme], scheme == "tls", server_name)


def read_targets(targets: Iterable[Target | TargetFile]) -> tuple[Target, ...]:
    """Put the name servers of files in the files' place.

    Raises:
        ConfigError: a file can't be read or names no server, or there are too many.
    """
    found: dict[Target, None] = {}
    for target in targets:
        found.update(dict.fromkeys([target] if isinstance(target, Target) else _read(target)))
    if len(found) > MAX_TARGETS:
        raise ConfigError("forward", "", f"expected at most {MAX_TARGETS} upstreams, got {len(found)}")
    return tuple(found)


def decode_resolv_conf(text: str) -> tuple[Target, ...]:
    """Find the addresses of the lines `nameserver ADDRESS`; what is none is passed over."""
    words = (line.split() for line in text.splitlines())
    hosts = [line[1] for line in words if len(line) > 1 and line[0] == "nameserver" and _is_address(line[1])]
    return tuple(Target(host, _PORTS["dns"]) for host in hosts)


def _read(file: TargetFile) -> tuple[Target, ...]:
    try:
        text = file.path.read_text(encoding="utf-8", errors="replace")
    except OSError as exc:
        raise ConfigError(file.place, str(file.path), f"expected a readable file: {exc.strerror}") from exc
    targets = decode_resolv_conf(text)
    if not targets:
        raise ConfigError(file.place, str(file.path), "expected at least one line `nameserver ADDRESS`")
    return targets


def _split_port(token: Token, text: str) -> tuple[str, int]:
    """Split ADDRESS, ADDRESS:PORT, [ADDRESS]:PORT; no port is 0."""
    if _is_address(text):
        return text, 0
    host, colon, port = text.partition(":")
    if text.startswith("["):
        host, _, port = text[1:].rpartition("]")
        colon, port = port[:1], port[1:]
        if not colon and _is_address(host):
            return host, 0
    if not colon or not _is_address(host):
        raise token.error("expected an IP address, maybe with a port, or the path of a file")
    if not _PORT.fullmatch(port) or not 0 < int(port) <= _MAX_PORT:
        raise token.error("expected a port from 1 to 65535 after the address")
    return host, int(port)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
