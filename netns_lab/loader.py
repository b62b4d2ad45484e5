"""From a topology file to a checked `LabSpec`: everything that can be wrong with it is found here, at once.

Nothing else of the lab reads what people wrote, so a bad file can't leave a half-built lab behind.
"""

from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec

from netns_lab.replicas import expand, origin, origins
from netns_lab.topology import Topology
from netns_lab.validation import object_problems, problems, service_problems
from nodeplane.datapath.rtnl import Network
from nodeplane.errors import ConfigError
from nodeplane.kube.manifest_file import decode_objects
from nodeplane.kube.objects import API_VERSIONS, EndpointSlice, Namespace, Object, ObjectKey, Service
from nodeplane.yamldoc import FieldPath, YamlDocument, read_documents

CLUSTER_DNS = ("kube-system", "kube-dns")
"""Namespace and name of the Service that the lab itself adds; programs look for it under this name."""

DEMO_FILE = Path(__file__).with_name("demo.yaml")
"""The topology of `netns-lab demo`."""

# What the lab and its API server make themselves.
RESERVED = {
    ObjectKey(Service, *CLUSTER_DNS): "the lab",
    ObjectKey(EndpointSlice, CLUSTER_DNS[0], f"{CLUSTER_DNS[1]}-nodes"): "the lab",
    ObjectKey(Service, "default", "kubernetes"): "the API server",
    ObjectKey(EndpointSlice, "default", "kubernetes"): "the API server",
}

# The network's own two addresses, the cluster DNS and the API server's Service.
_RESERVED_ADDRESSES = 4

_KINDS = (Service, EndpointSlice, Namespace)


class Manifest(msgspec.Struct, frozen=True):
    """An object as its author wrote it, and as nodeplane reads it."""

    raw: dict[str, Any]
    item: Object


class LabSpec(msgspec.Struct, frozen=True):
    """What is asked for: a valid topology, deployments expanded, and valid manifests that fit it."""

    topology: Topology
    manifests: tuple[Manifest, ...]

    def named(self, lab: str) -> "LabSpec":
        """Return the same, asked for under another name."""
        return LabSpec(msgspec.structs.replace(self.topology, name=lab), self.manifests)


def read_lab(path: Path) -> LabSpec:
    """Read a topology file and the manifests that it names.

    Raises:
        ConfigError: something in them is wrong; names file, line and field.
    """
    documents = read_documents(path)
    if len(documents) != 1:
        raise ConfigError(str(path), "", f"expected one YAML document, got {len(documents)}")
    return decode_lab(documents[0])


def decode_lab(document: YamlDocument, place: FieldPath = ()) -> LabSpec:
    """Decode the topology at a place of a document, and read the manifests that it names.

    Raises:
        ConfigError: as `read_lab`.
    """
    written = document.convert(Topology, place)
    for where, expected in _deployment_problems(written):
        raise document.error((*place, *where), expected)
    topology, owners = expand(written), origins(written)
    for where, expected in problems(topology):
        raise document.error((*place, *origin(where, owners)), expected)
    seen: set[ObjectKey] = set()
    node_ports: set[tuple[str, int]] = set()
    addresses = {topology.network.cluster_dns, str(topology.network.api_service)}
    families = [f"IPv{each.version}" for each in topology.network.service_ranges]
    manifests = []
    for source, where, item in _objects(document, place, topology):
        _check_object(source, where, item, seen)
        if isinstance(item, Service):
            _check_addresses(source, where, item, topology, addresses)
            spec = source.at(where).get("spec") or {}
            for field, expected in service_problems(item, spec, node_ports, families):
                raise source.error((*where, *field), expected)
        seen.add(item.key)
        # The items of a ServiceList leave to its head what they are; on its own, each says it.
        head = {"apiVersion": API_VERSIONS[type(item)], "kind": type(item).__name__}
        manifests.append(Manifest(head | source.at(where), item))
    services = sum(isinstance(manifest.item, Service) for manifest in manifests)
    if services > topology.network.service_ranges[0].num_addresses - _RESERVED_ADDRESSES:
        raise document.error((*place, "network", "serviceCIDR"), f"expected room for {services} Services")
    return LabSpec(topology, tuple(manifests))


def restore_lab(topology: Topology, objects: Iterable[dict[str, Any]]) -> LabSpec:
    """Return what `read_lab` has returned, from the objects that its manifests had."""
    documents = [YamlDocument("", 0, value, "") for value in objects]
    return LabSpec(
        topology,
        tuple(Manifest(value.value, item) for value in documents for _, item in decode_objects(value)),
    )


def _deployment_problems(topology: Topology) -> Iterator[tuple[FieldPath, str]]:
    """Yield what would be no problem of any pod's: a deployment without pods may have any name."""
    seen: set[tuple[str, str]] = set()
    for index, deployment in enumerate(topology.deployments):
        if (deployment.namespace, deployment.name) in seen:
            yield ("deployments", index, "name"), "expected each deployment once"
        seen.add((deployment.namespace, deployment.name))


def _objects(
    document: YamlDocument, place: FieldPath, topology: Topology
) -> Iterator[tuple[YamlDocument, FieldPath, Object]]:
    """Yield every object of the topology, with the document it stands in and its path there."""
    for index, entry in enumerate(topology.manifests):
        if not isinstance(entry, str):
            yield from (
                (document, where, item)
                for where, item in decode_objects(document, (*place, "manifests", index))
            )
            continue
        path = Path(document.file).parent / entry
        if not path.is_file():
            raise document.error((*place, "manifests", index), "expected an object or the path of a file")
        for other in read_documents(path):
            yield from ((other, where, item) for where, item in decode_objects(other))


def _check_object(document: YamlDocument, where: FieldPath, item: Object, seen: set[ObjectKey]) -> None:
    if not isinstance(item, _KINDS):
        # Nodes and pods that no namespace stands for would be promises that the lab does not keep.
        raise document.error((*where, "kind"), "expected Service, EndpointSlice or Namespace")
    for field, expected in object_problems(item):
        raise document.error((*where, *field), expected)
    if item.key in RESERVED:
        raise document.error(
            (*where, "metadata", "name"), f"expected another name, {RESERVED[item.key]} makes {item.key}"
        )
    if item.key in seen:
        raise document.error(
            (*where, "metadata", "name"), f"expected each object once, {item.key} is here twice"
        )


def _check_addresses(
    document: YamlDocument, where: FieldPath, service: Service, topology: Topology, taken: set[str]
) -> None:
    """Refuse what an API server would: an address outside of the Services' range, or one given twice."""
    path = (*where, "spec", "clusterIP")
    for address in service.spec.cluster_ips:
        if not _is_inside(address, topology.network.service_ranges):
            raise document.error(path, f"expected an address in serviceCIDR {topology.network.service_cidr}")
        if address in taken:
            raise document.error(path, "expected each address once")
        taken.add(address)


def _is_inside(address: str, ranges: Iterable[Network]) -> bool:
    try:
        return any(ip_address(address) in each for each in ranges)
    except ValueError:
        return False
