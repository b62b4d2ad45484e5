"""What IPVS answers by generic netlink, from bytes to values (ip_vs_ctl.c, ip_vs_genl_fill_…). Pure."""

import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache

from nodeplane.datapath import genetlink
from nodeplane.datapath import netlink as nl
from nodeplane.datapath.ipvs import number as at
from nodeplane.datapath.ipvs.service import (
    RealServer,
    ServerKey,
    ServerUse,
    ServiceKey,
    ServiceOptions,
    Timeouts,
)
from nodeplane.datapath.nft.expr import Family

_WHOLE_AT = genetlink.HEADER.size
# Of flags, time-out and netmask, each with its header.
_BEHIND_SCHEDULER = 12 + 8 + 8
_LAID_OUT = {at.SCHED_NAME, at.FLAGS, at.TIMEOUT, at.NETMASK}


class _Layout:
    """Where the kernel puts what names a virtual service of a family, and begins with how it chooses."""

    def __init__(self, family: Family) -> None:
        between = at.NAME_LAYOUTS[family]
        self.family: Family = family
        self.name = between.before_protocol
        self.before_address = between.before_address
        self.before_port = between.before_port
        # Behind the header of the whole.
        self.name_at = _WHOLE_AT + 4
        self.protocol_at = self.name_at + len(self.name)
        self.address_at = self.protocol_at + 2 + len(self.before_address)
        self.gap_at = self.address_at + at.ADDRESS_BYTES[family]
        self.port_at = self.gap_at + len(self.before_port)
        self.options_at = self.port_at + 2 + len(between.after)

    def decode(self, data: bytes) -> tuple[ServiceKey, ServiceOptions] | None:
        """Decode a virtual service; None if it is laid out otherwise, as that of a mark."""
        if not (
            int.from_bytes(data[_WHOLE_AT + 2 : self.name_at], sys.byteorder) == at.SERVICE
            and data.startswith(self.name, self.name_at)
            and data.startswith(self.before_address, self.protocol_at + 2)
            and data.startswith(self.before_port, self.gap_at)
        ):
            return None
        length = int.from_bytes(data[self.options_at : self.options_at + 2], sys.byteorder)
        end = self.options_at + (length + 3 & ~3) + _BEHIND_SCHEDULER
        options = _decode_laid_out(self.family, data[self.options_at : end])
        if options is None:
            return None
        protocol = int.from_bytes(data[self.protocol_at : self.protocol_at + 2], sys.byteorder)
        port = int.from_bytes(data[self.port_at : self.port_at + 2], "big")
        return ServiceKey(self.family, protocol, data[self.address_at : self.gap_at], port), options


_LAYOUTS = tuple(_Layout(family) for family in at.AFS)


def decode_services(payloads: Iterable[memoryview]) -> Iterator[tuple[ServiceKey, ServiceOptions]]:
    """Yield the virtual services of a dump; those of other address families are left out."""
    for payload in payloads:
        data = bytes(payload)
        # As a rule it is where the kernel puts it; looking for each attribute takes four times as long.
        found = next(filter(None, (layout.decode(data) for layout in _LAYOUTS)), None)
        yield from _decode_any(payload) if found is None else (found,)


def _decode_any(payload: memoryview) -> Iterator[tuple[ServiceKey, ServiceOptions]]:
    """Decode a virtual service whatever the order of its attributes is."""
    for facts in _parts([payload], at.SERVICE):
        family = at.FAMILIES.get(_number(facts, at.AF))
        if family is None:
            continue
        if at.FWMARK in facts:
            key = ServiceKey(family, mark=_number(facts, at.FWMARK))
        else:
            address = bytes(facts.get(at.ADDR, b""))[: at.ADDRESS_BYTES[family]]
            key = ServiceKey(family, _number(facts, at.PROTOCOL), address, _port(facts, at.PORT))
        yield key, _decode_options(family, facts)


def _decode_options(family: Family, facts: dict[int, memoryview]) -> ServiceOptions:
    netmask = bytes(facts.get(at.NETMASK, b""))
    return ServiceOptions(
        scheduler=nl.read_text(facts.get(at.SCHED_NAME, memoryview(b""))),
        flags=int.from_bytes(bytes(facts.get(at.FLAGS, b""))[:4], sys.byteorder) & ~at.HASHED,
        timeout_s=_number(facts, at.TIMEOUT),
        netmask=int.from_bytes(netmask, "big" if family == "ip" else sys.byteorder),
    )


@lru_cache(maxsize=1 << 10)
def _decode_laid_out(family: Family, data: bytes) -> ServiceOptions | None:
    """Decode how a virtual service chooses, which is the same for many; None if more belongs to it."""
    facts = nl.attribute_map(memoryview(data))
    return _decode_options(family, facts) if facts.keys() == _LAID_OUT else None


def decode_servers(family: Family, payloads: Iterable[memoryview]) -> Iterator[tuple[ServerKey, ServerUse]]:
    """Yield the real servers of a dump about one virtual service of a family."""
    for facts in _parts(payloads, at.DEST):
        address = bytes(facts.get(at.DEST_ADDR, b""))[: at.ADDRESS_BYTES[family]]
        # The kernel's own bits stand beside the method's.
        method = _number(facts, at.FWD_METHOD) & at.METHOD_MASK
        counts = (_number(facts, kind) for kind in (at.ACTIVE, at.INACTIVE, at.PERSISTENT))
        yield (
            ServerKey(address, _port(facts, at.DEST_PORT)),
            ServerUse(RealServer(_number(facts, at.WEIGHT), method), *counts),
        )


def decode_timeouts(payload: memoryview) -> Timeouts:
    """Decode the time-outs."""
    facts = nl.attribute_map(payload[genetlink.HEADER.size :])
    return Timeouts(*(_number(facts, kind) for kind in (at.TIMEOUT_TCP, at.TIMEOUT_TCP_FIN, at.TIMEOUT_UDP)))


def _parts(payloads: Iterable[memoryview], kind: int) -> Iterator[dict[int, memoryview]]:
    for payload in payloads:
        facts = nl.attribute_map(payload[genetlink.HEADER.size :])
        if kind in facts:
            yield nl.attribute_map(facts[kind])


def _number(facts: dict[int, memoryview], kind: int) -> int:
    return int.from_bytes(facts[kind], sys.byteorder) if kind in facts else 0


def _port(facts: dict[int, memoryview], kind: int) -> int:
    return int.from_bytes(facts[kind], "big") if kind in facts else 0
