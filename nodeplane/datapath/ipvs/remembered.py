"""The clients that IPVS remembers (persistence): templates in /proc/net/ip_vs_conn; netlink has none.

A template is a connection from port 0; one of a mark has the mark in its virtual address's place.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from nodeplane.datapath.ipvs.listing import decode_address
from nodeplane.datapath.ipvs.service import PROTOCOLS, ServerKey, ServiceKey
from nodeplane.datapath.nft.expr import Family
from nodeplane.errors import kernel_error

_FILE = Path("/proc/thread-self/net/ip_vs_conn")


class RememberedClient(msgspec.Struct, frozen=True):
    """A client that comes back to one real server, for so many seconds more."""

    key: ServiceKey
    client: bytes
    server: ServerKey
    seconds: int


def read_remembered() -> list[RememberedClient]:
    """Read the remembered clients of the calling thread's namespace; none without IPVS.

    Raises:
        KernelError: they can't be read.
    """
    try:
        text = _FILE.read_text(encoding="ascii")
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise kernel_error("read remembered clients", exc.errno or 0) from exc
    return [*decode_remembered(text)]


def decode_remembered(text: str) -> Iterator[RememberedClient]:
    """Yield the templates among connections as the kernel lists them (ip_vs_conn_seq_show)."""
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) < 9 or words[2] != "0000":
            continue
        protocol, client, _, service, port, server, server_port = words[:7]
        packed = decode_address(service)
        family: Family = "ip" if len(packed) == 4 else "ip6"
        key = (
            ServiceKey(family, PROTOCOLS[protocol], packed, int(port, 16))
            if protocol in PROTOCOLS
            else ServiceKey(family, mark=int.from_bytes(packed[:4], "big"))
        )
        yield RememberedClient(
            key,
            decode_address(client),
            ServerKey(decode_address(server), int(server_port, 16)),
            int(words[8]),
        )
