"""What of a cluster's objects names are made of: a small value for each object, and nothing for most fields.

A source that shrinks what it reads (`nodeplane.kube.source.Shrink`) knows these values alone, and the index
holds the same ones: of 10,000 Services with four endpoints each a few megabytes. Texts are in the form in
which queries name them: lower case, addresses packed.
"""

from collections.abc import Iterator
from ipaddress import IPv6Address
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from sys import intern
from typing import TypeVar

import msgspec

from coredns_lite.plugins.kubernetes.label_selector import LabelSelector
from coredns_lite.wire.names import MAX_LABEL_BYTES, NameFormatError, encode_label, encode_name
from nodeplane.kube.objects import (
    Endpoint,
    EndpointSlice,
    Metadata,
    Namespace,
    Object,
    ObjectKey,
    Pod,
    Service,
)
from nodeplane.kube.source import Shrink

V = TypeVar("V")

IPV4_BYTES, IPV6_BYTES = 4, 16
_IPV4_DASHES = 3
_SVC = encode_label(b"svc")
# Those of CoreDNS's watch (plugin/kubernetes/controller.go): pods of other phases have no address any more.
_LIVE_PHASES = frozenset({"Pending", "Running", ""})


class Port(msgspec.Struct, frozen=True, gc=False):
    """A port: its name (empty if it has none) and protocol in lower case, and its number."""

    name: bytes
    protocol: bytes
    number: int


class ServiceFacts(Object, frozen=True):
    """A Service: packed cluster IPs, ports; headless; the wire name that it stands for, or empty."""

    addresses: tuple[bytes, ...] = ()
    ports: tuple[Port, ...] = ()
    is_headless: bool = False
    is_external: bool = False
    external_name: bytes = b""

    @property
    def key(self) -> ObjectKey:
        """The Service's identity."""
        return ObjectKey(Service, self.metadata.namespace, self.metadata.name)


class SliceFacts(Object, frozen=True):
    """The ready endpoints of a slice: packed addresses in a row, and labels if any has one of its own."""

    service: str = ""
    size_bytes: int = IPV4_BYTES
    packed: bytes = b""
    labels_of: tuple[bytes, ...] = ()
    ports: tuple[Port, ...] = ()

    @property
    def key(self) -> ObjectKey:
        """The slice's identity."""
        return ObjectKey(EndpointSlice, self.metadata.namespace, self.metadata.name)

    def addresses(self) -> Iterator[bytes]:
        """Yield the packed addresses."""
        size_bytes, packed = self.size_bytes, self.packed
        for at in range(0, len(packed), size_bytes):
            yield packed[at : at + size_bytes]

    def endpoints(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield each endpoint's packed address and its label: its own, or else the dashed address."""
        for number, address in enumerate(self.addresses()):
            own = self.labels_of[number] if self.labels_of else b""
            yield address, own or dash(address)

    def named(self, label: bytes) -> Iterator[bytes]:
        """Yield the addresses of the endpoints with a label, without writing down the others' labels."""
        by_address = undash(label)
        if by_address is not None and dash(by_address) != label:
            by_address = None
        for number, address in enumerate(self.addresses()):
            own = self.labels_of[number] if self.labels_of else b""
            if (own == label) if own else (address == by_address):
                yield address


class PodFacts(Object, frozen=True):
    """A live pod's packed addresses; of one on its node's network they are the node's too."""

    addresses: tuple[bytes, ...] = ()
    is_on_host: bool = False

    @property
    def key(self) -> ObjectKey:
        """The pod's identity."""
        return ObjectKey(Pod, self.metadata.namespace, self.metadata.name)


class Scope(msgspec.Struct, frozen=True):
    """Which objects count, and how endpoints are called.

    `namespaces` names those that are served, none means all; with `namespace_labels`, those whose Namespace
    is selected. `labels` selects Services, slices and pods: the slice controller copies a Service's labels.
    """

    namespaces: frozenset[str] = frozenset()
    namespace_labels: LabelSelector | None = None
    labels: LabelSelector | None = None
    has_endpoints: bool = True
    has_pods: bool = False
    has_pod_names: bool = False

    @property
    def kinds(self) -> tuple[type[Object], ...]:
        """The kinds that are watched."""
        kinds: list[type[Object]] = [Namespace, Service]
        if self.has_endpoints:
            kinds.append(EndpointSlice)
        if self.has_pods:
            kinds.append(Pod)
        return tuple(kinds)


def shrink_to(scope: Scope) -> Shrink:
    """Return what makes facts of the objects in a scope, and nothing of others."""
    kinds = scope.kinds

    def shrink(item: Object) -> Object | None:
        if isinstance(item, Namespace):
            return _shrink_namespace(item, scope)
        if type(item) not in kinds or not _is_wanted(item, scope):
            return None
        if isinstance(item, Service):
            return shrink_service(item)
        if isinstance(item, EndpointSlice):
            return shrink_slice(item, has_pod_names=scope.has_pod_names)
        return shrink_pod(item) if isinstance(item, Pod) else None

    return shrink


def _is_wanted(item: Object, scope: Scope) -> bool:
    if scope.namespaces and item.metadata.namespace not in scope.namespaces:
        return False
    return scope.labels is None or scope.labels.holds(item.labels)


def _shrink_namespace(item: Namespace, scope: Scope) -> Namespace | None:
    if scope.namespaces and item.metadata.name not in scope.namespaces:
        return None
    if scope.namespace_labels and not scope.namespace_labels.holds(item.labels):
        return None
    return Namespace(Metadata(intern(item.metadata.name)))


def shrink_service(item: Service) -> ServiceFacts:
    """Make the facts of a Service."""
    spec = item.spec
    is_external = spec.type == "ExternalName"
    ports = tuple(_port(port.name, port.protocol, port.port) for port in (() if is_external else spec.ports))
    return ServiceFacts(
        _metadata(item),
        tuple(address for text in spec.cluster_ips if (address := pack(text))),
        _shared(ports),
        item.is_headless,
        is_external,
        _encode_target(spec.external_name) if is_external else b"",
    )


def shrink_slice(item: EndpointSlice, *, has_pod_names: bool = False) -> SliceFacts:
    """Make the facts of a slice; the endpoints that are not ready leave no trace."""
    size_bytes = IPV6_BYTES if item.address_type == "IPv6" else IPV4_BYTES
    addresses, labels = [], []
    for endpoint in item.endpoints if item.address_type != "FQDN" else ():
        # All addresses of one, as CoreDNS has it (plugin/kubernetes/object/endpoint.go), though kube-proxy
        # knows the first alone: the slice controller writes one, and who writes more means them.
        for text in endpoint.addresses if endpoint.is_ready else ():
            address = pack(text)
            if len(address) == size_bytes:
                addresses.append(address)
                labels.append(_label(endpoint, has_pod_names=has_pod_names))
    ports = tuple(
        # A port without a number means all of them (discovery/v1): nothing that SRV could say.
        _port(port.name or "", port.protocol, port.port)
        for port in item.ports
        if port.port is not None
    )
    return SliceFacts(
        _metadata(item),
        intern(_copied(item.service_name)),
        size_bytes,
        b"".join(addresses),
        tuple(labels) if any(labels) else (),
        _shared(ports),
    )


def shrink_pod(item: Pod) -> PodFacts | None:
    """Make the facts of a pod; one that has ended, or is about to, has none."""
    if item.status.phase not in _LIVE_PHASES or item.metadata.deletion_timestamp is not None:
        return None
    texts = [entry.ip for entry in item.status.pod_ips or ()] or [item.status.pod_ip]
    addresses = tuple(dict.fromkeys(address for text in texts if (address := pack(text))))
    return PodFacts(_metadata(item), addresses, item.spec.host_network) if addresses else None


def pack(text: str) -> bytes:
    """Return an address's bytes, none if it is no address."""
    try:
        return inet_pton(AF_INET6 if ":" in text else AF_INET, text)
    except (OSError, ValueError):
        return b""


def service_name(namespace: str, name: str) -> bytes:
    """Return a Service's name, relative to the zone (wire form without the root)."""
    return encode_label(name.encode()) + encode_label(namespace.encode()) + _SVC


def dash(address: bytes) -> bytes:
    """Write an address as a label: `1-2-3-4`, `5678-abcd--1`."""
    if len(address) == IPV4_BYTES:
        return inet_ntop(AF_INET, address).replace(".", "-").encode()
    # Not inet_ntop: it writes the end of some IPv6 addresses as an IPv4 address.
    return IPv6Address(address).compressed.replace(":", "-").replace(".", "-").encode()


def undash(label: bytes) -> bytes | None:
    """Read a label as an address, as CoreDNS does; None if it is none."""
    text = label.decode("latin-1")
    if text.count("-") == _IPV4_DASHES and "--" not in text:
        return pack(text.replace("-", ".")) or None
    return pack(text.replace("-", ":")) or None


def _label(endpoint: Endpoint, *, has_pod_names: bool) -> bytes:
    """Return an endpoint's own label; empty if it is called by its address."""
    name = endpoint.hostname or ""
    if not name and has_pod_names and endpoint.target_ref is not None:
        name = endpoint.target_ref.name
    # A pod's name may be longer than a label, or be several: then the address has to do, as with CoreDNS.
    if not name.isascii() or "." in name or len(name) > MAX_LABEL_BYTES:
        return b""
    return name.lower().encode()


def _encode_target(text: str) -> bytes:
    """Return the wire name that an ExternalName leads to, empty if it is an address or no name."""
    if not text or pack(text):
        return b""
    try:
        return encode_name(text)
    except NameFormatError:
        return b""


def _metadata(item: Object) -> Metadata:
    return Metadata(_copied(item.metadata.name), intern(_copied(item.metadata.namespace)))


def _copied(text: str) -> str:
    """Copy a text, so that the memory around it, which reading has left behind, can be given back."""
    return text.encode().decode()


# Ports and lists of them that came first: nearly all Services have one of a few. Bounded, or node after node
# of strange ones would be a leak.
_MAX_SHARED = 4096
_SHARED: dict[object, object] = {}


def _shared(value: V) -> V:
    if len(_SHARED) < _MAX_SHARED:
        return _SHARED.setdefault(value, value)  # type: ignore[return-value]  # equal, so of the same type
    return _SHARED.get(value, value)  # type: ignore[return-value]  # equal, so of the same type


def _port(name: str, protocol: str, number: int) -> Port:
    return _shared(Port(name.lower().encode(), protocol.lower().encode(), number))
