"""Keys, data and registers in words, by the types that the kernel knows of a map."""

import struct
from collections.abc import Sequence
from ipaddress import ip_address

from kubeproxy.rules.layout import AFFINE_POOLS, FRONTENDS, LOCAL_POOLS, NODE_PORTS, SOURCE_RANGES
from kubeproxy.rules.pool_value import as_classid, describe
from kubeproxy.trace.contents import Drawn
from kubeproxy.trace.packet import PROTOCOL_NAMES
from nodeplane.datapath.nft.decode import decode_verdict
from nodeplane.datapath.nft.listing import ListedMap

_BYTES = {"ipv4_addr": 4, "ipv6_addr": 16, "inet_proto": 1, "inet_service": 2, "mark": 4, "classid": 4}
_OF_CLIENTS = {
    4 * words: (address, "inet_proto", "inet_service", address)
    for words, address in ((4, "ipv4_addr"), (10, "ipv6_addr"))
}
"""The fields of `source-ranges` by the length of a key, all that the kernel knows of it (see `borders`)."""
_WITH_POOLS = {FRONTENDS, NODE_PORTS, LOCAL_POOLS, AFFINE_POOLS}
"""Maps whose data says how a pool chooses."""


def describe_key(map_name: str, listed: ListedMap, words: Sequence[bytes | Drawn]) -> str:
    """Write a key of a map, given as words of which one may be drawn."""
    kinds = _OF_CLIENTS.get(listed.key_bytes, listed.key) if map_name == SOURCE_RANGES else listed.key
    parts = []
    start = 0
    for kind in kinds:
        length = _BYTES.get(kind)
        if length is None:
            # Where it ends is not known, so the rest is one number.
            parts.append(_join(words[start:]))
            break
        taken = words[start : start + -(-length // 4)]
        start += len(taken)
        drawn = next((word for word in taken if isinstance(word, Drawn)), None)
        parts.append(str(drawn) if drawn else _describe(kind, _bytes(taken)[:length]))
    return " . ".join(parts)


def describe_data(map_name: str, listed: ListedMap, data: bytes) -> str:
    """Write what a map holds for a key."""
    if listed.data == ("verdict",):
        return str(decode_verdict(data))
    parts = []
    start = 0
    for kind in listed.data:
        length = _BYTES.get(kind)
        if length is None:
            parts.append(data[start:].hex())
            break
        parts.append(_describe(kind, data[start : start + length]))
        start += length + -length % 4
    text = " . ".join(parts)
    if map_name in _WITH_POOLS and len(data) == 4:
        text += f" ({describe(struct.unpack('=I', data)[0])})"
    return text


def describe_number(data: bytes) -> str:
    """Write a host-endian number as `nft list` does a class id, if it is one word; else in hexadecimal."""
    return as_classid(struct.unpack("=I", data)[0]) if len(data) == 4 else data.hex()


def _describe(kind: str, data: bytes) -> str:
    if len(data) != _BYTES[kind]:
        return data.hex()
    match kind:
        case "ipv4_addr" | "ipv6_addr":
            return str(ip_address(data))
        case "inet_proto":
            return PROTOCOL_NAMES.get(data[0], str(data[0]))
        case "inet_service":
            return str(int.from_bytes(data, "big"))
        case "mark":
            return str(struct.unpack("=I", data)[0])
        case _:
            return describe_number(data)


def _bytes(words: Sequence[bytes | Drawn]) -> bytes:
    return b"".join(word for word in words if isinstance(word, bytes))


def _join(words: Sequence[bytes | Drawn]) -> str:
    return " . ".join(word.hex() if isinstance(word, bytes) else str(word) for word in words)
