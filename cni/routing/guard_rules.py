"""Who may send into the tunnels: the table `inet nodeplane-vxlan`, there while a VXLAN link is.

The kernel takes what comes to the VXLAN port from anybody, whatever the packet inside says of its source
(drivers/net/vxlan/vxlan_core.c, vxlan_rcv; RFC 7348, section 7, leaves it to the network to keep others
away). So a pod that writes such frames could send as any other pod. As with Calico's nodes, only nodes may:

    UDP to the VXLAN port? no ─► on                       (prerouting, raw: before conntrack and masquerade)
      ├─ of another network (VNI) ─► on: some other tunnel's, whose peers are not for us to know
      ├─ from a pod's link ─┬─ to another pod, here or elsewhere: a network of the pods' own ─► on
      │                     └─ else dropped: to this node, or masqueraded as this node to another one
      ├─ not to this node ─► on
      ├─ from the address of another node ─► on
      └─ dropped

A frame in several pieces is judged whole where conntrack puts packets together (nf_defrag_ipv4), and else by
its first piece, without which the others are nothing. One that ends before its network counts as ours.
"""

import struct
from collections.abc import Iterable, Iterator

from cni.attachment import HOST_LINK_PREFIX
from cni.features.host_port_rules import ADDRESS_TYPES, FAMILIES
from cni.features.masquerade_rules import build_pool_elements, pools_of
from ipam.model import Address, Pool
from nodeplane.datapath.nft import expr
from nodeplane.datapath.nft.expr import Family
from nodeplane.datapath.nft.table import Chain, Elements, Hook, Map, Rule, Table

NAME = "nodeplane-vxlan"

_ENTRY, _JUDGE, _FROM_PODS = "to-the-vxlan-port", "judge", "from-pods"
_PREROUTING, _RAW = 0, -300
# RFC 7348, section 5: behind the UDP header of 8 bytes come flags and reserved bits, then the number.
_VNI_OFFSET, _VNI_BYTES = 8 + 4, 3
_UDP = 17


def nodes_of(family: Family) -> str:
    """Name the set of the addresses of all other nodes."""
    return f"nodes-{family}"


def build_table(port: int, vni: int) -> Table:
    """Build what is constant of the table, for one VXLAN port and network."""
    maps = (
        *(Map(nodes_of(family), "other nodes", (ADDRESS_TYPES[family],)) for family in FAMILIES),
        *(
            Map(pools_of(family), "addresses of pods", (ADDRESS_TYPES[family],), ranges=True)
            for family in FAMILIES
        ),
    )
    return Table(
        family="inet",
        name=NAME,
        comment="nodeplane tunnels",
        chains=(
            Chain(_ENTRY, "VXLAN", Hook("filter", _PREROUTING, _RAW)),
            Chain(_JUDGE, "from another node?"),
            Chain(_FROM_PODS, "between pods?"),
        ),
        maps=maps,
        rules=tuple(_build_rules(port, vni)),
        fixed={},
    )


def build_elements(nodes: Iterable[Address], pools: Iterable[Pool]) -> Elements:
    """Build what the sets must hold: the addresses of the other nodes, and all pools."""
    wanted = {pools_of(family) for family in FAMILIES}
    elements = {name: dict(part) for name, part in build_pool_elements(pools).items() if name in wanted}
    elements |= {nodes_of(family): {} for family in FAMILIES}
    for address in nodes:
        elements[nodes_of("ip" if address.version == 4 else "ip6")][address.packed] = b""
    return elements


def _build_rules(port: int, vni: int) -> Iterator[Rule]:
    is_tunnelled = (
        expr.load_meta("l4proto", 0)
        + expr.compare("==", bytes((_UDP,)), 0)
        + expr.load_destination_port(0)
        + expr.compare("==", struct.pack(">H", port), 0)
    )
    is_pods = expr.load_meta("iifname", 0) + expr.compare("==", HOST_LINK_PREFIX.encode(), 0)
    type_of_target = expr.load_address_type("daddr", 0)
    local = struct.pack("=I", expr.LOCAL)
    is_others = expr.load_transport(_VNI_OFFSET, _VNI_BYTES, 0) + expr.compare(
        "!=", vni.to_bytes(_VNI_BYTES, "big"), 0
    )
    yield Rule(_ENTRY, is_tunnelled + expr.verdict("jump", _JUDGE), "VXLAN")
    # Where there is nothing to load the rule ends: a short first piece is no way past the others.
    yield Rule(_JUDGE, is_others + expr.verdict("return"), "another network")
    yield Rule(_JUDGE, is_pods + expr.verdict("goto", _FROM_PODS), "from a pod")
    yield Rule(_JUDGE, type_of_target + expr.compare("!=", local, 0) + expr.verdict("return"), "only passes")
    for family in FAMILIES:
        source = expr.of_family(family) + expr.load_address(family, "saddr", 0)
        yield Rule(_JUDGE, source + expr.in_set(nodes_of(family), 0) + expr.verdict("return"), "a node")
    yield Rule(_JUDGE, expr.verdict("drop"), "from anybody else")
    yield Rule(
        _FROM_PODS, type_of_target + expr.compare("==", local, 0) + expr.verdict("drop"), "to this node"
    )
    for family in FAMILIES:
        target = expr.of_family(family) + expr.load_address(family, "daddr", 0)
        yield Rule(_FROM_PODS, target + expr.in_set(pools_of(family), 0) + expr.verdict("return"), "to a pod")
    yield Rule(_FROM_PODS, expr.verdict("drop"), "to another node, perhaps")
