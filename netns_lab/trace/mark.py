"""What tells the followed packet and its answer from all others, wherever addresses were translated. Pure.

TCP's sequence number and SCTP's initiate tag are chosen by us and survive translation; so does what UDP
carries. An answer acknowledges the number; one over UDP has the request's ends, the other way round. SCTP's
INIT ACK has our tag as its verification tag (RFC 9260, 5.1).
"""

import struct
from collections.abc import Iterable
from typing import Literal

import msgspec

from netns_lab.dns_query import build_query
from netns_lab.trace.head import Head
from nodeplane.datapath.conntrack.entry import Ends

Role = Literal["request", "reply", "refusal"]
"""`refusal` is an ICMP error about the request."""

_DNS_PORT = 53
_DNS_QUESTION = 13  # behind the header and the first label's length (RFC 1035, 4.1)
_TRACED_BYTES = 12
"""Of UDP's payload in a rule's trace (nf_tables_trace.c: NFT_TRACETYPE_TRANSPORT_HSIZE is 20)."""


class Mark(msgspec.Struct, frozen=True):
    """How the request is known.

    Attributes:
        protocol: `tcp`, `udp` or `sctp`.
        number: TCP's initial sequence number, SCTP's initiate tag.
        payload: What UDP carries.
        token: The part of it that nobody else has.
        offset: Where that is.
    """

    protocol: str
    number: int = 0
    payload: bytes = b""
    token: bytes = b""
    offset: int = 0

    def is_request(self, head: Head) -> bool:
        """Say whether a packet is the request, or one that was sent again."""
        if head.protocol != self.protocol:
            return False
        if self.protocol == "tcp":
            return head.sequence == self.number and head.flags == "S"
        if self.protocol == "sctp":
            return head.flags == "INIT" and head.acknowledgement == self.number
        # From the first byte on: a DNS answer has the question's name too.
        is_long = len(head.payload) >= min(len(self.payload), _TRACED_BYTES)
        return is_long and self.payload.startswith(head.payload)

    def role(self, head: Head, requests: Iterable[Ends]) -> Role | None:
        """Say what a packet is to the request; `requests` are the ends that the request was seen with."""
        if head.about is not None:
            return "refusal" if self._is_quoted(head.about, requests) else None
        if head.protocol != self.protocol:
            return None
        # An echo says what it was told: over UDP, the direction is looked at first.
        if self.protocol == "udp" and head.ends.reversed in requests:
            return "reply"
        if self.is_request(head):
            return "request"
        return "reply" if self._is_answer(head) else None

    def _is_answer(self, head: Head) -> bool:
        """Say whether a packet of TCP or SCTP answers the number."""
        if self.protocol == "tcp":
            is_next = head.acknowledgement == (self.number + 1) % (1 << 32)
            return is_next and ("S" in head.flags or "R" in head.flags)
        return (
            self.protocol == "sctp" and head.sequence == self.number and head.flags in {"INIT ACK", "ABORT"}
        )

    def request_ends(self, heads: Iterable[Head]) -> set[Ends]:
        """Return the ends that the request had on its way; `heads` in time order, for an echo comes later."""
        found: set[Ends] = set()
        for head in heads:
            if self.is_request(head) and head.ends.reversed not in found:
                found.add(head.ends)
        return found

    def _is_quoted(self, about: Head, requests: Iterable[Ends]) -> bool:
        # A router quotes eight bytes at least (RFC 792): TCP's flags may be missing.
        if about.protocol == "tcp" == self.protocol:
            return about.sequence == self.number
        return about.protocol == self.protocol and about.ends in requests


def build_mark(protocol: str, port: int, number: int) -> Mark:
    """Choose the mark of a request; `number` is random, and not 0."""
    if protocol != "udp":
        return Mark(protocol, number)
    token = f"{number:08x}".encode()
    if port == _DNS_PORT:
        # A question that a DNS server answers, though with no address (RFC 6761: invalid).
        query = build_query(number & 0xFFFF, f"{number:08x}.invalid")
        return Mark(protocol, number, query, token, _DNS_QUESTION)
    return Mark(protocol, number, token + b"\n", token, 0)


def encode_number(number: int) -> bytes:
    """Encode a number as it stands in a header."""
    return struct.pack(">I", number)
