"""The network configuration, as far as the wiring reads it; the `ipam` section is the IPAM plugin's own."""

import re
from collections.abc import Mapping
from ipaddress import ip_network
from typing import Literal

import msgspec

from cni.prev_result import DnsText, PrevResult, RouteText, decode_dns
from nodeplane.cniresult import Dns
from nodeplane.cnispec import PLACE, CniError, ErrorCode, decode_config
from nodeplane.datapath.rtnl import Network
from nodeplane.errors import ConfigError

# The least that IPv4 must carry (RFC 791) and the most that a veth takes.
_MTU_BYTES = range(68, 65536)
_MAC = re.compile(r"([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}")
_MAC_ANNOTATIONS = ("nodeplane.io/mac", "cni.projectcalico.org/hwAddr")
_SOURCES_ANNOTATION = "cni.projectcalico.org/allowedSourcePrefixes"

CALICO_HOST_MAC = "ee:ee:ee:ee:ee:ee"
"""The same on every node, as Calico's: a neighbour entry of a pod holds wherever its link ends."""

Encapsulation = Literal["none", "ipip", "vxlan", "wireguard"]

# CONVENTIONS.md "CNI_ARGS", and what kubelet's runtimes send.
_KNOWN_ARGS = {
    "IgnoreUnknown",
    "IP",
    "MAC",
    "K8S_POD_NAMESPACE",
    "K8S_POD_NAME",
    "K8S_POD_INFRA_CONTAINER_ID",
    "K8S_POD_UID",
}


class IpamSection(msgspec.Struct, frozen=True):
    """Which IPAM plugin to ask."""

    type: str = ""


class _IpamOnly(msgspec.Struct, frozen=True):
    ipam: IpamSection | None = None


class DnsCapability(msgspec.Struct, frozen=True):
    """The capability `dns` (CONVENTIONS.md), whose fields have names of their own."""

    servers: tuple[str, ...] | None = None
    searches: tuple[str, ...] | None = None
    options: tuple[str, ...] | None = None


class RuntimeConfig(msgspec.Struct, frozen=True):
    """What the runtime asks for by capabilities; those that are not here are others' or mean nothing here."""

    mac: str = ""
    dns: DnsCapability | None = None
    annotations: dict[str, str] | None = msgspec.field(name="io.kubernetes.cri.pod-annotations", default=None)


class _CniArgs(msgspec.Struct, frozen=True):
    mac: str = ""


class Args(msgspec.Struct, frozen=True):
    """What the caller asks for by `args` (CONVENTIONS.md)."""

    cni: _CniArgs | None = None


class NetworkConfig(msgspec.Struct, frozen=True, rename="camel"):
    """What nodeplane-cni reads. Fields that it lacks are ignored (SPEC).

    Attributes:
        ipam: The IPAM plugin's.
        mtu_bytes: Of the pod's link; 0 means the uplink's.
        encapsulation: Of traffic between nodes, whose header the MTU leaves room for.
        host_mac: Of the host's side of the link; empty means one from a hash.
        source_check: Whether a pod may send only as itself.
        routes: More routes for the pod.
        dns: For the result.
        runtime_config: Capabilities.
        args: The other way to ask for a MAC.
        prev_result: What the plugins before ours made.
    """

    ipam: IpamSection
    mtu_bytes: int = msgspec.field(name="mtu", default=0)
    encapsulation: Encapsulation = "none"
    host_mac: str = msgspec.field(name="hostMAC", default=CALICO_HOST_MAC)
    source_check: bool = True
    routes: tuple[RouteText, ...] | None = None
    dns: DnsText | None = None
    runtime_config: RuntimeConfig | None = None
    args: Args | None = None
    prev_result: PrevResult | None = None

    def pod_mac(self, cni_args: Mapping[str, str]) -> str:
        """Return the Ethernet address that the pod is to have, empty for any: the runtime's word first.

        Raises:
            ConfigError: it is not the address of one interface.
            CniError: so is the one in CNI_ARGS.
        """
        runtime = self.runtime_config or RuntimeConfig()
        annotations = runtime.annotations or {}
        wishes = {
            "runtimeConfig.mac": runtime.mac,
            "args.cni.mac": self.args.cni.mac if self.args and self.args.cni else "",
            **{f"annotation {name}": annotations.get(name, "") for name in _MAC_ANNOTATIONS},
        }
        for field, mac in wishes.items():
            if mac:
                return _decode_mac(mac, field)
        asked = cni_args.get("MAC", "")
        if asked and not _is_mac(asked):
            raise CniError(ErrorCode.INVALID_ENVIRONMENT, "invalid CNI_ARGS", f"MAC: {_expected_mac(asked)}")
        return asked.lower()

    def allowed_sources(self) -> tuple[Network, ...]:
        """Return the prefixes that the pod may send from beside its addresses (Calico's annotation).

        Raises:
            ConfigError: it is not a list of prefixes.
        """
        runtime = self.runtime_config or RuntimeConfig()
        text = (runtime.annotations or {}).get(_SOURCES_ANNOTATION, "")
        if not text:
            return ()
        try:
            return tuple(map(ip_network, msgspec.json.decode(text, type=tuple[str, ...])))
        except (msgspec.MsgspecError, ValueError) as exc:
            expected = f'expected a JSON list of prefixes such as ["192.0.2.0/24"], got {text!r}'
            raise ConfigError(PLACE, f"annotation {_SOURCES_ANNOTATION}", expected) from exc

    @property
    def is_route_back_needed(self) -> bool:
        """Say whether the kernel too is to check sources, by the route back (rp_filter)."""
        return self.source_check and not self.allowed_sources()

    def result_dns(self, ipam: Dns) -> Dns:
        """Return the resolver for the result: the runtime's, the configuration's, or the IPAM plugin's."""
        asked = self.runtime_config.dns if self.runtime_config else None
        if asked is not None and (asked.servers or asked.searches or asked.options):
            return Dns(asked.servers or (), "", asked.searches or (), asked.options or ())
        configured = decode_dns(self.dns)
        return ipam if configured == Dns() else configured


def decode_ipam_type(config: bytes) -> str:
    """Decode the type of the IPAM plugin alone: what DEL needs, whatever became of the rest (SPEC, DEL).

    It is empty if the configuration names none any more.

    Raises:
        CniError: it is not JSON.
        ConfigError: the field is wrong.
    """
    ipam = decode_config(config, _IpamOnly).ipam
    return ipam.type if ipam else ""


def decode_network(config: bytes) -> NetworkConfig:
    """Decode a network configuration.

    Raises:
        CniError: it is not JSON.
        ConfigError: a field is missing or wrong.
    """
    network = decode_config(config, NetworkConfig)
    if not network.ipam.type:
        raise ConfigError(PLACE, "ipam.type", "expected, but missing")
    if network.mtu_bytes and network.mtu_bytes not in _MTU_BYTES:
        limits = f"{_MTU_BYTES[0]} to {_MTU_BYTES[-1]} bytes, or 0 for the uplink's"
        raise ConfigError(PLACE, "mtu", f"expected {limits}, got {network.mtu_bytes}")
    if network.host_mac:
        _decode_mac(network.host_mac, "hostMAC")
    return network


def check_args(args: Mapping[str, str]) -> None:
    """Refuse CNI_ARGS that nobody here knows, unless the runtime says otherwise.

    Raises:
        CniError: one is unknown, and IgnoreUnknown (CONVENTIONS.md) is not set.
    """
    unknown = sorted(args.keys() - _KNOWN_ARGS)
    # strconv.ParseBool, as the Go library takes it.
    if unknown and args.get("IgnoreUnknown", "").lower() not in {"1", "t", "true"}:
        text = ", ".join(f"{name}={args[name]}" for name in unknown)
        raise CniError(ErrorCode.INVALID_ENVIRONMENT, "unknown CNI_ARGS", f"without IgnoreUnknown=1: {text}")


def _decode_mac(text: str, field: str) -> str:
    if not _is_mac(text):
        raise ConfigError(PLACE, field, _expected_mac(text))
    return text.lower()


def _is_mac(text: str) -> bool:
    """Say whether a text is the address of one interface: not a group's (IEEE 802), not all zeros."""
    return bool(_MAC.fullmatch(text)) and not int(text[:2], 16) & 1 and text.strip("0:") != ""


def _expected_mac(text: str) -> str:
    return f"expected the Ethernet address of one interface, such as 02:00:00:00:00:01, got {text!r}"
