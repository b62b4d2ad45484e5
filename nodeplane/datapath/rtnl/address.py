"""Addresses and networks of both families, and those that links have."""

from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import Literal

import msgspec

Family = Literal[4, 6]
Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network

Scope = Literal["global", "link", "host"]


class AddressAddition(msgspec.Struct, frozen=True):
    """An address that a link is to get."""

    name: str
    address: Interface
    scope: Scope = "global"


class AddressDeletion(msgspec.Struct, frozen=True):
    """An address that a link is to lose."""

    name: str
    address: Interface
