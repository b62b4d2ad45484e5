"""What external clients, and what is wrong with links, must be beyond their types."""

from collections.abc import Iterator
from ipaddress import ip_address, ip_network

from netns_lab.quantities import parse_duration, parse_rate
from netns_lab.topology import ClientSpec, LinkSpec, Topology, split_ranges
from nodeplane.yamldoc import FieldPath, Problem


def link_problems(topology: Topology) -> Iterator[Problem]:
    """Yield what is wrong with what is said of links."""
    links: list[tuple[FieldPath, LinkSpec]] = [
        *((("nodes", index), node.link) for index, node in enumerate(topology.nodes)),
        *((("pods", index), pod.link) for index, pod in enumerate(topology.pods)),
        *((("clients", index), client.link) for index, client in enumerate(topology.clients)),
        *(
            (("routers", index, "interfaces", number), each.link)
            for index, router in enumerate(topology.routers)
            for number, each in enumerate(router.interfaces)
        ),
    ]
    for place, link in links:
        for field, parse, text in (
            ("rate", parse_rate, link.rate),
            ("delay", parse_duration, link.delay),
            ("jitter", parse_duration, link.jitter),
        ):
            if text:
                try:
                    parse(text)
                except ValueError as exc:
                    yield (*place, "link", field), str(exc)
        if link.jitter and not link.delay:
            yield (*place, "link", "jitter"), "expected only with a delay"


def client_problems(topology: Topology, client: ClientSpec) -> Iterator[Problem]:
    """Yield what is wrong with an external client but for its name and address."""
    segments = {segment.name: segment for segment in topology.all_segments}
    if client.segment and client.segment not in segments:
        yield ("segment",), "expected the name of a segment"
        return
    networks = split_ranges(segments[topology.segment_of(client)].network)
    seen = set()
    for number, route in enumerate(client.routes):
        try:
            destination = ip_network(route.to)
        except ValueError:
            yield ("routes", number, "to"), "expected a network such as 10.1.0.0/16 or ::/0, host bits zero"
            continue
        try:
            via = ip_address(route.via)
        except ValueError:
            via = None
        if via is None or via.version != destination.version or not any(via in each for each in networks):
            yield (
                ("routes", number, "via"),
                f"expected an IPv{destination.version} address on the client's segment",
            )
        elif str(via) in (client.address or "").split(","):
            yield ("routes", number, "via"), "expected another host's address, this one is its own"
        if destination in seen:
            yield ("routes", number, "to"), "expected each destination once"
        seen.add(destination)
