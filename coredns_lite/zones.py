"""Zones as a Corefile names them, and which of several a name is in.

A zone is text here, lower case with a final dot; names on the wire are found by `ZoneTable`.
"""

import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_network
from typing import Generic, TypeVar

from coredns_lite.corefile.lexer import Token
from coredns_lite.wire.names import ROOT, NameFormatError, decode_name, encode_name, label_offsets

V = TypeVar("V")

_ZONE = re.compile(r"\.|[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?")
_OCTET_BITS, _NIBBLE_BITS = 8, 4


def decode_zones(token: Token, text: str | None = None) -> tuple[str, ...]:
    """Decode a zone, or a network in CIDR notation into its reverse zones.

    A prefix that ends inside a label takes several zones: 10.0.0.0/15 is 0.10.in-addr.arpa. and
    1.10.in-addr.arpa.

    Raises:
        ConfigError: it is neither.
    """
    text = token.text if text is None else text
    if "/" in text:
        return _reverse_zones(token, text)
    if not _ZONE.fullmatch(text):
        raise token.error("expected a zone such as cluster.local")
    try:
        return (decode_name(encode_name(text.lower())),)
    except NameFormatError as exc:
        raise token.error(str(exc)) from exc


def is_inside(zone: str, outer: str) -> bool:
    """Whether a zone is another one or lies below it."""
    return outer == "." or f".{zone}".endswith(f".{outer}")


class ZoneTable(Generic[V]):
    """Values by zone, found by the longest zone that a name is in."""

    def __init__(self, values: Mapping[str, V]) -> None:
        self._values = {encode_name(zone): value for zone, value in values.items()}

    def find(self, name: bytes) -> V | None:
        """Return the value of the longest zone that holds a (lower-case wire) name, None if none does."""
        zone = self.find_zone(name)
        return None if zone is None else self._values[zone]

    def find_zone(self, name: bytes) -> bytes | None:
        """Return the longest zone (wire) that holds a (lower-case wire) name, None if none does."""
        for at in label_offsets(name):
            if name[at:] in self._values:
                return name[at:]
        return ROOT if ROOT in self._values else None


def zone_set(zones: Iterable[str]) -> ZoneTable[None]:
    """Build a table that only says which zone a name is in."""
    return ZoneTable(dict.fromkeys(zones))


def _reverse_zones(token: Token, text: str) -> tuple[str, ...]:
    try:
        network = ip_network(text)
    except ValueError as exc:
        raise token.error(f"expected a network in CIDR notation: {exc}") from exc
    bits = _OCTET_BITS if network.version == 4 else _NIBBLE_BITS
    whole_bits = -(-network.prefixlen // bits) * bits
    zones = []
    for subnet in network.subnets(new_prefix=whole_bits):
        labels = subnet.network_address.reverse_pointer.split(".")
        kept = len(labels) - 2 - whole_bits // bits
        zones.append(".".join(labels[kept:]) + ".")
    return tuple(zones)
