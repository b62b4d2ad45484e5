"""Ports of the node that lead to a pod: what `portMappings` (CONVENTIONS.md) asks for, and who has what."""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import msgspec

from nodeplane.cnispec import PLACE, decode_config
from nodeplane.datapath.rtnl import Address
from nodeplane.errors import ConfigError

PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
_PORTS = range(1, 1 << 16)
_FIELD = "runtimeConfig.portMappings"
_NAMES = {name.lower(): name for name in ("hostPort", "containerPort", "protocol", "hostIP")}
_LOOPBACK6 = IPv6Address("::1")
_EVERYWHERE = (str(IPv4Address(0)), str(IPv6Address(0)))


class HostPort(msgspec.Struct, frozen=True, order=True):
    """One port of the node and the port of the pod that it leads to.

    `host_ip` is empty for all addresses, "0.0.0.0" and "::" for all of one family.
    """

    protocol: str
    port: int
    pod_port: int
    host_ip: str = ""


class Claim(msgspec.Struct, frozen=True):
    """The host ports that one attachment has."""

    container_id: str
    interface: str
    network: str
    host_link: str
    addresses: tuple[str, ...]
    ports: tuple[HostPort, ...]

    def is_of(self, container_id: str, interface: str) -> bool:
        """Say whose it is."""
        return (self.container_id, self.interface) == (container_id, interface)

    def __str__(self) -> str:
        return f"{self.container_id}/{self.interface}"


class Place(msgspec.Struct, frozen=True):
    """Where a host port is served, and where it leads to; an `address` of None is every one of the family."""

    version: int
    protocol: str
    port: int
    address: Address | None
    pod: Address
    pod_port: int

    def meets(self, other: "Place") -> bool:
        """Say whether a packet could be for both."""
        return (self.version, self.protocol, self.port) == (
            other.version,
            other.protocol,
            other.port,
        ) and (self.address is None or other.address is None or self.address == other.address)

    def __str__(self) -> str:
        shown = f"[{self.address}]" if self.version == 6 and self.address else self.address or "*"
        return f"{shown}:{self.port}/{self.protocol}"


class _Entry(msgspec.Struct, frozen=True, rename="camel"):
    container_port: int
    host_port: int = 0
    protocol: str = "tcp"
    host_ip: str = msgspec.field(name="hostIP", default="")


class _Capabilities(msgspec.Struct, frozen=True, rename="camel"):
    port_mappings: tuple[_Entry, ...] | None = None


class _Config(msgspec.Struct, frozen=True, rename="camel"):
    runtime_config: _Capabilities | None = None


class _AsWritten(msgspec.Struct, frozen=True, rename="camel"):
    port_mappings: tuple[dict[str, Any], ...] | None = None


class _ConfigAsWritten(msgspec.Struct, frozen=True, rename="camel"):
    runtime_config: _AsWritten | None = None


def decode_host_ports(config: bytes) -> tuple[HostPort, ...]:
    """Decode what a configuration asks for; entries without a host port mean nothing (as to the reference).

    Raises:
        ConfigError: a field is wrong.
    """
    # Most calls ask for none, and a pod's start waits for this.
    if b"portMappings" not in config:
        return ()
    entries = enumerate(_read_entries(config))
    ports = [_decode_entry(entry, f"{_FIELD}[{index}]") for index, entry in entries if entry.host_port]
    seen: dict[tuple[str, int, str], int] = {}
    for port in ports:
        # All addresses are those of both families.
        for host_ip in (port.host_ip,) if port.host_ip else _EVERYWHERE:
            if seen.setdefault((port.protocol, port.port, host_ip), port.pod_port) != port.pod_port:
                expected = f"expected each host port once, got {port.port}/{port.protocol} twice"
                raise ConfigError(PLACE, _FIELD, expected)
    return tuple(dict.fromkeys(ports))


def find_places(claim: Claim) -> Iterator[Place]:
    """Yield where a claim is served: for each family that the pod has an address of, the first one counts."""
    pods: dict[int, Address] = {}
    for text in claim.addresses:
        address = ip_address(text)
        pods.setdefault(address.version, address)
    for port in claim.ports:
        wanted = ip_address(port.host_ip) if port.host_ip else None
        for version, pod in pods.items():
            if wanted is None or wanted.version == version:
                one = None if wanted is None or wanted.is_unspecified else wanted
                yield Place(version, port.protocol, port.port, one, pod, port.pod_port)


def find_conflicts(claim: Claim, others: Iterable[Claim]) -> Iterator[tuple[Claim, Place]]:
    """Yield who else has a place that a claim wants, and which; each holder once."""
    wanted = tuple(find_places(claim))
    for other in others:
        if not other.is_of(claim.container_id, claim.interface):
            for place in find_places(other):
                if any(place.meets(mine) for mine in wanted):
                    yield other, place
                    break


def _read_entries(config: bytes) -> tuple[_Entry, ...]:
    """Read the entries; containerd (go-cni) writes fields' names with capitals, which Go does not mind."""
    written = decode_config(config, _ConfigAsWritten).runtime_config
    entries = [
        {_NAMES.get(name.lower(), name): value for name, value in entry.items()}
        for entry in (written.port_mappings if written else None) or ()
    ]
    # Once more as JSON, so that what is wrong is told by its place.
    known = decode_config(msgspec.json.encode({"runtimeConfig": {"portMappings": entries}}), _Config)
    return (known.runtime_config.port_mappings if known.runtime_config else None) or ()


def _decode_entry(entry: _Entry, field: str) -> HostPort:
    for name, port in (("hostPort", entry.host_port), ("containerPort", entry.container_port)):
        if port not in _PORTS:
            raise ConfigError(PLACE, f"{field}.{name}", f"expected a port from 1 to 65535, got {port}")
    # Kubernetes has them in capitals, the reference plugins take both.
    protocol = entry.protocol.lower()
    if protocol not in PROTOCOLS:
        expected = f"expected {', '.join(PROTOCOLS)}, got {entry.protocol!r}"
        raise ConfigError(PLACE, f"{field}.protocol", expected)
    return HostPort(protocol, entry.host_port, entry.container_port, _decode_host_ip(entry.host_ip, field))


def _decode_host_ip(text: str, field: str) -> str:
    if not text:
        return ""
    try:
        address = ip_address(text)
    except ValueError as exc:
        raise ConfigError(PLACE, f"{field}.hostIP", f"expected an address: {exc}") from exc
    if address == _LOOPBACK6:
        # IPv6 has no route_localnet: the answer would never come back.
        expected = "expected another address: ::1 can't be led to a pod"
        raise ConfigError(PLACE, f"{field}.hostIP", expected)
    return str(address)
