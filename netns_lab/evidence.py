"""What the demonstration is about, and what was observed of it, brought together for the judge. Pure."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

import msgspec

from netns_lab.capture import Packet
from netns_lab.cluster import PodAddresses
from netns_lab.judge import Evidence, Share
from netns_lab.topology import PodSpec, Topology
from nodeplane.datapath.rtnl import Address
from nodeplane.kube.objects import EndpointSlice, Object, Service


class Stage(msgspec.Struct, frozen=True):
    """Who plays: the client, the service, its backends (no connections yet) and the node that is watched."""

    client: PodSpec
    client_address: Address
    name: str
    cluster_ip: str
    port: int
    backends: tuple[Share, ...]
    watched_node: str

    @property
    def watched_pods(self) -> frozenset[str]:
        """The backends on the node that is watched."""
        return frozenset(backend.pod for backend in self.backends if backend.node == self.watched_node)


class Connection(msgspec.Struct, frozen=True, rename="camel"):
    """What the client says of one connection (see `netns_lab.client`)."""

    source_port: int = 0
    error: str = ""
    answer: dict[str, str | int] = {}

    @property
    def pod(self) -> str:
        """The pod that answered, as `namespace/name`; empty if none did."""
        return "" if self.error else f"{self.answer.get('namespace', '')}/{self.answer.get('pod', '')}"


class ClientResult(msgspec.Struct, frozen=True):
    """What the client prints."""

    addresses: tuple[str, ...]
    connections: tuple[Connection, ...]

    def answered_by(self, pods: Collection[str]) -> list[Connection]:
        """Return the connections that one of these pods answered."""
        return [connection for connection in self.connections if connection.pod in pods]


def build_stage(
    topology: Topology,
    addresses: PodAddresses,
    objects: Iterable[Object],
    client: str,
    service: tuple[str, str],
) -> Stage:
    """Find the players in a lab that is up: a client pod's key, a service's namespace and name."""
    items = list(objects)
    player = next(pod for pod in topology.pods if pod.key == client)
    backends = sorted(_backends(items, service), key=lambda backend: backend.pod)
    spec = next(
        item.spec
        for item in items
        if isinstance(item, Service) and (item.metadata.namespace, item.metadata.name) == service
    )
    return Stage(
        client=player,
        client_address=addresses[client][0],
        name=f"{service[1]}.{service[0]}.svc.{topology.network.cluster_domain}",
        cluster_ip=spec.cluster_ip,
        port=spec.ports[0].port,
        backends=tuple(backends),
        # On its way to a backend of the client's own node a packet passes no uplink.
        watched_node=next(backend.node for backend in backends if backend.node != player.node),
    )


def build_evidence(
    stage: Stage, result: ClientResult, client_side: Sequence[Packet], node_side: Sequence[Packet]
) -> Evidence:
    """Put together what the client says, and what was seen on its link and on the watched node's uplink."""
    counts = Counter(connection.pod for connection in result.connections)
    known = {"", *(backend.pod for backend in stage.backends)}
    ports = [connection.source_port for connection in result.answered_by(stage.watched_pods)]
    before, after = find_pair(ports, client_side, node_side)
    return Evidence(
        name=stage.name,
        answers=result.addresses,
        cluster_ip=stage.cluster_ip,
        port=stage.port,
        connections=len(result.connections),
        errors=tuple(connection.error for connection in result.connections if connection.error),
        strangers=tuple(connection.pod for connection in result.connections if connection.pod not in known),
        shares=tuple(
            msgspec.structs.replace(backend, connections=counts[backend.pod]) for backend in stage.backends
        ),
        before=before,
        after=after,
    )


def find_pair(
    source_ports: Sequence[int], client_side: Iterable[Packet], node_side: Iterable[Packet]
) -> tuple[Packet | None, Packet | None]:
    """Return one connection's first packet on both links; where one link shows none, what there is.

    A packet is known again behind the translation by its source port and its TCP sequence number.
    """
    befores = {packet.source_port: packet for packet in client_side}
    afters = {(packet.source_port, packet.sequence): packet for packet in node_side}
    for port in source_ports:
        before = befores.get(port)
        if before is not None and (port, before.sequence) in afters:
            return before, afters[port, before.sequence]
    wanted = set(source_ports)
    before = next((packet for port, packet in befores.items() if port in wanted), None)
    after = next((packet for (port, _), packet in afters.items() if port in wanted), None)
    return before, after


def _backends(items: Iterable[Object], service: tuple[str, str]) -> list[Share]:
    return [
        Share(f"{target.namespace}/{target.name}", endpoint.node_name or "", endpoint.addresses[0], port.port)
        for item in items
        if isinstance(item, EndpointSlice) and (item.metadata.namespace, item.service_name) == service
        for endpoint in item.endpoints
        for port in item.ports
        if port.port is not None and (target := endpoint.target_ref) is not None
    ]
