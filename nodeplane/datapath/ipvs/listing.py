"""All real servers of a family at once, as /proc/net/ip_vs lists them (ip_vs_info_seq_show).

By netlink each virtual service takes a dump of its own; of ten thousand, the list takes a fiftieth of
the time. It says less: nothing of remembered clients, and not which family a mark's service is of.
"""

import errno
import os
import socket
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from nodeplane.datapath.ipvs.service import (
    PROTOCOLS,
    Method,
    RealServer,
    ServerKey,
    ServerUse,
    ServiceKey,
)
from nodeplane.datapath.nft.expr import Family
from nodeplane.errors import kernel_error

_FILE = Path("/proc/thread-self/net/ip_vs")
_HEAD_LINES = 3
_ARROW = "  -> "
_BYTES_AT_ONCE = 1 << 16
_READING = "list all real servers"
_METHODS: Mapping[str, int] = {
    "Masq": Method.MASQUERADE,
    "Local": Method.LOCAL,
    "Tunnel": Method.TUNNEL,
    "Route": Method.ROUTE,
}

Servers = dict[ServiceKey, dict[ServerKey, ServerUse]]


class Listing:
    """The list of the namespace of the thread that opens it.

    Raises:
        FileNotFoundError: there is none, as without /proc.
        KernelError: it can't be opened.
    """

    def __init__(self) -> None:
        try:
            self._file = os.open(_FILE, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise
        except OSError as exc:
            raise kernel_error(_READING, exc.errno or 0) from exc

    def close(self) -> None:
        """Close it; it can't be read any more."""
        os.close(self._file)

    def read(self) -> str:
        """Return it as it is now.

        Raises:
            KernelError: it can't be read.
        """
        parts: list[bytes] = []
        try:
            os.lseek(self._file, 0, os.SEEK_SET)
            while part := os.read(self._file, _BYTES_AT_ONCE):
                parts.append(part)
        except OSError as exc:
            raise kernel_error(_READING, exc.errno or 0) from exc
        return b"".join(parts).decode("ascii", "replace")


def decode_listing(text: str, family: Family) -> Servers:
    """Return the real servers of a family by virtual service; a mark's without any is left out.

    Raises:
        KernelError: it is another list (EBADMSG).
    """
    found: Servers = {}
    length = 4 if family == "ip" else 16
    key: ServiceKey | None = None
    held: dict[ServerKey, ServerUse] = {}
    for number, line in enumerate(text.splitlines()[_HEAD_LINES:], start=_HEAD_LINES + 1):
        try:
            if not line.startswith(_ARROW):
                key, held = _decode_key(line.split(), family), {}
                if key is not None and not key.mark:
                    found[key] = held
            elif key is not None:
                name, _, rest = line[len(_ARROW) :].partition(" ")
                address, _, port = name.rpartition(":")
                packed = decode_address(address)
                # The servers of a mark tell its family: they are of the same, but for tunnels.
                if not key.mark or len(packed) == length:
                    if key.mark and not held:
                        found[key] = held
                    held[ServerKey(packed, int(port, 16))] = _decode_use(rest)
        except (ValueError, IndexError, KeyError, OSError) as exc:
            raise kernel_error(f"{_READING}: line {number}", errno.EBADMSG) from exc
    return found


def decode_address(text: str) -> bytes:
    """Decode an address as IPVS lists it: IPv4 in hexadecimal, IPv6 in brackets or not."""
    if ":" in text:
        return socket.inet_pton(socket.AF_INET6, text.strip("[]"))
    packed = bytes.fromhex(text)
    if len(packed) != 4:
        raise ValueError(text)
    return packed


def _decode_key(words: list[str], family: Family) -> ServiceKey | None:
    """Decode a virtual service's line, such as `TCP  0A600001:0050 rr`; None for one of another family."""
    if words[0] == "FWM":
        return ServiceKey(family, mark=int(words[1], 16))
    is_ip6 = words[1].startswith("[")
    if is_ip6 != (family == "ip6"):
        return None
    address, _, port = words[1].rpartition(":")
    protocol = PROTOCOLS[words[0]] if words[0] in PROTOCOLS else int(words[0].removeprefix("IP_"))
    return ServiceKey(family, protocol, decode_address(address), int(port, 16))


@lru_cache(maxsize=1 << 10)
def _decode_use(text: str) -> ServerUse:
    """Decode the end of a real server's line: method, weight, connections. Most are alike."""
    method, weight, active, inactive = text.split()[:4]
    return ServerUse(RealServer(int(weight), _METHODS[method]), int(active), int(inactive))
