"""What the kernel tells of packets with `meta nftrace set 1`: each rule that they meet, and the verdicts.

Decodes the messages of NFNLGRP_NFTRACE (net/netfilter/nf_tables_trace.c). The head of the packet comes with
the first message of each base chain alone.
"""

from collections.abc import Iterator
from typing import Literal

import msgspec

from nodeplane.datapath import netlink as nl
from nodeplane.datapath.netlink_listener import NetlinkListener
from nodeplane.datapath.nft.expr import NFPROTO
from nodeplane.datapath.nft.netlink import NFNL_SUBSYS_NFTABLES

_GROUPS = 1 << 8  # NFNLGRP_NFTRACE
_BUFFER_BYTES = 4 << 20
_TRACE = NFNL_SUBSYS_NFTABLES << 8 | 17  # NFT_MSG_TRACE

# enum nft_trace_attributes
_TABLE, _CHAIN, _HANDLE, _TYPE, _VERDICT, _ID = 1, 2, 3, 4, 5, 6
_NETWORK, _TRANSPORT, _IIF, _OIF, _POLICY = 8, 9, 10, 12, 16

TraceKind = Literal["policy", "return", "rule"]
_KINDS: dict[int, TraceKind] = {1: "policy", 2: "return", 3: "rule"}
_VERDICTS = {
    0: "drop",
    1: "accept",
    2: "stolen",
    3: "queue",
    -1: "continue",
    -2: "break",
    -3: "jump",
    -4: "goto",
    -5: "return",
}
_FAMILIES = {number: name for name, number in NFPROTO.items()} | {5: "netdev"}


class RuleMet(msgspec.Struct, frozen=True):
    """A rule that a packet met, or the end of a chain.

    Attributes:
        packet: The kernel's number for the packet, the same in all hooks of a namespace.
        handle: The rule's, as `nft -a list` shows it; 0 where a chain has ended.
        verdict: The rule's own, or (`policy`) the chain's.
        target: The chain that `jump` and `goto` lead to.
        network: The network header, with the first message of a base chain.
        transport: The beginning of what follows it.
        iif: Index of the interface that the packet came in by, 0 for none.
        oif: Index of the one that it leaves by.
    """

    packet: int
    family: str
    table: str
    chain: str
    kind: TraceKind
    handle: int = 0
    verdict: str = ""
    target: str = ""
    network: bytes = b""
    transport: bytes = b""
    iif: int = 0
    oif: int = 0


def decode_rules_met(datagram: bytes) -> Iterator[RuleMet]:
    """Yield what a datagram tells; messages of kinds that are not known are left out."""
    for kind, _flags, _sequence, payload in nl.messages(datagram):
        if kind != _TRACE or len(payload) < nl.NFGEN.size:
            continue
        family = nl.NFGEN.unpack_from(payload)[0]
        facts = nl.attribute_map(nl.nf_payload(payload))
        trace_kind = _KINDS.get(_number(facts, _TYPE))
        if trace_kind is None or _ID not in facts:
            continue
        verdict, target = _decode_verdict(facts)
        yield RuleMet(
            packet=_number(facts, _ID),
            family=_FAMILIES.get(family, str(family)),
            table=_text(facts, _TABLE),
            chain=_text(facts, _CHAIN),
            kind=trace_kind,
            handle=_number(facts, _HANDLE),
            verdict=verdict,
            target=target,
            network=bytes(facts.get(_NETWORK, b"")),
            transport=bytes(facts.get(_TRANSPORT, b"")),
            iif=_number(facts, _IIF),
            oif=_number(facts, _OIF),
        )


class TraceListener:
    """Hears of traced packets of the calling thread's namespace from when it is made.

    Raises:
        KernelError: the socket can't be had.
    """

    def __init__(self) -> None:
        self._listener = NetlinkListener("the rule trace", nl.NETLINK_NETFILTER, _GROUPS, _BUFFER_BYTES)

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()

    def take(self) -> tuple[list[RuleMet], bool]:
        """Return what has been told since the last call, and whether some of it was lost.

        Raises:
            KernelError: the socket failed.
        """
        found: list[RuleMet] = []
        is_whole = True
        while (data := self._listener.receive_more()) != b"":
            if data is None:
                is_whole = False
            else:
                found += decode_rules_met(data)
        return found, is_whole


def _decode_verdict(facts: dict[int, memoryview]) -> tuple[str, str]:
    if _POLICY in facts:
        return _VERDICTS.get(_number(facts, _POLICY), ""), ""
    parts = nl.attribute_map(facts[_VERDICT]) if _VERDICT in facts else {}
    if 1 not in parts:
        return "", ""
    # The upper half of a verdict is data of its own (NF_VERDICT_MASK); codes below 0 have none.
    code = int.from_bytes(parts[1], "big", signed=True)
    return _VERDICTS.get(code if code < 0 else code & 0xFF, str(code)), _text(parts, 2)


def _number(facts: dict[int, memoryview], kind: int) -> int:
    return int.from_bytes(facts.get(kind, b""), "big")


def _text(facts: dict[int, memoryview], kind: int) -> str:
    return nl.read_text(facts[kind]) if kind in facts else ""
