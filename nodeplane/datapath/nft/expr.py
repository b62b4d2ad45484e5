"""Rule expressions as the kernel stores them: the words that our rules are made of.

Each function returns one encoded expression. A register number counts 32-bit registers from 0; the order
of attributes is that of the kernel's own dumps, so a rule that was written can be compared with what is
there byte for byte. Every rule made of these must be one that nft 1.0.6 can list (DESIGN.md section 4).
"""

import struct
from ipaddress import IPv4Network, IPv6Network
from typing import Literal

from nodeplane.datapath.nft.netlink import attribute, nested, text, u32

NFPROTO = {"inet": 1, "ip": 2, "bridge": 7, "ip6": 10}

Family = Literal["ip", "ip6"]
TableFamily = Literal["ip", "ip6", "inet", "bridge"]
"""What a table is of; one of `inet` gets the packets of both families, one of `bridge` those of bridges."""

_META_KEYS = {"priority": 2, "mark": 3, "iifname": 6, "nftrace": 12, "nfproto": 15, "l4proto": 16}
_CT_KEYS = {"state": 0, "status": 2}
CT_STATE_NEW = 8
CT_STATUS_DNAT = 1 << 5  # IPS_DST_NAT, nf_conntrack_common.h
_RANDOM_FULLY = 1 << 4  # NF_NAT_RANGE_PROTO_RANDOM_FULLY, nf_nat.h

_LINK_HEADER, _NETWORK_HEADER, _TRANSPORT_HEADER = 0, 1, 2
_ADDRESS_OFFSETS = {("ip", "saddr"): 12, ("ip", "daddr"): 16, ("ip6", "saddr"): 8, ("ip6", "daddr"): 24}
ADDRESS_BYTES = {"ip": 4, "ip6": 16}

_VERDICT_REGISTER = 0
VERDICT_CODES = {"drop": 0, "accept": 1, "jump": -3, "goto": -4, "return": -5}
VerdictName = Literal["drop", "accept", "jump", "goto", "return"]

_DYNSET_OPERATIONS = {"update": 1, "delete": 2}
_FIB_FLAGS = {"saddr": 1, "daddr": 2}
_FIB_RESULT_ADDRTYPE = 3
LOCAL = 2  # RTN_LOCAL, rtnetlink.h
INTERFACE_NAME_BYTES = 16


def _expression(name: str, *attributes_: bytes) -> bytes:
    return nested(1, text(1, name), nested(2, *attributes_))


def _register(index: int) -> int:
    """Number a register as nft_dump_register() does: NFT_REG_1… on 16-byte borders, else NFT_REG32_…."""
    return index // 4 + 1 if index % 4 == 0 else index + 8


def load_meta(key: Literal["priority", "mark", "iifname", "nfproto", "l4proto"], register: int) -> bytes:
    """Load a property of the packet; priority and mark are host-endian, a name takes four registers."""
    return _expression("meta", u32(2, _META_KEYS[key]), u32(1, _register(register)))


def set_meta(key: Literal["priority", "mark", "nftrace"], register: int) -> bytes:
    """Store a register in the packet."""
    return _expression("meta", u32(2, _META_KEYS[key]), u32(3, _register(register)))


def trace_packet(register: int = 0) -> bytes:
    """Have the kernel tell of every rule that the packet meets from here on, in this namespace."""
    return load_constant(b"\1", register) + set_meta("nftrace", register)


def load_address(family: Family, field: Literal["saddr", "daddr"], register: int) -> bytes:
    """Load an address of the network header: 4 bytes or 16."""
    offset = _ADDRESS_OFFSETS[family, field]
    return _payload(_NETWORK_HEADER, offset, ADDRESS_BYTES[family], register)


def load_link_source(register: int) -> bytes:
    """Load the source address of the Ethernet header: 6 bytes, two registers."""
    return _payload(_LINK_HEADER, 6, 6, register)


def load_icmp_type(register: int) -> bytes:
    """Load the type of an ICMP message of either family."""
    return _payload(_TRANSPORT_HEADER, 0, 1, register)


def load_destination_port(register: int) -> bytes:
    """Load the destination port: the same place in TCP, UDP and SCTP headers."""
    return _payload(_TRANSPORT_HEADER, 2, 2, register)


def of_family(family: Family, register: int = 0) -> bytes:
    """Go on with the rule only for packets of one family: in a table of `inet`, before its addresses."""
    return load_meta("nfproto", register) + compare("==", bytes((NFPROTO[family],)), register)


def load_source_port(register: int) -> bytes:
    """Load the source port: the same place in TCP, UDP and SCTP headers."""
    return _payload(_TRANSPORT_HEADER, 0, 2, register)


def load_transport(offset: int, length: int, register: int) -> bytes:
    """Load bytes of the transport header, or of what is behind it."""
    return _payload(_TRANSPORT_HEADER, offset, length, register)


def load_address_type(field: Literal["saddr", "daddr"], register: int) -> bytes:
    """Load what the routing tables say an address is, such as LOCAL; host-endian."""
    return _expression(
        "fib", u32(1, _register(register)), u32(2, _FIB_RESULT_ADDRTYPE), u32(3, _FIB_FLAGS[field])
    )


def _payload(base: int, offset: int, length: int, register: int) -> bytes:
    return _expression("payload", u32(1, _register(register)), u32(2, base), u32(3, offset), u32(4, length))


def load_ct(key: Literal["state", "status"], register: int) -> bytes:
    """Load a property of the packet's connection, host-endian bits."""
    return _expression("ct", u32(1, _register(register)), u32(2, _CT_KEYS[key]))


def load_random(modulus: int, register: int, offset: int = 0) -> bytes:
    """Load a random number from `offset` to below `offset` + `modulus`, host-endian."""
    return _expression("numgen", u32(1, _register(register)), u32(2, modulus), u32(3, 1), u32(4, offset))


def load_hash(source: int, length: int, modulus: int, seed: int, register: int) -> bytes:
    """Load the hash of `length` bytes of registers (linux/jhash.h), below `modulus`, host-endian."""
    return _expression(
        "hash",
        u32(1, _register(source)),
        u32(2, _register(register)),
        u32(3, length),
        u32(4, modulus),
        u32(5, seed),
        u32(7, 0),
    )


def load_constant(value: bytes, register: int) -> bytes:
    """Load a constant."""
    return _expression("immediate", u32(1, _register(register)), nested(2, attribute(1, value)))


def mask(value: int, register: int, flip: int = 0) -> bytes:
    """Keep only the bits of `value` in a host-endian 32-bit register, then turn those of `flip` over."""
    return _expression(
        "bitwise",
        u32(1, _register(register)),
        u32(2, _register(register)),
        u32(3, 4),
        u32(6, 0),
        nested(4, attribute(1, struct.pack("=I", value))),
        nested(5, attribute(1, struct.pack("=I", flip))),
    )


Operator = Literal["==", "!="]


def compare(operator: Operator, value: bytes, register: int) -> bytes:
    """Go on with the rule only if the register compares so; of a longer register, its first bytes."""
    return _expression(
        "cmp",
        u32(1, _register(register)),
        u32(2, {"==": 0, "!=": 1}[operator]),
        nested(3, attribute(1, value)),
    )


def in_network(network: IPv4Network | IPv6Network, register: int, operator: Operator = "==") -> bytes:
    """Go on with the rule only if an address is in a network (or, with `!=`, is not)."""
    address = network.network_address.packed
    masked = _expression(
        "bitwise",
        u32(1, _register(register)),
        u32(2, _register(register)),
        u32(3, len(address)),
        u32(6, 0),
        nested(4, attribute(1, network.netmask.packed)),
        nested(5, attribute(1, bytes(len(address)))),
    )
    return masked + compare(operator, address, register)


def has_bits(bits: int, register: int) -> bytes:
    """Go on with the rule only if a host-endian 32-bit register holds one of `bits`."""
    return mask(bits, register) + compare("!=", b"\0\0\0\0", register)


def look_up(map_name: str, key: int, value: int) -> bytes:
    """Replace a key by its value in a map; a missing key ends the rule, not the chain."""
    return _expression(
        "lookup", text(1, map_name), u32(2, _register(key)), u32(3, _register(value)), u32(5, 0)
    )


def look_up_verdict(map_name: str, key: int) -> bytes:
    """Take the verdict that a map holds for a key."""
    return _expression(
        "lookup", text(1, map_name), u32(2, _register(key)), u32(3, _VERDICT_REGISTER), u32(5, 0)
    )


def in_set(set_name: str, key: int) -> bytes:
    """Go on with the rule only if the key is in a set."""
    return _expression("lookup", text(1, set_name), u32(2, _register(key)), u32(5, 0))


def not_in_set(set_name: str, key: int) -> bytes:
    """Go on with the rule only if the key is not in a set."""
    return _expression("lookup", text(1, set_name), u32(2, _register(key)), u32(5, 1))


def change_element(
    operation: Literal["update", "delete"], map_name: str, key: int, data: int, timeout_s: int = 0
) -> bytes:
    """Change a dynamic map from within a rule.

    `update` adds an element, or renews the time-out of the one that is there and leaves its data alone.
    A map wants data to delete an element as well.
    """
    return _expression(
        "dynset",
        u32(4, _register(key)),
        u32(5, _register(data)),
        u32(3, _DYNSET_OPERATIONS[operation]),
        text(1, map_name),
        attribute(6, struct.pack(">Q", timeout_s * 1000)),
        u32(9, 0),
    )


def verdict(name: VerdictName, chain: str = "") -> bytes:
    """End the rule with a verdict."""
    return _expression(
        "immediate", u32(1, _VERDICT_REGISTER), nested(2, nested(2, verdict_data(name, chain)))
    )


def verdict_data(name: VerdictName, chain: str = "") -> bytes:
    """Encode a verdict as the data of a verdict map's element."""
    return u32(1, VERDICT_CODES[name]) + (text(2, chain) if chain else b"")


def translate_destination(family: Family, address: int, port: int) -> bytes:
    """Translate the connection's destination to the address and port in two registers."""
    flags = 1 << 0 | 1 << 1  # NF_NAT_RANGE_MAP_IPS | NF_NAT_RANGE_PROTO_SPECIFIED, as the kernel dumps it
    return _expression(
        "nat",
        u32(1, 1),
        u32(2, NFPROTO[family]),
        u32(3, _register(address)),
        u32(4, _register(address)),
        u32(5, _register(port)),
        u32(6, _register(port)),
        u32(7, flags),
    )


def masquerade() -> bytes:
    """Translate the source to the outgoing interface's address, with a random port."""
    return _expression("masq", u32(1, _RANDOM_FULLY))


def reject_with_reset() -> bytes:
    """Answer a TCP segment with a reset."""
    return _expression("reject", u32(1, 1))


def reject_unreachable(family: Family) -> bytes:
    """Answer with ICMP port unreachable (RFC 792 type 3 code 3, RFC 4443 type 1 code 4)."""
    code = {"ip": 3, "ip6": 4}[family]
    return _expression("reject", u32(1, 0), attribute(2, bytes([code])))
