"""What the annotations of a pod and its namespace ask for: these addresses, these pools.

    nodeplane.io/ip-addresses   cni.projectcalico.org/ipAddrs      pod              addresses, one of a family
    nodeplane.io/ipv4-pools     cni.projectcalico.org/ipv4pools    pod, namespace   pools by name or CIDR
    nodeplane.io/ipv6-pools     cni.projectcalico.org/ipv6pools    pod, namespace

A value is a JSON list (`["10.244.1.5"]`, as Calico has it) or comma separated. Ours count before Calico's,
the pod's before the namespace's.
"""

from collections.abc import Mapping
from ipaddress import ip_address

import msgspec

from ipam.model import Address
from nodeplane.errors import ConfigError

ADDRESSES = ("nodeplane.io/ip-addresses", "cni.projectcalico.org/ipAddrs")
IPV4_POOLS = ("nodeplane.io/ipv4-pools", "cni.projectcalico.org/ipv4pools")
IPV6_POOLS = ("nodeplane.io/ipv6-pools", "cni.projectcalico.org/ipv6pools")


class Wishes(msgspec.Struct, frozen=True):
    """What a pod asks for in particular; empty where it leaves the choice to us."""

    addresses: tuple[Address, ...] = ()
    ipv4_pools: tuple[str, ...] = ()
    ipv6_pools: tuple[str, ...] = ()


def decode_annotations(pod: Mapping[str, str], namespace: Mapping[str, str], place: str) -> Wishes:
    """Decode what the annotations ask for.

    Args:
        pod: The pod's annotations.
        namespace: Its namespace's.
        place: Whose they are, for errors.

    Raises:
        ConfigError: a value is not a list, or holds what is no address, or two addresses of one family.
    """
    return Wishes(
        addresses=_addresses(pod, place),
        ipv4_pools=_pools(pod, namespace, IPV4_POOLS, place),
        ipv6_pools=_pools(pod, namespace, IPV6_POOLS, place),
    )


def _addresses(pod: Mapping[str, str], place: str) -> tuple[Address, ...]:
    name, items = _first(pod, ADDRESSES, place)
    addresses: list[Address] = []
    for item in items:
        try:
            addresses.append(ip_address(item))
        except ValueError as exc:
            raise ConfigError(place, name, f"expected IP addresses, got {item!r}") from exc
    if len({address.version for address in addresses}) != len(addresses):
        raise ConfigError(place, name, f"expected one address of each family, got {pod[name]!r}")
    return tuple(addresses)


def _pools(
    pod: Mapping[str, str], namespace: Mapping[str, str], names: tuple[str, ...], place: str
) -> tuple[str, ...]:
    return _first(pod, names, place)[1] or _first(namespace, names, place)[1]


def _first(annotations: Mapping[str, str], names: tuple[str, ...], place: str) -> tuple[str, tuple[str, ...]]:
    """Return the first of these annotations that is there and not empty, and what it lists."""
    for name in names:
        items = _decode_list(annotations.get(name, ""), place, name)
        if items:
            return name, items
    return "", ()


def _decode_list(text: str, place: str, name: str) -> tuple[str, ...]:
    if not text.lstrip().startswith("["):
        return tuple(item for part in text.split(",") if (item := part.strip()))
    try:
        return msgspec.json.decode(text, type=tuple[str, ...])
    except (msgspec.DecodeError, UnicodeError) as exc:
        raise ConfigError(place, name, f"expected a JSON list of strings, got {text!r}") from exc
