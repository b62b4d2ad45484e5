"""rtnetlink messages of queueing disciplines and filters (linux/pkt_sched.h, pkt_cls.h, tc_act/tc_mirred.h).

Only bytes; what is sent when is `shaping_kernel`'s. The token bucket is marked as ours by its handle, the
filter by its preference: neither takes part in anything else, as a link has one root and we filter all.
"""

import struct

from nodeplane.datapath import netlink as nl
from nodeplane.datapath.rtnl.link_codec import new_link
from nodeplane.datapath.shaping import Bucket

NEWQDISC, DELQDISC, GETQDISC = 36, 37, 38
NEWTFILTER, DELTFILTER, GETTFILTER = 44, 45, 46

_HEAD = struct.Struct("=BxHiIII")  # struct tcmsg: family, (pad), index, handle, parent, info
_ROOT, _INGRESS, _INGRESS_HANDLE = 0xFFFFFFFF, 0xFFFFFFF1, 0xFFFF0000
_OUR_HANDLE = 0x6E700000  # "np"
_OUR_PREFERENCE = 0x6E70
_TCA_KIND, _TCA_OPTIONS = 1, 2

# struct tc_tbf_qopt: two struct tc_ratespec (cell_log, linklayer, overhead, cell_align, mpu, rate), then
# limit, buffer and mtu
_RATE = struct.Struct("=BBHhHI")
_BUCKET = struct.Struct("=III")
_LINKLAYER_ETHERNET = 1
_TBF_PARMS, _TBF_RATE64 = 1, 4
_LONG_RATE = 1 << 32

_ETH_P_ALL = 0x0300  # as it is on the wire
_U32_SELECTOR, _U32_ACTIONS, _U32_TERMINAL = 5, 7, 1
# struct tc_u32_sel with one key (mask, value, offset, mask of the offset) that everything fits
_EVERYTHING = struct.pack("=BBBxHHhhI", _U32_TERMINAL, 0, 1, 0, 0, 0, 0, 0) + bytes(16)
_ACT_KIND, _ACT_OPTIONS, _MIRRED_PARMS = 1, 2, 2
_MIRRED = struct.Struct(
    "=IIiiiiI"
)  # struct tc_mirred: index, capab, action, refcnt, bindcnt, eaction, ifindex
_STOLEN, _EGRESS_REDIRECT = 4, 1


def new_ifb(name: str, mtu_bytes: int) -> bytes:
    """Encode an ifb to be made, up."""
    return new_link(name, "ifb", mtu_bytes=mtu_bytes, is_up=True)


def root(index: int) -> bytes:
    """Encode which link's root a message is about."""
    return _HEAD.pack(0, 0, index, 0, _ROOT, 0)


def bucket(index: int, value: Bucket) -> bytes:
    """Encode a token bucket at a link's root."""
    short = min(value.rate_bytes, _LONG_RATE - 1)
    rate = _RATE.pack(0, _LINKLAYER_ETHERNET, 0, 0, 0, short)
    parameters = rate + bytes(_RATE.size) + _BUCKET.pack(value.limit_bytes, value.ticks, 0)
    options = [nl.attribute(_TBF_PARMS, parameters)]
    if value.rate_bytes >= _LONG_RATE:
        options.append(nl.attribute(_TBF_RATE64, struct.pack("=Q", value.rate_bytes)))
    head = _HEAD.pack(0, 0, index, _OUR_HANDLE, _ROOT, 0)
    return head + nl.text(_TCA_KIND, "tbf") + nl.nested(_TCA_OPTIONS, *options)


def decode_bucket(payload: memoryview) -> Bucket | None:
    """Decode what is at a link's root; None if it is not ours."""
    handle = _HEAD.unpack_from(payload)[3]
    facts = nl.attribute_map(payload[_HEAD.size :])
    if handle != _OUR_HANDLE or nl.read_text(facts[_TCA_KIND]) != "tbf":
        return None
    options = nl.attribute_map(facts[_TCA_OPTIONS])
    parameters = options[_TBF_PARMS]
    rate: int = _RATE.unpack_from(parameters)[-1]
    if _TBF_RATE64 in options:
        (rate,) = struct.unpack("=Q", options[_TBF_RATE64])
    limit, ticks, _ = _BUCKET.unpack_from(parameters, 2 * _RATE.size)
    return Bucket(rate, ticks, limit)


def ingress(index: int) -> bytes:
    """Encode the place of the filters of what a link receives, to be made or deleted."""
    head = _HEAD.pack(0, 0, index, _INGRESS_HANDLE, _INGRESS, 0)
    return head + nl.text(_TCA_KIND, "ingress")


def filters(index: int) -> bytes:
    """Encode the question for the filters of what a link receives."""
    return _HEAD.pack(0, 0, index, 0, _INGRESS_HANDLE, 0)


def redirection(index: int, target: int) -> bytes:
    """Encode the filter that sends all that a link receives through another."""
    # A preference that others have no reason to use: it says whose the filter is.
    head = _HEAD.pack(0, 0, index, 0, _INGRESS_HANDLE, _OUR_PREFERENCE << 16 | _ETH_P_ALL)
    mirred = _MIRRED.pack(0, 0, _STOLEN, 0, 0, _EGRESS_REDIRECT, target)
    action = nl.nested(
        1, nl.text(_ACT_KIND, "mirred"), nl.nested(_ACT_OPTIONS, nl.attribute(_MIRRED_PARMS, mirred))
    )
    options = nl.attribute(_U32_SELECTOR, _EVERYTHING) + nl.nested(_U32_ACTIONS, action)
    return head + nl.text(_TCA_KIND, "u32") + nl.attribute(_TCA_OPTIONS, options)


def decode_target(payload: memoryview) -> int | None:
    """Decode the index of the link that a filter of ours leads through; None for all else."""
    info = _HEAD.unpack_from(payload)[5]
    facts = nl.attribute_map(payload[_HEAD.size :])
    if info >> 16 != _OUR_PREFERENCE or _TCA_OPTIONS not in facts:
        return None
    options = nl.attribute_map(facts[_TCA_OPTIONS])
    if _U32_ACTIONS not in options or bytes(options.get(_U32_SELECTOR, b""))[-16:] != bytes(16):
        return None
    for _, each in nl.attributes(options[_U32_ACTIONS]):
        action = nl.attribute_map(each)
        if nl.read_text(action[_ACT_KIND]) == "mirred":
            values = _MIRRED.unpack_from(nl.attribute_map(action[_ACT_OPTIONS])[_MIRRED_PARMS])
            if (values[2], values[5]) == (_STOLEN, _EGRESS_REDIRECT):
                target: int = values[6]
                return target
    return None
