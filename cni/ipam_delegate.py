"""Who gives the address: the IPAM plugin that the configuration names.

Ours is called in this process, with the same request and the same answer as if it were run (SPEC section 4,
"Plugin Delegation"); others are not run yet, and the error says so.
"""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface

import msgspec

from ipam import plugin as nodeplane_ipam
from nodeplane.cniresult import Result
from nodeplane.cnispec import PLACE, CniError, ErrorCode, Request
from nodeplane.errors import ConfigError


class IpamPlugin(msgspec.Struct, frozen=True):
    """The two commands of an IPAM plugin."""

    add: Callable[[Request], Result]
    delete: Callable[[Request], None]


_PLUGINS = {"nodeplane-ipam": IpamPlugin(nodeplane_ipam.add, nodeplane_ipam.delete)}


def find_ipam(kind: str) -> IpamPlugin:
    """Return the IPAM plugin of that type.

    Raises:
        ConfigError: it is not one that can be called.
    """
    if kind not in _PLUGINS:
        raise ConfigError(PLACE, "ipam.type", f"expected {' or '.join(_PLUGINS)}, got {kind!r}")
    return _PLUGINS[kind]


def pod_address(result: Result) -> IPv4Address:
    """Return the address out of an IPAM plugin's result.

    Raises:
        CniError: it is not exactly one IPv4 address.
    """
    addresses = [ip.address for ip in result.ips]
    match addresses:
        case [IPv4Interface() as address]:
            return address.ip
    got = ", ".join(map(str, addresses)) or "none"
    raise CniError(ErrorCode.INVALID_CONFIG, "ipam: expected one IPv4 address", f"got {got}")
