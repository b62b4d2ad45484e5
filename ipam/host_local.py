"""The address ranges of CNI's host-local plugin, as pools: for configurations that were written for it.

A range set gives one address. Its ranges become pools, one for each subnet, whose reserved part is what
host-local would not give out: the gateway, and what lies outside of `rangeStart` to `rangeEnd`. Such a pool
is on a link that its pods share, so that the subnet's edges stay out of use and the answer has its length.

Source: https://www.cni.dev/plugins/current/ipam/host-local/ and what Debian's host-local 1.1.1 does.
"""

from collections.abc import Iterator, Sequence
from ipaddress import ip_address, ip_network, summarize_address_range
from typing import Any

import msgspec

from ipam.model import Address, Network, Pool
from nodeplane.cnispec import PLACE
from nodeplane.errors import ConfigError

POOL_PREFIX = "host-local-"
"""What the names of these pools begin with."""

_BLOCK_SIZE = {4: 26, 6: 122}
# As in Calico a block has at most 4,096 addresses; the smallest subnet is the block itself.
_SMALLEST = {4: 30, 6: 126}


class RangeConfig(msgspec.Struct, frozen=True, rename="camel"):
    """A range as it is written."""

    subnet: str = ""
    range_start: str = ""
    range_end: str = ""
    gateway: str = ""


class Range(msgspec.Struct, frozen=True):
    """A range as a pool, and the gateway that its pods are told."""

    pool: Pool
    gateway: Address


class _Span(msgspec.Struct, frozen=True):
    """One range, checked."""

    subnet: Network
    first: Address
    last: Address
    gateway: Address
    field: str


def build_range_sets(
    sets: Sequence[Sequence[RangeConfig]], fields: Sequence[str]
) -> tuple[tuple[Range, ...], ...]:
    """Return the pools of each range set; `fields` says where each set is written.

    Raises:
        ConfigError: a range is not valid, or two overlap, or two sets share a subnet.
    """
    built: list[tuple[Range, ...]] = []
    known: list[_Span] = []
    for ranges, field in zip(sets, fields, strict=True):
        if not ranges:
            raise ConfigError(PLACE, field, "expected at least one range")
        spans = [_check(item, f"{field}[{index}]") for index, item in enumerate(ranges)]
        for span in spans:
            if span.subnet.version != spans[0].subnet.version:
                raise ConfigError(PLACE, span.field, "expected ranges of one address family in a set")
            _expect_apart(span, known, [other for other in spans if other is not span])
        known += spans
        built.append(tuple(_build_ranges(spans)))
    return tuple(built)


def _check(item: RangeConfig, field: str) -> _Span:
    if not item.subnet:
        raise ConfigError(PLACE, f"{field}.subnet", "expected, but missing")
    try:
        subnet: Network = ip_network(item.subnet)
    except ValueError as exc:
        raise ConfigError(PLACE, f"{field}.subnet", f"expected a network: {exc}") from exc
    smallest = _SMALLEST[subnet.version]
    if subnet.prefixlen > smallest:
        raise ConfigError(PLACE, f"{field}.subnet", f"expected /{smallest} or larger, got {subnet}")
    gateway = _address(item.gateway, f"{field}.gateway") or subnet[1]
    if gateway.version != subnet.version:
        raise ConfigError(PLACE, f"{field}.gateway", f"expected IPv{subnet.version}, got {gateway}")
    first = _address(item.range_start, f"{field}.rangeStart") or subnet[1]
    # An IPv6 subnet has no broadcast address (RFC 4291 section 2).
    last = _address(item.range_end, f"{field}.rangeEnd") or subnet[-2 if subnet.version == 4 else -1]
    for name, address in (("rangeStart", first), ("rangeEnd", last)):
        if address not in subnet:
            raise ConfigError(PLACE, f"{field}.{name}", f"expected an address of {subnet}, got {address}")
    if int(first) > int(last):
        raise ConfigError(PLACE, f"{field}.rangeEnd", f"expected it after rangeStart {first}, got {last}")
    return _Span(subnet, first, last, gateway, field)


def _address(text: str, field: str) -> Address | None:
    if not text:
        return None
    try:
        return ip_address(text)
    except ValueError as exc:
        raise ConfigError(PLACE, field, f"expected an address: {exc}") from exc


def _expect_apart(span: _Span, elsewhere: list[_Span], here: list[_Span]) -> None:
    """Refuse what would give one address from two places, or one block to two pools."""
    for other in here:
        is_same = other.subnet == span.subnet and other.gateway == span.gateway
        if not is_same and other.subnet.overlaps(span.subnet):
            raise ConfigError(PLACE, span.field, f"expected a subnet apart from {other.subnet}")
        if _overlap(span, other):
            expected = f"expected ranges apart, {span.first}-{span.last} overlaps {other.first}-{other.last}"
            raise ConfigError(PLACE, span.field, expected)
    for other in elsewhere:
        if other.subnet.overlaps(span.subnet):
            expected = f"expected each subnet in one range set, {other.field} has {other.subnet}"
            raise ConfigError(PLACE, span.field, expected)


def _overlap(one: _Span, two: _Span) -> bool:
    return int(one.first) <= int(two.last) and int(two.first) <= int(one.last)


def _build_ranges(spans: list[_Span]) -> Iterator[Range]:
    """Yield a pool for each subnet of a set, in the order of the ranges."""
    subnets: dict[Network, list[_Span]] = {}
    for span in spans:
        subnets.setdefault(span.subnet, []).append(span)
    for subnet, parts in subnets.items():
        gateway = parts[0].gateway
        size = max(_BLOCK_SIZE[subnet.version], subnet.prefixlen)
        name = f"{POOL_PREFIX}{str(subnet).replace(':', '-').replace('/', '-')}"
        yield Range(Pool(name, subnet, size, _reserved(subnet, parts, gateway), on_link=True), gateway)


def _reserved(network: Network, parts: list[_Span], gateway: Address) -> tuple[Network, ...]:
    """Return what no pod gets, by address."""
    taken = sorted([(int(part.first), int(part.last)) for part in parts])
    gaps, start = [], int(network[0])
    for first, last in taken:
        gaps.append((start, first - 1))
        start = max(start, last + 1)
    gaps.append((start, int(network[-1])))
    kind: Any = type(network[0])
    spans = [(low, high) for low, high in gaps if low <= high]
    if gateway in network:
        spans.append((int(gateway), int(gateway)))
    merged: list[tuple[int, int]] = []
    for low, high in sorted(spans):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(part for low, high in merged for part in summarize_address_range(kind(low), kind(high)))
