"""What the addresses in the kernel are called in the cluster, as the source of objects says.

The kernel has no names. They are the source's of this moment, and put beside what the kernel says; where they
are of another time than its elements, an address has none, or that of its latest owner.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import msgspec

from kubeproxy.desired.endpoints import DecodedSlice, Place, decode_slice, merge_port
from kubeproxy.desired.port_book import ServiceName
from kubeproxy.desired.service_port import (
    HEADLESS_LABEL,
    FamilyView,
    PortName,
    ServicePort,
    build_service_ports,
)
from kubeproxy.health.proxy_health import FAMILY_NAMES
from kubeproxy.left_out import explain_left_out
from kubeproxy.own_node import find_node, read_node
from kubeproxy.rules.layout import decode_endpoint, decode_frontend
from nodeplane.datapath.nft.expr import Family
from nodeplane.errors import ApiError
from nodeplane.kube.objects import EndpointSlice, Node, Service
from nodeplane.kube.open_source import open_source
from nodeplane.kube.source import Batch
from nodeplane.runtime.event_loop import run_async
from nodeplane.runtime.output import Row

_FAMILIES: tuple[Family, ...] = ("ip", "ip6")
_NOWHERE = Place("")
# As `once` and `plan`: somebody waits for the answer.
_WITHIN_S = 60.0


class Names(msgspec.Struct, frozen=True):
    """Service ports by frontend, and pods by endpoint, both as text.

    Attributes:
        left_out: By frontend, why endpoints of its service port get no new connections at a place.
    """

    ports: Mapping[str, str] = {}
    pods: Mapping[str, str] = {}
    left_out: Mapping[str, Mapping[str, str]] = {}


def build_names(snapshot: Batch, node_name: str | None = None) -> Names:
    """Name what the Services and slices of a snapshot have; of those with wrong addresses, nothing.

    Which endpoints are left out is a question of the node; without its name it is not answered.
    """
    slices = _decode_slices(snapshot)
    place = None
    if node_name is not None:
        place = Place(node_name, read_node(find_node([snapshot], node_name)).zone)
    ports: dict[str, str] = {}
    left_out: dict[str, Mapping[str, str]] = {}
    for service in sorted((each.new for each in snapshot if isinstance(each.new, Service)), key=_name):
        backing = slices[_name(service)]
        for port, family in _build_ports(service, backing):
            reasons = _explain(port.name, backing, family, place)
            for publication in port.publications:
                frontend = str(decode_frontend(publication.key))
                # Of several that want one address and port the first by name has it.
                if ports.setdefault(frontend, str(port.name)) == str(port.name) and reasons:
                    left_out[frontend] = {**left_out.get(frontend, {}), **reasons}
    return Names(ports, _name_pods(slices), left_out)


def _decode_slices(snapshot: Batch) -> defaultdict[ServiceName, list[DecodedSlice]]:
    slices: defaultdict[ServiceName, list[DecodedSlice]] = defaultdict(list)
    for change in snapshot:
        piece = change.new
        if isinstance(piece, EndpointSlice) and HEADLESS_LABEL not in piece.labels:
            with suppress(OSError, ValueError):
                slices[piece.metadata.namespace, piece.service_name].append(decode_slice(piece))
    return slices


def _name_pods(slices: Mapping[ServiceName, Iterable[DecodedSlice]]) -> dict[str, str]:
    return {
        str(decode_endpoint(endpoint)): f"{namespace}/{backend.pod}"
        for (namespace, _), pieces in slices.items()
        for piece in pieces
        for backends in piece.backends.values()
        for endpoint, backend in backends.items()
        if backend.pod
    }


def _build_ports(service: Service, slices: Sequence[DecodedSlice]) -> Iterator[tuple[ServicePort, Family]]:
    for family in _FAMILIES:
        with suppress(OSError, ValueError):
            for port in build_service_ports(service, slices, FamilyView(family, _NOWHERE)):
                yield port, family


def _explain(
    port: PortName, slices: Sequence[DecodedSlice], family: Family, place: Place | None
) -> dict[str, str]:
    if place is None:
        return {}
    backing = [piece for piece in slices if piece.address_type == FAMILY_NAMES[family]]
    reasons = explain_left_out(merge_port(backing, port.port, port.protocol), place)
    return {str(decode_endpoint(endpoint)): reason for endpoint, reason in reasons.items()}


def read_names(
    manifests: Path | None, kubeconfig: Path | None, master: str | None, node_name: str | None = None
) -> Names | None:
    """Return the names of the source that the options choose; None if they choose none.

    Raises:
        ConfigError: the options, or what they lead to, are wrong.
        ApiError: the API server does not answer.
    """
    if manifests is None and kubeconfig is None and master is None:
        return None
    source = open_source(manifests, kubeconfig, master, snapshot_within_s=_WITHIN_S)

    async def read() -> Names:
        async with aclosing(source.batches((Service, EndpointSlice, Node))) as batches:
            async for batch in batches:
                return build_names(batch, node_name)
        raise ApiError("the source has no snapshot")

    return run_async(read())


def name_rows(rows: Sequence[Row], names: Names | None) -> list[Row]:
    """Put names beside the rows of `show`."""
    if names is None:
        return [*rows]
    return [
        {
            "service": names.ports.get(row["frontend"], ""),
            **row,
            "pods": [names.pods.get(endpoint, "") for endpoint in row["endpoints"]],
        }
        for row in rows
    ]


def _name(service: Service) -> tuple[str, str]:
    return service.metadata.namespace, service.metadata.name


def name_trace(report: Mapping[str, Any], frontends: Sequence[str], names: Names | None) -> dict[str, Any]:
    """Put names beside a trace; `frontends` are what its destination may have been, likeliest first."""
    if names is None:
        return {**report}
    service = next((names.ports[frontend] for frontend in frontends if frontend in names.ports), "")
    outcomes = [
        {**row, "pod": names.pods.get(row.get("endpoint") or row.get("outcome") or "", "")}
        for row in report["outcomes"]
    ]
    left_out = [
        {"endpoint": endpoint, "pod": names.pods.get(endpoint, ""), "reason": reason}
        for frontend in frontends[:1]
        for endpoint, reason in names.left_out.get(frontend, {}).items()
    ]
    return {"service": service, **report, "outcomes": outcomes} | ({"left_out": left_out} if left_out else {})
