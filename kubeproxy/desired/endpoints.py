"""Which endpoints of a service port are in use, from everywhere and from here (k/k pkg/proxy/topology.go).

Slices are decoded once, each when it changes; what they say together is merged for each change of a service.
"""

from collections.abc import Collection, Iterable, Mapping

import msgspec

from kubeproxy.rules.addresses import pack_address
from kubeproxy.rules.layout import PackedEndpoint, encode_endpoint
from nodeplane.kube.objects import Endpoint, EndpointSlice

ZONE_LABEL = "topology.kubernetes.io/zone"

PortKey = tuple[str, str]
"""A slice port's name and protocol."""


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where this proxy runs: the names that hints and endpoints are compared with."""

    node: str
    zone: str = ""


class Backend(msgspec.Struct, frozen=True, gc=False):
    """What counts of one endpoint of a slice, its address apart."""

    is_ready: bool
    is_serving: bool
    is_terminating: bool
    node: str | None
    pod: str
    zone_hints: tuple[str, ...]
    node_hints: tuple[str, ...]


Backends = Mapping[PackedEndpoint, Backend]


class DecodedSlice(msgspec.Struct, frozen=True, gc=False):
    """The endpoints of one slice, by port; `is_placed` says that each of them names its node."""

    address_type: str
    backends: Mapping[PortKey, Backends]
    is_placed: bool = True


class Usable(msgspec.Struct, frozen=True, gc=False):
    """The endpoints in use, sorted: for connections to any of them, and for those that must stay here.

    New connections do not get the others. Of these `spare` ones serve those that they have: hints mean other
    endpoints for this place, or they terminate beside ready ones. `local_spare` are the same among the node's
    own. `idle` ones do not serve: open connections may be theirs still.
    """

    cluster: tuple[PackedEndpoint, ...]
    local: tuple[PackedEndpoint, ...]
    spare: tuple[PackedEndpoint, ...] = ()
    local_spare: tuple[PackedEndpoint, ...] = ()
    idle: tuple[PackedEndpoint, ...] = ()


NONE_USABLE = Usable((), ())


def decode_slice(piece: EndpointSlice) -> DecodedSlice:
    """Decode one slice; FQDN slices and ports that are not known have no endpoints.

    An endpoint without an address, or with one of the other family, is left out (as upstream does): an API
    server of old lets some in.
    """
    if piece.address_type == "FQDN":
        return DecodedSlice(piece.address_type, {})
    is_ipv6 = piece.address_type == "IPv6"
    entries = [
        (pack_address(entry.addresses[0]), _decode_backend(entry))
        for entry in piece.endpoints
        if entry.addresses and (":" in entry.addresses[0]) is is_ipv6
    ]
    backends: dict[PortKey, Backends] = {}
    for port in piece.ports:
        if port.port is not None:
            found: Backends = {encode_endpoint(address, port.port): backend for address, backend in entries}
            if len(found) < len(entries):
                found = merge({encode_endpoint(address, port.port): backend} for address, backend in entries)
            backends[port.name or "", port.protocol] = found
    is_placed = all(backend.node is not None for _, backend in entries)
    return DecodedSlice(piece.address_type, backends, is_placed)


def merge(slices: Iterable[Backends]) -> Backends:
    """Put the slices of one port together; of two entries of an endpoint the one that is of more use counts.

    Ready before serving before neither, so that it does not matter which slice came first; upstream leaves it
    to chance (a pod may stand in two slices while it moves from one to the other, or twice in one).
    """
    merged: dict[PackedEndpoint, Backend] = {}
    for backends in slices:
        if merged.keys().isdisjoint(backends):
            merged.update(backends)
            continue
        for endpoint, backend in backends.items():
            known = merged.get(endpoint)
            if known is None or _usefulness(backend) > _usefulness(known):
                merged[endpoint] = backend
    return merged


def merge_port(slices: Iterable[DecodedSlice], name: str, protocol: str) -> Backends:
    """Put together what slices say of one port."""
    key = (name, protocol)
    return merge(piece.backends[key] for piece in slices if key in piece.backends)


def select(backends: Backends, place: Place) -> Usable:
    """Say which endpoints are in use at a place.

    Ready ones, those that hints mean for this place where all have hints (KEP-2433, KEP-3015); if none is
    ready, those that still serve while they terminate (KEP-1669). For policies Local the same among the
    node's own, whatever the hints are.
    """
    ready: list[PackedEndpoint] = []
    local: list[PackedEndpoint] = []
    for endpoint, backend in backends.items():
        if backend.is_ready:
            ready.append(endpoint)
            if backend.node == place.node:
                local.append(endpoint)
    cluster = _hinted(ready, backends, place) if ready else _draining(backends)
    if not local and len(ready) < len(backends):
        local = [end for end in _draining(backends) if backends[end].node == place.node]
    if len(cluster) == len(backends):
        return Usable(tuple(sorted(cluster)), tuple(sorted(local)))
    left = backends.keys() - cluster
    spare = {end for end in left if backends[end].is_ready or backends[end].is_serving}
    local_spare = {end for end in spare.difference(local) if backends[end].node == place.node}
    parts = (cluster, local, spare, local_spare, left - spare)
    return Usable(*(tuple(sorted(endpoints)) for endpoints in parts))


def _hinted(
    ready: Collection[PackedEndpoint], backends: Backends, place: Place
) -> Collection[PackedEndpoint]:
    """Return the endpoints meant for this node, else for this zone, else all."""
    if all(backends[endpoint].node_hints for endpoint in ready):
        mine = [endpoint for endpoint in ready if place.node in backends[endpoint].node_hints]
        if mine:
            return mine
    if place.zone and all(backends[endpoint].zone_hints for endpoint in ready):
        mine = [endpoint for endpoint in ready if place.zone in backends[endpoint].zone_hints]
        if mine:
            return mine
    return ready


def _draining(backends: Backends) -> list[PackedEndpoint]:
    return [
        endpoint for endpoint, backend in backends.items() if backend.is_serving and backend.is_terminating
    ]


def _usefulness(backend: Backend) -> tuple[bool, bool, bool, str]:
    # The last is for two that differ in their node only, which is nobody's intention.
    return backend.is_ready, backend.is_serving, not backend.is_terminating, backend.node or ""


def _decode_backend(entry: Endpoint) -> Backend:
    hints = entry.hints
    return Backend(
        is_ready=entry.is_ready,
        is_serving=entry.is_serving,
        is_terminating=entry.is_terminating,
        node=entry.node_name,
        pod=entry.target_ref.name if entry.target_ref and entry.target_ref.kind == "Pod" else "",
        zone_hints=tuple(hint.name for hint in hints.for_zones or ()) if hints else (),
        node_hints=tuple(hint.name for hint in hints.for_nodes or ()) if hints else (),
    )
