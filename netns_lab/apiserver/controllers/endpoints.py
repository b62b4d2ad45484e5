"""The endpoint slice controller: keeps the slices of each Service with a selector in step with its Pods.

What it knows it takes from the server's events as they happen; what is out of step is a set of Services, so
any number of changes to one of them is one reconciliation.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Mapping

import msgspec

from netns_lab.apiserver.controllers.pod_backends import (
    BackedService,
    BackendSlice,
    BackingPod,
    NodeFacts,
    build_backends,
)
from netns_lab.apiserver.controllers.slice_plan import NewSlice, plan_slices
from netns_lab.apiserver.history import Event
from netns_lab.apiserver.registry import Registry
from netns_lab.apiserver.resources import ENDPOINT_SLICES, NODES, PODS, SERVICES, Resource
from netns_lab.apiserver.status import StatusError
from netns_lab.apiserver.strategy import DeleteOptions
from netns_lab.apiserver.wire import Item, Json
from nodeplane.kube.objects import SERVICE_NAME_LABEL, Object, PodCondition

MANAGED_BY_LABEL = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
_HEADLESS_LABEL = "service.kubernetes.io/headless"
_ZONE_LABEL = "topology.kubernetes.io/zone"
_RETRY_INTERVAL_S = 0.5

ServiceName = tuple[str, str]

log = logging.getLogger(__name__)


class _NodeStatus(msgspec.Struct, frozen=True):
    conditions: tuple[PodCondition, ...] | None = None


class _Node(Object, frozen=True):
    status: _NodeStatus = _NodeStatus()


class EndpointsController:
    """Told of every event by `observe`; works in `run`."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._services: dict[ServiceName, BackedService] = {}
        self._pods: defaultdict[str, dict[str, BackingPod]] = defaultdict(dict)
        self._nodes: dict[str, NodeFacts] = {}
        self._slices: defaultdict[ServiceName, dict[str, BackendSlice]] = defaultdict(dict)
        self._stale: set[ServiceName] = set()
        self._wanted = asyncio.Event()

    def observe(self, resource: Resource, event: Event) -> None:
        """Take an event in, and note whose slices it may change."""
        if resource is SERVICES:
            self._take_service(event)
        elif resource is PODS:
            self._take_pod(event)
        elif resource is NODES:
            self._take_node(event)
        elif resource is ENDPOINT_SLICES:
            self._take_slice(event)
        if self._stale:
            self._wanted.set()

    async def run(self) -> None:
        """Reconcile for as long as the task lives."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            stale, self._stale = self._stale, set()
            failed = {name for name in sorted(stale) if not await self._try_reconcile(name)}
            if failed:
                await asyncio.sleep(_RETRY_INTERVAL_S)
                self._stale |= failed
                self._wanted.set()

    async def _try_reconcile(self, name: ServiceName) -> bool:
        try:
            await self._reconcile(name)
        except StatusError as exc:
            log.info("endpoints to be tried again service=%s/%s error=%r", *name, str(exc))
            return False
        return True

    async def _reconcile(self, name: ServiceName) -> None:
        namespace = name[0]
        service = self._services.get(name)
        mine = list(self._slices.get(name, {}).values())
        if service is None or not service.has_selector:
            for piece in mine:
                await self._delete(namespace, piece.metadata.name)
            return
        backends = build_backends(service, self._pods[namespace].values(), self._nodes)
        plan = plan_slices(backends, mine, service.spec.ip_families or ("IPv4",))
        for new in plan.create:
            await self._registry.create(ENDPOINT_SLICES, namespace, _render_slice(service, new))
        for slice_name, endpoints in plan.update.items():
            await self._update(namespace, slice_name, {"endpoints": msgspec.to_builtins(endpoints)})
        for slice_name in plan.delete:
            await self._delete(namespace, slice_name)
        labels = _labels(service)
        for piece in mine:
            if piece.metadata.name not in plan.delete and piece.labels != labels:
                await self._update(namespace, piece.metadata.name, {"metadata": {"labels": labels}})

    async def _update(self, namespace: str, name: str, fields: Json) -> None:
        def change(live: Json) -> Json:
            metadata = {**live["metadata"], **fields.get("metadata", {})}
            return {**live, **fields, "metadata": metadata}

        await self._registry.update(ENDPOINT_SLICES, namespace, name, change)

    async def _delete(self, namespace: str, name: str) -> None:
        try:
            await self._registry.delete(ENDPOINT_SLICES, namespace, name, DeleteOptions())
        except StatusError as exc:
            if exc.code != 404:
                raise

    def _take_service(self, event: Event) -> None:
        name = _name(event)
        if event.new is None:
            self._services.pop(name, None)
        else:
            self._services[name] = msgspec.json.decode(event.new.body, type=BackedService)
        self._stale.add(name)

    def _take_pod(self, event: Event) -> None:
        namespace, name = _name(event)
        old = self._pods[namespace].pop(name, None)
        new = None
        if event.new is not None:
            new = self._pods[namespace][name] = msgspec.json.decode(event.new.body, type=BackingPod)
        labels = [pod.labels for pod in (old, new) if pod is not None]
        self._stale |= {
            key
            for key, service in self._services.items()
            if key[0] == namespace and any(_selects(service, entry) for entry in labels)
        }

    def _take_node(self, event: Event) -> None:
        name = _name(event)[1]
        before = self._nodes.pop(name, NodeFacts())
        if event.new is not None:
            self._nodes[name] = _node_facts(event.new)
        if self._nodes.get(name, NodeFacts()) != before:
            namespaces = {
                namespace
                for namespace, pods in self._pods.items()
                if any(pod.spec.node_name == name for pod in pods.values())
            }
            self._stale |= {key for key in self._services if key[0] in namespaces}

    def _take_slice(self, event: Event) -> None:
        """File a slice of ours; one that somebody else has changed is put right."""
        for item in (event.old, event.new):
            if item is None or item.labels.get(MANAGED_BY_LABEL) != MANAGER:
                continue
            owner = (item.namespace, item.labels.get(SERVICE_NAME_LABEL, ""))
            if item is event.new:
                self._slices[owner][item.name] = msgspec.json.decode(item.body, type=BackendSlice)
            else:
                self._slices[owner].pop(item.name, None)
            self._stale.add(owner)


def _name(event: Event) -> ServiceName:
    item = event.new or event.old
    if item is None:
        raise AssertionError("an event has an object")
    return item.namespace, item.name


def _selects(service: BackedService, labels: Mapping[str, str]) -> bool:
    return service.has_selector and (service.spec.selector or {}).items() <= labels.items()


def _node_facts(item: Item) -> NodeFacts:
    node = msgspec.json.decode(item.body, type=_Node)
    conditions = {condition.type: condition.status for condition in node.status.conditions or ()}
    # A node that reports nothing is no node that has stopped reporting.
    return NodeFacts(item.labels.get(_ZONE_LABEL, ""), conditions.get("Ready", "True") == "True")


def _labels(service: BackedService) -> dict[str, str]:
    headless = {_HEADLESS_LABEL: ""} if service.is_headless else {}
    name = service.metadata.name
    return {**service.labels, **headless, SERVICE_NAME_LABEL: name, MANAGED_BY_LABEL: MANAGER}


def _render_slice(service: BackedService, new: NewSlice) -> Json:
    metadata = service.metadata
    owner = {
        "apiVersion": "v1",
        "kind": "Service",
        "name": metadata.name,
        "uid": metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {
        "metadata": {
            "generateName": f"{metadata.name}-",
            "labels": _labels(service),
            "ownerReferences": [owner],
        },
        "addressType": new.group.family,
        "endpoints": msgspec.to_builtins(new.endpoints),
        "ports": msgspec.to_builtins(new.group.ports),
    }
