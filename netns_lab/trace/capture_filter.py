"""A socket filter for the followed packet: what the kernel need not copy for us. Pure.

Classic BPF (linux/filter.h) over Ethernet frames. It lets more through than the request and its answer: all
ICMP errors, all VXLAN, and for UDP all UDP; `mark` looks closer. It does not look behind extension headers.
"""

import struct

from netns_lab.trace.mark import Mark
from netns_lab.trace.target import PROTOCOLS

_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE = 0x20, 0x28, 0x30  # BPF_LD | BPF_ABS
_LOAD_WORD_X, _LOAD_HALF_X = 0x40, 0x48  # BPF_LD | BPF_IND
_LOAD_HEADER_LENGTH = 0xB1  # BPF_LDX | BPF_B | BPF_MSH: 4 * (byte & 0xf)
_LOAD_X = 0x01  # BPF_LDX | BPF_IMM
_EQUAL, _GREATER, _RETURN = 0x15, 0x25, 0x06
_WHOLE = 0xFFFF

_ETHERNET = 14
_IPV4, _IPV6 = 0x0800, 0x86DD
_ICMP, _UDP, _ICMPV6 = 1, 17, 58
_VXLAN_PORT = 4789
_ICMPV6_INFORMATION = 127  # RFC 4443, 2.1: above are no errors

_Line = tuple[int, int, str, str]
"""Operation, operand, and the labels to go to if it holds and if it does not; empty is the next line."""


def build_filter(mark: Mark) -> bytes:
    """Return the program: instructions of eight bytes each."""
    protocol = PROTOCOLS[mark.protocol]
    lines: list[tuple[str, _Line]] = [
        ("", (_LOAD_HALF, 12, "", "")),
        ("", (_EQUAL, _IPV4, "v4", "")),
        ("", (_EQUAL, _IPV6, "v6", "drop")),
        ("v4", (_LOAD_HEADER_LENGTH, _ETHERNET, "", "")),
        ("", (_LOAD_BYTE, 23, "", "")),
        ("", (_EQUAL, protocol, "found", "")),
        ("", (_EQUAL, _ICMP, "keep", "")),
        ("", (_EQUAL, _UDP, "udp", "drop")),
        ("v6", (_LOAD_X, 40, "", "")),
        ("", (_LOAD_BYTE, 20, "", "")),
        ("", (_EQUAL, protocol, "found", "")),
        ("", (_EQUAL, _UDP, "udp", "")),
        ("", (_EQUAL, _ICMPV6, "", "drop")),
        ("", (_LOAD_BYTE, 54, "", "")),
        ("", (_GREATER, _ICMPV6_INFORMATION, "drop", "keep")),
        ("udp", (_LOAD_HALF_X, _ETHERNET + 2, "", "")),
        ("", (_EQUAL, _VXLAN_PORT, "keep", "drop")),
        *_found(mark),
        ("keep", (_RETURN, _WHOLE, "", "")),
        ("drop", (_RETURN, 0, "", "")),
    ]
    places = {label: place for place, (label, _) in enumerate(lines) if label}

    def jump(label: str, place: int) -> int:
        return places[label] - place - 1 if label else 0

    return b"".join(
        struct.pack("=HBBI", operation, jump(yes, place), jump(no, place), operand)
        for place, (_, (operation, operand, yes, no)) in enumerate(lines)
    )


def _found(mark: Mark) -> list[tuple[str, _Line]]:
    """Return the lines for packets of the mark's own protocol; X is the length of the IP header."""
    if mark.protocol == "udp":
        return [("found", (_RETURN, _WHOLE, "", ""))]
    following = (mark.number + 1) % (1 << 32)
    if mark.protocol == "tcp":
        return [
            ("found", (_LOAD_WORD_X, _ETHERNET + 4, "", "")),
            ("", (_EQUAL, mark.number, "keep", "")),
            ("", (_LOAD_WORD_X, _ETHERNET + 8, "", "")),
            ("", (_EQUAL, following, "keep", "drop")),
        ]
    return [
        ("found", (_LOAD_WORD_X, _ETHERNET + 4, "", "")),
        ("", (_EQUAL, mark.number, "keep", "")),
        ("", (_LOAD_WORD_X, _ETHERNET + 16, "", "")),
        ("", (_EQUAL, mark.number, "keep", "drop")),
    ]
