"""What is wrong with a lab's links, and who is cut off from whom, as rules for each namespace. Pure.

      nl-<lab>-n1: eth0 ──►  ◄── to-n1: nl-<lab>-fabric      each end's way out (egress) is impaired,
                                                             and so a link in both its directions

Loss and duplicates are nft rules in the netdev family at each end, a rate is a token bucket there; with a
delay the kernel's netem does both of these. A cable that is down is `netns_lab.wiring`'s, since that is a
fact about a link; a pod's link that is down loses all, for down it would lose its routes too.
"""

import hashlib
from collections.abc import Iterator, Mapping

import msgspec

from netns_lab.names import UPLINK, fabric_namespace, node_namespace, pod_namespace, port_link
from netns_lab.topology import InterfaceSpec, LinkSpec, Topology

TABLE = "netns-lab"
"""The table that is the lab's, in the families netdev and bridge."""

# Parts of a million, as fine as anybody measures.
_PARTS = 1_000_000

# A copy goes through the same hook: it is known by this mark, which does not outlive the link.
_COPY = "0x6e6c6162"


class Cut(msgspec.Struct, frozen=True, order=True):
    """The ports of a bridge that no packet passes between, in either direction.

    Without `others` it is the bridge itself that `ports` do not reach: the fabric, with the API server.
    """

    ports: tuple[str, ...]
    others: tuple[str, ...]


class Impairment(msgspec.Struct, frozen=True):
    """What is wrong in one namespace: its links' ways out, and the cuts through its bridges."""

    links: dict[str, LinkSpec] = {}
    cuts: tuple[Cut, ...] = ()

    @property
    def digest(self) -> str:
        """Return what two equal impairments share."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()[:16]

    @property
    def has_delay(self) -> bool:
        """Say whether the kernel needs netem."""
        return any(link.delay for link in self.links.values())


def build_impairments(
    topology: Topology, host_links: Mapping[str, str], cuts: tuple[Cut, ...] = ()
) -> dict[str, Impairment]:
    """Return what is wrong, by namespace; `host_links` are the nodes' ends of pods' links, by pod."""
    found: dict[str, dict[str, LinkSpec]] = {}
    fabric = fabric_namespace(topology.name)
    for (namespace, link), spec in _ends(topology, host_links):
        found.setdefault(namespace, {})[link] = spec
    if cuts:
        found.setdefault(fabric, {})
    return {
        namespace: Impairment(links, cuts if namespace == fabric else ())
        for namespace, links in sorted(found.items())
    }


def healthy(topology: Topology) -> Topology:
    """Return the topology with nothing wrong with any link."""
    well = LinkSpec()
    return msgspec.structs.replace(
        topology,
        nodes=tuple(msgspec.structs.replace(node, link=well) for node in topology.nodes),
        pods=tuple(msgspec.structs.replace(pod, link=well) for pod in topology.pods),
        clients=tuple(msgspec.structs.replace(client, link=well) for client in topology.clients),
        routers=tuple(
            msgspec.structs.replace(
                router,
                interfaces=tuple(
                    InterfaceSpec(interface.segment, interface.address) for interface in router.interfaces
                ),
            )
            for router in topology.routers
        ),
    )


def is_healthy(topology: Topology) -> bool:
    """Say whether nothing is wrong with any link."""
    return healthy(topology) == topology


def is_cut_off(topology: Topology) -> bool:
    """Say whether a node's uplink is down or loses all, so that it can't be in service."""
    return any(node.link.down or node.link.loss == 100 for node in topology.nodes)


def render_rules(impairment: Impairment) -> str:
    """Render the rules of one namespace for nft(8), in the place of those that are there."""
    lines = []
    for family in ("netdev", "bridge"):
        # First made: what is not there can't be deleted, and all of it is one transaction.
        lines += [f"table {family} {TABLE}", f"delete table {family} {TABLE}"]
    links = {name: rules for name, link in impairment.links.items() if (rules := list(_rules(name, link)))}
    lines += [f"table netdev {TABLE} {{", f"  chain {digest_chain(impairment)} {{", "  }"]
    for name, rules in links.items():
        lines += [
            f"  chain {link_chain(name)} {{",
            f'    type filter hook egress device "{name}" priority 0; policy accept;',
            *(f"    {rule}" for rule in rules),
            "  }",
        ]
    lines.append("}")
    if impairment.cuts:
        lines += [f"table bridge {TABLE} {{", *_cut_chains(impairment.cuts), "}"]
    return "\n".join(lines) + "\n"


def render_removal() -> str:
    """Render the removal of all rules of one namespace."""
    return "".join(
        f"table {family} {TABLE}\ndelete table {family} {TABLE}\n" for family in ("netdev", "bridge")
    )


def expected_chains(impairment: Impairment) -> frozenset[str]:
    """Return the chains of the netdev table: a link that was made anew has lost its own."""
    links = {link_chain(name) for name, link in impairment.links.items() if [*_rules(name, link)]}
    return frozenset({digest_chain(impairment), *links})


def digest_chain(impairment: Impairment) -> str:
    """Name the empty chain that tells what the table was made from."""
    return f"made-from-{impairment.digest}"


def link_chain(link: str) -> str:
    """Name the chain of a link's way out."""
    return f"out-{link}"


def _ends(topology: Topology, host_links: Mapping[str, str]) -> Iterator[tuple[tuple[str, str], LinkSpec]]:
    fabric = fabric_namespace(topology.name)
    for host in topology.hosts:
        cable = ((node_namespace(topology.name, host.name), UPLINK), (fabric, port_link(host.name)))
        yield from ((end, host.link) for end in cable if _is_impaired(host.link))
    for router in topology.routers:
        for each in router.interfaces:
            near = (node_namespace(topology.name, router.name), each.segment)
            far = (fabric, port_link(router.name, each.segment))
            yield from ((end, each.link) for end in (near, far) if _is_impaired(each.link))
    for pod in topology.pods:
        link = msgspec.structs.replace(pod.link, loss=100, down=False) if pod.link.down else pod.link
        if _is_impaired(link) and pod.key in host_links:
            yield (pod_namespace(topology.name, pod), UPLINK), link
            yield (node_namespace(topology.name, pod.node), host_links[pod.key]), link


def _is_impaired(link: LinkSpec) -> bool:
    return bool(link.loss or link.duplicate or link.rate or link.delay)


def _rules(name: str, link: LinkSpec) -> Iterator[str]:
    if link.loss == 100:
        yield "drop"
    elif link.loss:
        yield f"numgen random mod {_PARTS} < {_parts(link.loss)} drop"
    if link.duplicate:
        yield f"meta mark {_COPY} accept"
        share = "" if link.duplicate == 100 else f"numgen random mod {_PARTS} < {_parts(link.duplicate)} "
        yield f'{share}meta mark set {_COPY} dup to "{name}"'


def _parts(percent: float) -> int:
    return max(1, round(percent * _PARTS / 100))


def _cut_chains(cuts: tuple[Cut, ...]) -> Iterator[str]:
    through = [(cut.ports, cut.others) for cut in cuts if cut.others]
    to_bridge = [cut.ports for cut in cuts if not cut.others]
    yield from (
        "  chain through {",
        "    type filter hook forward priority 0; policy accept;",
    )
    for ports, others in through:
        yield f"    iifname {_names(ports)} oifname {_names(others)} drop"
        yield f"    iifname {_names(others)} oifname {_names(ports)} drop"
    yield "  }"
    for hook, field in (("input", "iifname"), ("output", "oifname")):
        yield f"  chain {hook}-of-fabric {{"
        yield f"    type filter hook {hook} priority 0; policy accept;"
        yield from (f"    {field} {_names(ports)} drop" for ports in to_bridge)
        yield "  }"


def _names(ports: tuple[str, ...]) -> str:
    return "{ " + ", ".join(f'"{port}"' for port in ports) + " }"
