"""What a cluster has from its first moment to its last: system namespaces, the API's own Service, its CIDRs.

Who deletes or changes one of them finds it again at once, as with the controllers of kube-apiserver
(systemnamespaces, kubernetesservice, defaultservicecidr).
"""

import asyncio
import logging

import msgspec

from netns_lab.apiserver.history import Event
from netns_lab.apiserver.registry import Registry
from netns_lab.apiserver.resources import ENDPOINT_SLICES, NAMESPACES, SERVICE_CIDRS, SERVICES, Resource
from netns_lab.apiserver.service_addresses import ServiceRanges
from netns_lab.apiserver.status import StatusError
from netns_lab.apiserver.store import StoreError
from netns_lab.apiserver.strategy import DeleteOptions
from netns_lab.apiserver.wire import Json, decode_object
from nodeplane.kube.address_text import is_endpoint_address

SYSTEM_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
_LABELS = {"component": "apiserver", "provider": "kubernetes"}
_NAME = "kubernetes"
# Somebody may have taken the address of the Service meanwhile, and give it back.
_RETRY_S = 1.0

log = logging.getLogger(__name__)


class _Wanted(msgspec.Struct, frozen=True):
    """An object that has to be there, and its fields that follow this server when it is there already."""

    resource: Resource
    namespace: str
    name: str
    value: Json
    followed: tuple[tuple[str, ...], ...] = ()


class FirstObjects:
    """Makes what is missing; a server that starts again at another port says so."""

    def __init__(self, registry: Registry, ranges: ServiceRanges, address: str, port: int) -> None:
        self._registry = registry
        self._wanted = {
            (each.resource.qualified, each.namespace, each.name): each
            for each in _build(ranges, address, port)
        }
        self._touched = asyncio.Event()

    def observe(self, resource: Resource, event: Event) -> None:
        """Take note of an event."""
        item = event.new or event.old
        if item is not None and (resource.qualified, item.namespace, item.name) in self._wanted:
            self._touched.set()

    async def ensure(self) -> None:
        """Make everything as it should be.

        Raises:
            StatusError, StoreError: something could not be written.
        """
        for each in self._wanted.values():
            await self._ensure(each)

    async def run(self) -> None:
        """Work for as long as the task lives."""
        while True:
            await self._touched.wait()
            self._touched.clear()
            try:
                await self.ensure()
            except (StatusError, StoreError) as exc:
                log.warning("an object of the cluster is missing error=%r retry_s=%.0f", str(exc), _RETRY_S)
                self._touched.set()
                await asyncio.sleep(_RETRY_S)

    async def _ensure(self, wanted: _Wanted) -> None:
        place = (wanted.resource, wanted.namespace, wanted.name)
        item = self._registry.state.history(wanted.resource).get(wanted.namespace, wanted.name)
        if item is None:
            await self._registry.create(wanted.resource, wanted.namespace, msgspec.to_builtins(wanted.value))
            return
        live = decode_object(wanted.resource, item)
        if all(_field(live, path) == _field(wanted.value, path) for path in wanted.followed):
            return
        if wanted.resource is SERVICE_CIDRS:
            # Its ranges are fixed: a server that starts again with others makes another object.
            await self._registry.delete(*place, DeleteOptions())
            await self._registry.create(wanted.resource, wanted.namespace, msgspec.to_builtins(wanted.value))
            return
        await self._registry.update(*place, lambda live: _follow(live, wanted))


def _build(ranges: ServiceRanges, address: str, port: int) -> list[_Wanted]:
    found = [_Wanted(NAMESPACES, "", name, {"metadata": {"name": name}}) for name in SYSTEM_NAMESPACES]
    cidrs = {"metadata": {"name": _NAME}, "spec": {"cidrs": [str(cidr) for cidr in ranges.cidrs]}}
    found.append(_Wanted(SERVICE_CIDRS, "", _NAME, cidrs, (("spec", "cidrs"),)))
    port_entry = {"name": "https", "protocol": "TCP", "port": 443, "targetPort": port}
    service = {
        "metadata": {"name": _NAME, "labels": _LABELS},
        "spec": {"clusterIP": ranges.server_address, "ports": [port_entry]},
    }
    # The address of the Service stays what it was made with; its ports follow the server.
    found.append(_Wanted(SERVICES, "default", _NAME, service, (("spec", "ports"),)))
    if is_endpoint_address(address):
        endpoints = {
            "metadata": {"name": _NAME, "labels": {"kubernetes.io/service-name": _NAME}},
            "addressType": "IPv6" if ":" in address else "IPv4",
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
            "ports": [{"name": "https", "protocol": "TCP", "port": port}],
        }
        found.append(_Wanted(ENDPOINT_SLICES, "default", _NAME, endpoints, (("endpoints",), ("ports",))))
    # Otherwise as with kube-apiserver on a loopback address, which refuses its own endpoint.
    return found


def _field(value: Json, path: tuple[str, ...]) -> object:
    found: object = value
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _follow(live: Json, wanted: _Wanted) -> Json:
    for *parents, name in wanted.followed:
        inside = live
        for parent in parents:
            inside = inside[parent]
        inside[name] = _field(wanted.value, (*parents, name))
    return live
