"""Requests to IPVS by generic netlink, as bytes (linux/ip_vs.h; net/netfilter/ipvs/ip_vs_ctl.c). Pure.

Of each message the part that names a virtual service is encoded once and kept: a full load is forty thousand
messages about ten thousand of them. Numbers are host-endian but for ports and IPv4 netmasks.
"""

import struct
from functools import lru_cache

from nodeplane.datapath import genetlink
from nodeplane.datapath import netlink as nl
from nodeplane.datapath.ipvs import number as at
from nodeplane.datapath.ipvs.service import (
    Change,
    DeleteServer,
    DeleteService,
    NewServer,
    NewServers,
    NewService,
    RealServer,
    ServerKey,
    ServiceKey,
    ServiceOptions,
    SetServer,
    SetService,
    SingleChange,
    Timeouts,
)
from nodeplane.datapath.nft.expr import Family

_U32, _PORT_NUMBER = struct.Struct("=I"), struct.Struct(">H")


def _u32(kind: int, value: int) -> bytes:
    return nl.attribute(kind, _U32.pack(value & 0xFFFFFFFF))


@lru_cache(maxsize=64)
def _name_service(key: ServiceKey) -> bytes:
    """Encode the attributes that name a virtual service: as a rule several messages in a row have one."""
    layout = at.NAME_LAYOUTS[key.family]
    if key.mark:
        return layout.family + _u32(at.FWMARK, key.mark)
    return b"".join(
        (
            layout.before_protocol,
            at.U16.pack(key.protocol),
            layout.before_address,
            key.address,
            layout.before_port,
            _PORT_NUMBER.pack(key.port),
            layout.after,
        )
    )


def _of_service(key: ServiceKey) -> bytes:
    """Encode which virtual service a message is about."""
    return nl.nested(at.SERVICE, _name_service(key))


@lru_cache(maxsize=1 << 10)
def _encode_options(family: Family, options: ServiceOptions) -> bytes:
    order = ">I" if family == "ip" else "=I"
    return (
        nl.text(at.SCHED_NAME, options.scheduler)
        + nl.attribute(at.FLAGS, struct.pack("=II", options.flags, 0xFFFFFFFF))
        + _u32(at.TIMEOUT, options.timeout_s)
        + nl.attribute(at.NETMASK, struct.pack(order, options.netmask))
    )


class _ServerLayout:
    """The bytes between the fields of a real server: they are the same in all of a family."""

    def __init__(self, family: Family) -> None:
        whole = nl.nested(
            at.DEST,
            nl.attribute(at.DEST_ADDR, bytes(at.UNION_BYTES)),
            nl.attribute(at.DEST_PORT, bytes(2)),
            _u32(at.FWD_METHOD, 0),
            _u32(at.WEIGHT, 0),
            _u32(at.U_THRESH, 0),
            _u32(at.L_THRESH, 0),
            nl.attribute(at.ADDR_FAMILY, at.U16.pack(at.AFS[family])),
        )
        # Two headers before the address; the port's, padded; then method and weight with a header each.
        self.before_address = whole[:8]
        self.before_port = bytes(at.UNION_BYTES - at.ADDRESS_BYTES[family]) + whole[24:28]
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


_LAYOUTS: dict[Family, _ServerLayout] = {family: _ServerLayout(family) for family in at.AFS}


def _name_server(family: Family, server: ServerKey) -> bytes:
    """Encode what names a real server, as to delete it."""
    return nl.nested(
        at.DEST,
        nl.attribute(at.DEST_ADDR, server.address.ljust(at.UNION_BYTES, b"\0")),
        nl.attribute(at.DEST_PORT, _PORT_NUMBER.pack(server.port)),
        nl.attribute(at.ADDR_FAMILY, at.U16.pack(at.AFS[family])),
    )


def _encode_servers(netlink_family: int, sequence: int, change: NewServers) -> bytes:
    """Encode a message for each of several real servers, all of one number."""
    layout = _LAYOUTS[change.key.family]
    service = _of_service(change.key)
    length = nl.NLMSG.size + genetlink.HEADER.size + len(service) + layout.length
    head = nl.NLMSG.pack(length, netlink_family, nl.NLM_F_REQUEST, sequence, 0) + _head(at.NEW_DEST) + service
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
            command = at.NEW_DEST if isinstance(change, NewServer) else at.SET_DEST
            return command, _of_service(key) + _LAYOUTS[key.family].encode(server, use)
        case DeleteServer(_, server):
            return at.DEL_DEST, _of_service(key) + _name_server(key.family, server)
        case NewService(_, options) | SetService(_, options):
            command = at.NEW_SERVICE if isinstance(change, NewService) else at.SET_SERVICE
            return command, nl.nested(at.SERVICE, _name_service(key), _encode_options(key.family, options))
        case DeleteService():
            return at.DEL_SERVICE, _of_service(key)


def encode_change(netlink_family: int, sequence: int, change: Change) -> bytes:
    """Encode a change, which is one message or several of one number, from 1 on."""
    if isinstance(change, NewServers):
        return _encode_servers(netlink_family, sequence, change)
    command, body = _encode_change(change)
    return nl.request(netlink_family, 0, sequence, _head(command) + body)


def encode_end(netlink_family: int, sequence: int) -> bytes:
    """Encode what ends changes that are sent together: a question, acknowledged whatever became of them."""
    return nl.request(netlink_family, nl.NLM_F_ACK, sequence, _head(at.GET_CONFIG))


def encode_services_query(netlink_family: int) -> bytes:
    """Encode the question for all virtual services."""
    return nl.request(netlink_family, nl.NLM_F_DUMP, 1, _head(at.GET_SERVICE))


def encode_service_query(netlink_family: int, key: ServiceKey) -> bytes:
    """Encode the question for one virtual service."""
    return nl.request(netlink_family, 0, 1, _head(at.GET_SERVICE) + _of_service(key))


def encode_servers_query(netlink_family: int, key: ServiceKey) -> bytes:
    """Encode the question for the real servers of a virtual service."""
    body = _head(at.GET_DEST) + _of_service(key)
    return nl.request(netlink_family, nl.NLM_F_DUMP, 1, body)


def encode_timeouts_query(netlink_family: int) -> bytes:
    """Encode the question for the time-outs."""
    return nl.request(netlink_family, 0, 1, _head(at.GET_CONFIG))


def encode_timeouts(netlink_family: int, timeouts: Timeouts) -> bytes:
    """Encode time-outs to be set; one of 0 stays as it is."""
    body = _u32(at.TIMEOUT_TCP, timeouts.tcp_s)
    body += _u32(at.TIMEOUT_TCP_FIN, timeouts.tcp_fin_s) + _u32(at.TIMEOUT_UDP, timeouts.udp_s)
    return nl.request(netlink_family, nl.NLM_F_ACK, 1, _head(at.SET_CONFIG) + body)


def _head(command: int) -> bytes:
    return genetlink.HEADER.pack(command, at.VERSION, 0)
