"""On which addresses of this node node ports are served (KEP-1898: nodePortAddresses).

`node-port-ips` holds them where the rules ask for it, and health checks of Services listen on the same.
"""

from collections.abc import Iterable, Mapping

from kubeproxy.config.settings import NodePortAddresses, Settings
from kubeproxy.own_node import primary_ips
from kubeproxy.rules.addresses import FAMILIES, Address, Network, PackedAddress, family_of
from nodeplane.datapath.nft.expr import Family
from nodeplane.kube.objects import Node


def select_node_port_ips(
    wanted: NodePortAddresses,
    family: Family,
    interface_ips: Iterable[Address],
    primary_ips: Iterable[Address],
) -> frozenset[Address] | None:
    """Return the addresses of one family; None stands for everywhere but loopback.

    In mode nftables a loopback address serves none, whoever lists it (k/k pkg/proxy/nftables/README.md).
    """
    if wanted.is_everywhere(family):
        return None
    candidates = primary_ips if wanted.is_primary else interface_ips
    return frozenset(
        address
        for address in candidates
        if family_of(address) == family
        and not address.is_loopback
        and (wanted.is_primary or _is_in(address, wanted.networks))
    )


def place_node_ports(
    settings: Settings, node: Node | None, interface_ips: Iterable[Address]
) -> dict[Family, frozenset[Address] | None]:
    """Return the addresses of each family."""
    primary = primary_ips(node, settings.node_ips)
    interface_ips = frozenset(interface_ips)
    return {
        family: select_node_port_ips(settings.node_port_addresses, family, interface_ips, primary)
        for family in FAMILIES
    }


def pack_all(placed: Mapping[Family, Iterable[Address] | None]) -> set[PackedAddress]:
    """Return all addresses as the kernel has them; a family that is served everywhere adds none."""
    return {address.packed for addresses in placed.values() for address in addresses or ()}


def pack_own(interface_ips: Iterable[Address]) -> set[PackedAddress]:
    """Return the node's addresses but for those that mean something on one link or in this node alone."""
    return {address.packed for address in interface_ips if not (address.is_loopback or address.is_link_local)}


def _is_in(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)
