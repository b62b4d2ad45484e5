"""What nf_tables has of its own in netlink (linux/netfilter/nf_tables.h); the rest is `datapath.netlink`."""

from nodeplane.datapath.netlink import (
    HEADER_LENGTH,
    NETLINK_NETFILTER,
    NFGEN,
    NLM_F_ACK,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_EXCL,
    NLM_F_REQUEST,
    NLMSG,
    NLMSG_DONE,
    NLMSG_ERROR,
    NLMSG_OVERRUN,
    attribute,
    attribute_map,
    attributes,
    messages,
    nested,
    nf_payload,
    read_text,
    read_u32,
    request,
    text,
    u32,
)

__all__ = [
    "HEADER_LENGTH",
    "NETLINK_NETFILTER",
    "NLMSG",
    "NLMSG_DONE",
    "NLMSG_ERROR",
    "NLMSG_OVERRUN",
    "NLM_F_ACK",
    "NLM_F_APPEND",
    "NLM_F_CREATE",
    "NLM_F_DUMP",
    "NLM_F_DUMP_INTR",
    "NLM_F_EXCL",
    "NLM_F_REQUEST",
    "attribute",
    "attribute_map",
    "attributes",
    "messages",
    "nested",
    "nf_payload",
    "read_text",
    "read_u32",
    "text",
    "u32",
]

NFNL_SUBSYS_NFTABLES = 10
NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END = 0x10, 0x11

NEWTABLE, GETTABLE, DELTABLE = 0, 1, 2
NEWCHAIN, GETCHAIN, DELCHAIN = 3, 4, 5
NEWRULE, GETRULE, DELRULE = 6, 7, 8
NEWSET, GETSET, DELSET = 9, 10, 11
NEWSETELEM, GETSETELEM, DELSETELEM = 12, 13, 14
NEWGEN, GETGEN = 15, 16
GETOBJ, DELOBJ = 19, 20
GETFLOWTABLE, DELFLOWTABLE = 23, 24


def message(operation: int, flags: int, sequence: int, family: int, payload: bytes) -> bytes:
    """Encode one nf_tables request."""
    kind = NFNL_SUBSYS_NFTABLES << 8 | operation
    return request(kind, flags, sequence, NFGEN.pack(family, 0, 0) + payload)


def batch_mark(operation: int, sequence: int) -> bytes:
    """Encode the begin or end mark of a transaction for nf_tables."""
    header = NLMSG.pack(HEADER_LENGTH, operation, NLM_F_REQUEST, sequence, 0)
    return header + NFGEN.pack(0, 0, NFNL_SUBSYS_NFTABLES)


def comment_userdata(kind: int, value: str) -> bytes:
    """Encode the user data that `nft list` prints as a comment (libnftnl udata.h: type, length, value)."""
    data = value.encode()[:253] + b"\0"
    return bytes((kind, len(data))) + data
