"""IP addresses and networks: their text as API servers have it, their bytes as the kernel has them."""

import re
from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    collapse_addresses,
    ip_address,
    ip_network,
)
from socket import AF_INET, AF_INET6, inet_pton

from nodeplane.datapath.nft.expr import Family

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

PackedAddress = bytes

FAMILIES: tuple[Family, ...] = ("ip", "ip6")
"""Each has a table of its own."""


def family_of(item: Address | Network) -> Family:
    """Return the table family that an address or a network belongs to."""
    return "ip" if item.version == 4 else "ip6"


def pack_address(text: str) -> PackedAddress:
    """Encode an address of either family.

    Raises:
        OSError: it is none.
    """
    if ":" in text:
        return inet_pton(AF_INET6, text)
    try:
        return inet_pton(AF_INET, text)
    except OSError:
        return inet_pton(AF_INET, _without_leading_zeros(text))


def parse_address(text: str) -> Address:
    """Parse an address of either family.

    Raises:
        ValueError: it is none.
    """
    try:
        return ip_address(pack_address(text))
    except OSError as exc:
        raise ValueError(f"{text!r} does not appear to be an IP address") from exc


def parse_network(text: str) -> Network:
    """Parse a network of either family, spaces around it and host bits in it allowed.

    Raises:
        ValueError: it is none.
    """
    _, _, length = text.partition("/")
    if not length.strip().isdecimal():
        # Python's would also take an address alone, and a mask.
        raise ValueError(f"{text!r} does not appear to be a network such as 10.0.0.0/8")
    return ip_network(_without_leading_zeros(text.strip()), strict=False)


def collapse(networks: Iterable[Network]) -> tuple[Network, ...]:
    """Return the same addresses without overlaps, which the kernel refuses; all are of one family."""
    return tuple(collapse_addresses(networks))  # type: ignore[type-var]  # one family, which types don't say


def _without_leading_zeros(text: str) -> str:
    """Return an IPv4 address or network as it is written today.

    API servers once took 010.0.0.1 for 10.0.0.1, and what they have stored so stays valid (KEP-4858).
    """
    return text if ":" in text else re.sub(r"(^|\.)0+(?=[0-9])", r"\1", text)
