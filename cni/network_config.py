"""The network configuration, as far as the wiring reads it; the `ipam` section is the IPAM plugin's own."""

import msgspec

from cni.prev_result import PrevResult
from nodeplane.cnispec import PLACE, decode_config
from nodeplane.errors import ConfigError

# The least that IPv4 must carry (RFC 791) and the most that a veth takes.
_MTU_BYTES = range(68, 65536)


class IpamSection(msgspec.Struct, frozen=True):
    """Which IPAM plugin to ask."""

    type: str


class _IpamOnly(msgspec.Struct, frozen=True):
    ipam: IpamSection


class NetworkConfig(msgspec.Struct, frozen=True, rename="camel"):
    """What nodeplane-cni reads; `mtu_bytes` 0 means the uplink's. Fields that it lacks are ignored (SPEC)."""

    ipam: IpamSection
    mtu_bytes: int = msgspec.field(name="mtu", default=0)
    prev_result: PrevResult | None = None


def decode_ipam_type(config: bytes) -> str:
    """Decode the type of the IPAM plugin alone: what DEL needs, whatever became of the rest (SPEC, DEL).

    Raises:
        CniError: it is not JSON.
        ConfigError: the field is missing or wrong.
    """
    return decode_config(config, _IpamOnly).ipam.type


def decode_network(config: bytes) -> NetworkConfig:
    """Decode a network configuration.

    Raises:
        CniError: it is not JSON.
        ConfigError: a field is missing or wrong.
    """
    network = decode_config(config, NetworkConfig)
    if network.mtu_bytes and network.mtu_bytes not in _MTU_BYTES:
        limits = f"{_MTU_BYTES[0]} to {_MTU_BYTES[-1]} bytes, or 0 for the uplink's"
        raise ConfigError(PLACE, "mtu", f"expected {limits}, got {network.mtu_bytes}")
    return network
