"""What a trace is asked to follow: `http://web/path`, `tcp:web:80`, `udp:10.96.0.10:53`. Pure."""

from ipaddress import ip_address
from urllib.parse import urlsplit

import msgspec

from nodeplane.datapath.conntrack.flow import SCTP, TCP, UDP
from nodeplane.datapath.rtnl import Address
from nodeplane.errors import ConfigError

PROTOCOLS = {"tcp": TCP, "udp": UDP, "sctp": SCTP}

_EXPECTED = "expected a URL (http://web/) or PROTO:HOST:PORT (tcp:web:80, udp:[fd00::1]:53)"
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Target(msgspec.Struct, frozen=True):
    """Whom to connect to; `path` is what HTTP asks for, empty without HTTP."""

    protocol: str
    host: str
    port: int
    path: str = ""

    @property
    def address(self) -> Address | None:
        """The host, if it is an address."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}{self.path}" if self.path else f"{self.protocol}:{host}:{self.port}"


def parse_target(text: str) -> Target:
    """Read a target.

    Raises:
        ConfigError: it is none.
    """
    try:
        if "://" in text:
            return _parse_url(text)
        protocol, colon, rest = text.partition(":")
        host, port = _split_host(rest)
        if colon and protocol.lower() in PROTOCOLS and host and port:
            return Target(protocol.lower(), host, port)
    except ValueError:
        pass
    raise ConfigError(text, "", _EXPECTED)


def _parse_url(text: str) -> Target:
    url = urlsplit(text)
    if url.scheme not in _DEFAULT_PORTS or not url.hostname or url.username is not None or url.port == 0:
        raise ValueError(text)
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    if not _is_plain(path) or not _is_plain(url.hostname):
        raise ValueError(text)
    # What is inside of TLS is no matter of packets.
    path = path if url.scheme == "http" else ""
    return Target("tcp", url.hostname, url.port or _DEFAULT_PORTS[url.scheme], path)


def _split_host(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = str(ip_address(host[1:-1]))
    elif ":" in host or not _is_plain(host):
        raise ValueError(text)
    number = int(port) if port.isascii() and port.isdecimal() else 0
    if not 0 < number < 1 << 16:
        raise ValueError(text)
    return host, number


def _is_plain(text: str) -> bool:
    """Say whether a text may stand in a request's head, or in a DNS question, as it is."""
    return text.isascii() and text.isprintable() and " " not in text
