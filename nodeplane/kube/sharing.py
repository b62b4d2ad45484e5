"""One copy of what thousands of objects say alike: names of nodes, zones and namespaces, conditions, labels.

A decoder makes a new value of each: of 10,000 Services with four endpoints each, 20 of 55 MB. Strings are
interned by Python, which forgets a string that nobody holds any more.
"""

from itertools import product
from sys import intern
from typing import Any, TypeVar

from msgspec.structs import force_setattr

from nodeplane.kube.objects import (
    Endpoint,
    EndpointConditions,
    EndpointPort,
    EndpointSlice,
    Object,
    Pod,
    Service,
    ServicePort,
)

_ANY = (None, True, False)
# All there are.
_CONDITIONS = {
    conditions: conditions for conditions in (EndpointConditions(*each) for each in product(_ANY, _ANY, _ANY))
}

# The lists that came first. Node ports make each list another one; without a bound this would be a leak.
_MAX_PORTS = 1024
_PORTS: dict[Any, Any] = {}

_Ports = TypeVar("_Ports", tuple[ServicePort, ...] | None, tuple[EndpointPort, ...] | None)


def share(item: Object) -> None:
    """Replace common parts of an object by equal ones that others hold too.

    The object is frozen for its readers; this is for the one who has just decoded it and shown it to nobody.
    """
    metadata = item.metadata
    # The name as well: labels and selectors repeat it, and so do slices, the name of their Service.
    force_setattr(metadata, "name", intern(metadata.name))
    force_setattr(metadata, "namespace", intern(metadata.namespace))
    _share_values(metadata.labels)
    if isinstance(item, EndpointSlice):
        force_setattr(item, "raw_ports", _share_ports(item.raw_ports))
        for endpoint in item.endpoints:
            _share_endpoint(endpoint)
    elif isinstance(item, Service):
        force_setattr(item.spec, "raw_ports", _share_ports(item.spec.raw_ports))
        _share_values(item.spec.selector)
    elif isinstance(item, Pod):
        force_setattr(item.spec, "node_name", intern(item.spec.node_name))


def _share_endpoint(endpoint: Endpoint) -> None:
    force_setattr(endpoint, "conditions", _CONDITIONS[endpoint.conditions])
    if endpoint.node_name is not None:
        force_setattr(endpoint, "node_name", intern(endpoint.node_name))
    if endpoint.zone is not None:
        force_setattr(endpoint, "zone", intern(endpoint.zone))
    target = endpoint.target_ref
    if target is not None:
        force_setattr(target, "kind", intern(target.kind))
        force_setattr(target, "namespace", intern(target.namespace))


def _share_ports(ports: _Ports) -> _Ports:
    """Return ports that are equal to these; most objects have one of a few lists of them."""
    if len(_PORTS) < _MAX_PORTS:
        return _PORTS.setdefault(ports, ports)
    return _PORTS.get(ports, ports)


def _share_values(texts: dict[str, str] | None) -> None:
    if texts:
        for name, text in texts.items():
            # The key is there already, so the iteration goes on.
            texts[name] = intern(text)
