"""Making entries of the kernel's table by netlink, for tests and measurements."""

import struct

from nodeplane.datapath import netlink as nl
from nodeplane.datapath.conntrack.flow import TCP, Flow
from nodeplane.datapath.netlink_socket import NetlinkSocket

_NEW = 1 << 8
_TIMEOUT_S = 600


def encode_entry(flow: Flow) -> bytes:
    """Encode the request to make an entry; whoever sends several needs no acknowledgement of each."""
    end = (flow.source, flow.source_port)
    attributes = _tuple(1, flow.protocol, end, (flow.destination, flow.destination_port))
    attributes += _tuple(2, flow.protocol, (flow.reply_source, flow.reply_source_port), end)
    attributes += nl.u32(7, _TIMEOUT_S)
    if flow.zone:
        attributes += nl.attribute(18, struct.pack(">H", flow.zone))
    if flow.protocol == TCP:
        # Established: a state is what the kernel wants of a TCP entry.
        attributes += nl.nested(4, nl.nested(1, nl.attribute(1, b"\x03")))
    family = 2 if len(flow.source) == 4 else 10
    flags = nl.NLM_F_CREATE | nl.NLM_F_EXCL
    return nl.request(_NEW, flags | nl.NLM_F_ACK, 1, nl.NFGEN.pack(family, 0, 0) + attributes)


def add_entry(flow: Flow) -> None:
    """Make one entry in the namespace that the calling thread is in."""
    with NetlinkSocket(nl.NETLINK_NETFILTER) as netlink:
        netlink.ask("add tracked flow", encode_entry(flow))


def _tuple(kind: int, protocol: int, source: tuple[bytes, int], destination: tuple[bytes, int]) -> bytes:
    first = 1 if len(source[0]) == 4 else 3
    return nl.nested(
        kind,
        nl.nested(1, nl.attribute(first, source[0]), nl.attribute(first + 1, destination[0])),
        nl.nested(
            2,
            nl.attribute(1, bytes((protocol,))),
            nl.attribute(2, struct.pack(">H", source[1])),
            nl.attribute(3, struct.pack(">H", destination[1])),
        ),
    )
