"""Who asks."""

from ipaddress import IPv4Address, IPv6Address
from typing import Literal

import msgspec

Transport = Literal["udp", "tcp", "tls"]


class Client(msgspec.Struct, frozen=True):
    """Who asks, and how."""

    address: IPv4Address | IPv6Address
    port: int
    transport: Transport
