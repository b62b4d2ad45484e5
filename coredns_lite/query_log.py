"""The plugin `log`: a line for each query, in CoreDNS's common format.

    {remote} - {id} "{type} {class} {name} {proto} {size} {do} {bufsize}" {rcode} {flags} {size} {duration}

A line is made from the reply alone, which repeats all that it needs of the query: the packet loop keeps no
more for it. A reply without a question (to a malformed packet) belongs to no site and has no line.
"""

import logging
import struct

from coredns_lite.message import DNSSEC_OK, HEADER, MIN_REPLY_BYTES, OPT, Flag, Rcode
from coredns_lite.names import decode_name, lower_name, read_name
from coredns_lite.records import RecordType
from coredns_lite.zone import ZoneTable

_TYPES = {int(rtype): rtype.name for rtype in RecordType} | {
    2: "NS", 5: "CNAME", 12: "PTR", 15: "MX", 16: "TXT", 33: "SRV", 64: "SVCB", 65: "HTTPS", 255: "ANY",
}  # fmt: skip
_CLASSES = {1: "IN", 3: "CH", 4: "HS", 254: "NONE", 255: "ANY"}

log = logging.getLogger(__name__)


class SiteQueryLog:
    """Logs the queries for names whose site asks for it."""

    def __init__(self, logged: ZoneTable[bool]) -> None:
        self._logged = logged

    def __call__(self, peer: str, query_bytes: int, reply: bytes, duration_s: float) -> None:
        """Write the line of one query, if it is to have one."""
        if has_question(reply) and self._logged.find(lower_name(read_name(reply, HEADER.size)[0])):
            log.info("%s", render_line(peer, query_bytes, reply, duration_s))


def has_question(reply: bytes) -> bool:
    """Whether a reply repeats the question."""
    question_count: int = HEADER.unpack_from(reply)[2]
    return question_count > 0


def render_line(peer: str, query_bytes: int, reply: bytes, duration_s: float) -> str:
    """Render the line of one query from the reply that it got."""
    ident, flags, _, _, _, additional = HEADER.unpack_from(reply)
    name, end = read_name(reply, HEADER.size)
    qtype, qclass = struct.unpack_from("!HH", reply, end)
    rcode, bufsize, do = flags & 0xF, MIN_REPLY_BYTES, False
    if additional:
        # Our OPT record stands last and has no options.
        _, _, bufsize, high, _, edns_flags, _ = OPT.unpack(reply[-OPT.size :])
        rcode, do = high << 4 | rcode, bool(edns_flags & DNSSEC_OK)
    question = (
        f"{_TYPES.get(qtype, f'TYPE{qtype}')} {_CLASSES.get(qclass, f'CLASS{qclass}')} {decode_name(name)}"
        f" udp {query_bytes} {str(do).lower()} {bufsize}"
    )
    set_flags = ",".join(flag.name.lower() for flag in Flag if flags & flag)
    return f'{peer} - {ident} "{question}" {Rcode(rcode).name} {set_flags} {len(reply)} {duration_s:.9f}s'
