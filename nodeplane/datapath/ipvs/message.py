"""IPVS's generic netlink messages, to bytes and back (linux/ip_vs.h; net/netfilter/ipvs/ip_vs_ctl.c). Pure.

Of each message the part that names a virtual service is encoded once and kept: a full load is forty thousand
messages about ten thousand of them. Numbers are host-endian but for ports and IPv4 netmasks.
"""

import socket
import struct
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache

from nodeplane.datapath import genetlink
from nodeplane.datapath import netlink as nl
from nodeplane.datapath.ipvs.service import (
    Change,
    DeleteServer,
    DeleteService,
    NewServer,
    NewServers,
    NewService,
    RealServer,
    ServerKey,
    ServerUse,
    ServiceKey,
    ServiceOptions,
    SetServer,
    SetService,
    SingleChange,
    Timeouts,
)
from nodeplane.datapath.nft.expr import Family

FAMILY_NAME = "IPVS"
_VERSION = 1

# IPVS_CMD_…
_NEW_SERVICE, _SET_SERVICE, _DEL_SERVICE, _GET_SERVICE = 1, 2, 3, 4
_NEW_DEST, _SET_DEST, _DEL_DEST, _GET_DEST = 5, 6, 7, 8
_SET_CONFIG, _GET_CONFIG = 12, 13

# IPVS_CMD_ATTR_…, IPVS_SVC_ATTR_…, IPVS_DEST_ATTR_…
_SERVICE, _DEST, _TIMEOUT_TCP, _TIMEOUT_TCP_FIN, _TIMEOUT_UDP = 1, 2, 4, 5, 6
_AF, _PROTOCOL, _ADDR, _PORT, _FWMARK, _SCHED_NAME, _FLAGS, _TIMEOUT, _NETMASK = range(1, 10)
_DEST_ADDR, _DEST_PORT, _FWD_METHOD, _WEIGHT, _U_THRESH, _L_THRESH = range(1, 7)
_ACTIVE, _INACTIVE, _PERSISTENT, _ADDR_FAMILY = 7, 8, 9, 11

_HASHED = 0x2  # IP_VS_SVC_F_HASHED, the kernel's own
_METHOD_MASK = 0x7  # IP_VS_CONN_F_FWD_MASK

_AFS: dict[Family, int] = {"ip": socket.AF_INET, "ip6": socket.AF_INET6}
_FAMILIES: dict[int, Family] = {number: name for name, number in _AFS.items()}
_ADDRESS_BYTES: dict[Family, int] = {"ip": 4, "ip6": 16}
_UNION_BYTES = 16  # union nf_inet_addr
_U16, _U32, _PORT_NUMBER = struct.Struct("=H"), struct.Struct("=I"), struct.Struct(">H")


def _u32(kind: int, value: int) -> bytes:
    return nl.attribute(kind, _U32.pack(value & 0xFFFFFFFF))


class _NameLayout:
    """The bytes between the fields of a virtual service's name: they are the same in all of a family."""

    def __init__(self, family: Family) -> None:
        self.family = nl.attribute(_AF, _U16.pack(_AFS[family]))
        self.before_protocol = self.family + nl.attribute(_PROTOCOL, bytes(2))[:4]
        self.before_address = bytes(2) + nl.attribute(_ADDR, bytes(_UNION_BYTES))[:4]
        unused = _UNION_BYTES - _ADDRESS_BYTES[family]
        self.before_port = bytes(unused) + nl.attribute(_PORT, bytes(2))[:4]
        self.after = bytes(2)


_NAME_LAYOUTS: dict[Family, _NameLayout] = {family: _NameLayout(family) for family in _AFS}


@lru_cache(maxsize=64)
def _name_service(key: ServiceKey) -> bytes:
    """Encode the attributes that name a virtual service: as a rule several messages in a row have one."""
    layout = _NAME_LAYOUTS[key.family]
    if key.mark:
        return layout.family + _u32(_FWMARK, key.mark)
    return b"".join(
        (
            layout.before_protocol,
            _U16.pack(key.protocol),
            layout.before_address,
            key.address,
            layout.before_port,
            _PORT_NUMBER.pack(key.port),
            layout.after,
        )
    )


def _of_service(key: ServiceKey) -> bytes:
    """Encode which virtual service a message is about."""
    return nl.nested(_SERVICE, _name_service(key))


@lru_cache(maxsize=1 << 10)
def _encode_options(family: Family, options: ServiceOptions) -> bytes:
    order = ">I" if family == "ip" else "=I"
    return (
        nl.text(_SCHED_NAME, options.scheduler)
        + nl.attribute(_FLAGS, struct.pack("=II", options.flags, 0xFFFFFFFF))
        + _u32(_TIMEOUT, options.timeout_s)
        + nl.attribute(_NETMASK, struct.pack(order, options.netmask))
    )


class _ServerLayout:
    """The bytes between the fields of a real server: they are the same in all of a family."""

    def __init__(self, family: Family) -> None:
        whole = nl.nested(
            _DEST,
            nl.attribute(_DEST_ADDR, bytes(_UNION_BYTES)),
            nl.attribute(_DEST_PORT, bytes(2)),
            _u32(_FWD_METHOD, 0),
            _u32(_WEIGHT, 0),
            _u32(_U_THRESH, 0),
            _u32(_L_THRESH, 0),
            nl.attribute(_ADDR_FAMILY, _U16.pack(_AFS[family])),
        )
        # Two headers before the address; the port's, padded; then method and weight with a header each.
        self.before_address = whole[:8]
        self.before_port = bytes(_UNION_BYTES - _ADDRESS_BYTES[family]) + whole[24:28]
        self.before_method = whole[30:36]
        self.before_weight = whole[40:44]
        self.after = whole[48:]
        self.masqueraded = self.before_method + _U32.pack(0) + self.before_weight
        self.length = len(whole)

    def encode(self, server: ServerKey, use: RealServer) -> bytes:
        """Encode a real server whole, as to add and to set it."""
        return b"".join(
            (
                self.before_address,
                server.address,
                self.before_port,
                _PORT_NUMBER.pack(server.port),
                self.before_method,
                _U32.pack(use.method),
                self.before_weight,
                _U32.pack(use.weight),
                self.after,
            )
        )


_LAYOUTS: dict[Family, _ServerLayout] = {family: _ServerLayout(family) for family in _AFS}


def _name_server(family: Family, server: ServerKey) -> bytes:
    """Encode what names a real server, as to delete it."""
    return nl.nested(
        _DEST,
        nl.attribute(_DEST_ADDR, server.address.ljust(_UNION_BYTES, b"\0")),
        nl.attribute(_DEST_PORT, _PORT_NUMBER.pack(server.port)),
        nl.attribute(_ADDR_FAMILY, _U16.pack(_AFS[family])),
    )


def _encode_servers(netlink_family: int, sequence: int, change: NewServers) -> bytes:
    """Encode a message for each of several real servers, all of one number."""
    layout = _LAYOUTS[change.key.family]
    service = _of_service(change.key)
    length = nl.NLMSG.size + genetlink.HEADER.size + len(service) + layout.length
    head = nl.NLMSG.pack(length, netlink_family, nl.NLM_F_REQUEST, sequence, 0) + _head(_NEW_DEST) + service
    head += layout.before_address
    between, masqueraded, after = layout.before_port, layout.masqueraded, layout.after
    return b"".join(
        [
            head + packed[:-4] + between + packed[-4:-2] + masqueraded + _encode_weight(packed[-2:]) + after
            for packed in change.servers
        ]
    )


@lru_cache(maxsize=1 << 10)
def _encode_weight(packed: bytes) -> bytes:
    return _U32.pack(int.from_bytes(packed, "big"))


def _encode_change(change: SingleChange) -> tuple[int, bytes]:
    key = change.key
    match change:
        case NewServer(_, server, use) | SetServer(_, server, use):
            command = _NEW_DEST if isinstance(change, NewServer) else _SET_DEST
            return command, _of_service(key) + _LAYOUTS[key.family].encode(server, use)
        case DeleteServer(_, server):
            return _DEL_DEST, _of_service(key) + _name_server(key.family, server)
        case NewService(_, options) | SetService(_, options):
            command = _NEW_SERVICE if isinstance(change, NewService) else _SET_SERVICE
            return command, nl.nested(_SERVICE, _name_service(key), _encode_options(key.family, options))
        case DeleteService():
            return _DEL_SERVICE, _of_service(key)


def encode_change(netlink_family: int, sequence: int, change: Change) -> bytes:
    """Encode a change, which is one message or several of one number, from 1 on."""
    if isinstance(change, NewServers):
        return _encode_servers(netlink_family, sequence, change)
    command, body = _encode_change(change)
    return nl.request(netlink_family, 0, sequence, _head(command) + body)


def encode_end(netlink_family: int, sequence: int) -> bytes:
    """Encode what ends changes that are sent together: a question, acknowledged whatever became of them."""
    return nl.request(netlink_family, nl.NLM_F_ACK, sequence, _head(_GET_CONFIG))


def encode_services_query(netlink_family: int) -> bytes:
    """Encode the question for all virtual services."""
    return nl.request(netlink_family, nl.NLM_F_DUMP, 1, _head(_GET_SERVICE))


def encode_service_query(netlink_family: int, key: ServiceKey) -> bytes:
    """Encode the question for one virtual service."""
    return nl.request(netlink_family, 0, 1, _head(_GET_SERVICE) + _of_service(key))


def encode_servers_query(netlink_family: int, key: ServiceKey) -> bytes:
    """Encode the question for the real servers of a virtual service."""
    body = _head(_GET_DEST) + _of_service(key)
    return nl.request(netlink_family, nl.NLM_F_DUMP, 1, body)


def encode_timeouts_query(netlink_family: int) -> bytes:
    """Encode the question for the time-outs."""
    return nl.request(netlink_family, 0, 1, _head(_GET_CONFIG))


def encode_timeouts(netlink_family: int, timeouts: Timeouts) -> bytes:
    """Encode time-outs to be set; one of 0 stays as it is."""
    body = _u32(_TIMEOUT_TCP, timeouts.tcp_s)
    body += _u32(_TIMEOUT_TCP_FIN, timeouts.tcp_fin_s) + _u32(_TIMEOUT_UDP, timeouts.udp_s)
    return nl.request(netlink_family, nl.NLM_F_ACK, 1, _head(_SET_CONFIG) + body)


def decode_services(payloads: Iterable[memoryview]) -> Iterator[tuple[ServiceKey, ServiceOptions]]:
    """Yield the virtual services of a dump; those of other address families are left out."""
    for facts in _parts(payloads, _SERVICE):
        family = _FAMILIES.get(_number(facts, _AF))
        if family is None:
            continue
        if _FWMARK in facts:
            key = ServiceKey(family, mark=_number(facts, _FWMARK))
        else:
            address = bytes(facts.get(_ADDR, b""))[: _ADDRESS_BYTES[family]]
            key = ServiceKey(family, _number(facts, _PROTOCOL), address, _port(facts, _PORT))
        netmask = bytes(facts.get(_NETMASK, b""))
        yield (
            key,
            ServiceOptions(
                scheduler=nl.read_text(facts.get(_SCHED_NAME, memoryview(b""))),
                flags=int.from_bytes(bytes(facts.get(_FLAGS, b""))[:4], sys.byteorder) & ~_HASHED,
                timeout_s=_number(facts, _TIMEOUT),
                netmask=int.from_bytes(netmask, "big" if family == "ip" else sys.byteorder),
            ),
        )


def decode_servers(family: Family, payloads: Iterable[memoryview]) -> Iterator[tuple[ServerKey, ServerUse]]:
    """Yield the real servers of a dump about one virtual service of a family."""
    for facts in _parts(payloads, _DEST):
        address = bytes(facts.get(_DEST_ADDR, b""))[: _ADDRESS_BYTES[family]]
        # The kernel's own bits stand beside the method's.
        method = _number(facts, _FWD_METHOD) & _METHOD_MASK
        counts = (_number(facts, kind) for kind in (_ACTIVE, _INACTIVE, _PERSISTENT))
        yield (
            ServerKey(address, _port(facts, _DEST_PORT)),
            ServerUse(RealServer(_number(facts, _WEIGHT), method), *counts),
        )


def decode_timeouts(payload: memoryview) -> Timeouts:
    """Decode the time-outs."""
    facts = nl.attribute_map(payload[genetlink.HEADER.size :])
    return Timeouts(*(_number(facts, kind) for kind in (_TIMEOUT_TCP, _TIMEOUT_TCP_FIN, _TIMEOUT_UDP)))


def _parts(payloads: Iterable[memoryview], kind: int) -> Iterator[dict[int, memoryview]]:
    for payload in payloads:
        facts = nl.attribute_map(payload[genetlink.HEADER.size :])
        if kind in facts:
            yield nl.attribute_map(facts[kind])


def _head(command: int) -> bytes:
    return genetlink.HEADER.pack(command, _VERSION, 0)


def _number(facts: dict[int, memoryview], kind: int) -> int:
    return int.from_bytes(facts[kind], sys.byteorder) if kind in facts else 0


def _port(facts: dict[int, memoryview], kind: int) -> int:
    return int.from_bytes(facts[kind], "big") if kind in facts else 0
