"""What the addresses in the kernel are called in the cluster, as the source of objects says.

The kernel has no names. They are the source's of this moment, and put beside what the kernel says; where they
are of another time than its elements, an address has none, or that of its latest owner.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec

from kubeproxy.desired.endpoints import DecodedSlice, Place, decode_slice
from kubeproxy.desired.service_port import HEADLESS_LABEL, FamilyView, build_service_ports
from kubeproxy.rules.layout import decode_endpoint, decode_frontend
from nodeplane.datapath.nft.expr import Family
from nodeplane.errors import ApiError
from nodeplane.kube.objects import EndpointSlice, Service
from nodeplane.kube.open_source import open_source
from nodeplane.kube.source import Batch
from nodeplane.runtime.output import Row

_FAMILIES: tuple[Family, ...] = ("ip", "ip6")
_NOWHERE = Place("", "")
# As `once` and `plan`: somebody waits for the answer.
_WITHIN_S = 60.0


class Names(msgspec.Struct, frozen=True):
    """Service ports by frontend, and pods by endpoint, both as text."""

    ports: Mapping[str, str] = {}
    pods: Mapping[str, str] = {}


def build_names(snapshot: Batch) -> Names:
    """Name what the Services and slices of a snapshot have; of those with wrong addresses, nothing."""
    slices: defaultdict[tuple[str, str], list[DecodedSlice]] = defaultdict(list)
    pods: dict[str, str] = {}
    for change in snapshot:
        piece = change.new
        if isinstance(piece, EndpointSlice) and HEADLESS_LABEL not in piece.labels:
            try:
                decoded = decode_slice(piece)
            except (OSError, ValueError):
                continue
            slices[piece.metadata.namespace, piece.service_name].append(decoded)
            for backends in decoded.backends.values():
                for endpoint, backend in backends.items():
                    if backend.pod:
                        pods[str(decode_endpoint(endpoint))] = f"{piece.metadata.namespace}/{backend.pod}"
    ports: dict[str, str] = {}
    for service in sorted((each.new for each in snapshot if isinstance(each.new, Service)), key=_name):
        for family in _FAMILIES:
            try:
                built = build_service_ports(service, slices[_name(service)], FamilyView(family, _NOWHERE))
            except (OSError, ValueError):
                continue
            for port in built:
                for publication in port.publications:
                    # Of several that want one address and port the first by name has it.
                    ports.setdefault(str(decode_frontend(publication.key)), str(port.name))
    return Names(ports, pods)


def read_names(manifests: Path | None, kubeconfig: Path | None, master: str | None) -> Names | None:
    """Return the names of the source that the options choose; None if they choose none.

    Raises:
        ConfigError: the options, or what they lead to, are wrong.
        ApiError: the API server does not answer.
    """
    if manifests is None and kubeconfig is None and master is None:
        return None
    source = open_source(manifests, kubeconfig, master, snapshot_within_s=_WITHIN_S)

    async def read() -> Names:
        async with aclosing(source.batches((Service, EndpointSlice))) as batches:
            async for batch in batches:
                return build_names(batch)
        raise ApiError("the source has no snapshot")

    return asyncio.run(read())


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
    return {"service": service, **report, "outcomes": outcomes}
