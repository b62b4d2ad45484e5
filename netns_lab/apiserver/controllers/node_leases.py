"""The node lifecycle controller: a Node whose Lease is not renewed is NotReady until it is again.

A lease is judged by when this server saw it change, not by the times written in it: the clocks of two
machines need not agree (node_lifecycle_controller's nodeHealthMap). A node without a lease is left alone.
"""

import asyncio
import logging
from functools import partial
from typing import Literal, TypeAlias

from netns_lab.apiserver.history import Event
from netns_lab.apiserver.registry import Registry
from netns_lab.apiserver.resources import LEASES, NODES, Resource
from netns_lab.apiserver.status import StatusError
from netns_lab.apiserver.strategy import now_text
from netns_lab.apiserver.wire import Json

LEASE_NAMESPACE = "kube-node-lease"
_LOST = "NodeStatusUnknown"
_WORDS = {
    "True": ("KubeletReady", "lease renewed"),
    "Unknown": (_LOST, "Kubelet stopped posting node status."),
}

Status: TypeAlias = Literal["True", "Unknown"]

log = logging.getLogger(__name__)


def judge(live: Json, status: Status) -> Json:
    """Return a node with the Ready condition that its lease's state asks for.

    A lost lease makes it Unknown; a renewed one makes it True only where a lost one had made it Unknown.
    """
    conditions = list((live.get("status") or {}).get("conditions") or ())
    ready = next((entry for entry in conditions if entry.get("type") == "Ready"), None)
    if status == "Unknown" and ready is not None and ready.get("status") == "Unknown":
        return live
    if status == "True" and (ready is None or ready.get("reason") != _LOST):
        return live
    reason, message = _WORDS[status]
    condition = {
        "type": "Ready",
        "status": status,
        "lastHeartbeatTime": now_text(),
        "lastTransitionTime": now_text(),
        "reason": reason,
        "message": message,
    }
    others = [entry for entry in conditions if entry.get("type") != "Ready"]
    return {**live, "status": {**(live.get("status") or {}), "conditions": [*others, condition]}}


class NodeLeaseController:
    """Told of every event by `observe`; works in `run`.

    Args:
        grace_s: How long a lease counts after a change (--node-monitor-grace-period).
        interval_s: How often leases are looked at (--node-monitor-period).
    """

    def __init__(self, registry: Registry, *, grace_s: float, interval_s: float) -> None:
        self._registry = registry
        self._grace_s = grace_s
        self._interval_s = interval_s
        self._seen_at: dict[str, float] = {}
        self._judged: dict[str, Status] = {}
        self._wanted = asyncio.Event()

    def observe(self, resource: Resource, event: Event) -> None:
        """Take an event in."""
        item = event.new or event.old
        if item is None:
            return
        if resource is NODES and (event.old is None or event.new is None):
            # Another node of that name has been judged, if any.
            self._judged.pop(item.name, None)
        if resource is not LEASES or item.namespace != LEASE_NAMESPACE:
            return
        if event.new is None:
            self._seen_at.pop(item.name, None)
            return
        self._seen_at[item.name] = asyncio.get_running_loop().time()
        if self._judged.get(item.name) != "True":
            self._wanted.set()

    async def run(self) -> None:
        """Watch leases for as long as the task lives."""
        while True:
            self._wanted.clear()
            now = asyncio.get_running_loop().time()
            for name, seen_at in tuple(self._seen_at.items()):
                status: Status = "Unknown" if now - seen_at > self._grace_s else "True"
                if self._judged.get(name) != status:
                    await self._set_ready(name, status)
            try:
                async with asyncio.timeout(self._interval_s):
                    await self._wanted.wait()
            except TimeoutError:
                continue

    async def _set_ready(self, name: str, status: Status) -> None:
        try:
            await self._registry.update(NODES, "", name, partial(judge, status=status), subresource="status")
        except StatusError as exc:
            if exc.code != 404:
                log.info("node condition to be tried again node=%s error=%r", name, str(exc))
            return
        log.info("node judged by its lease node=%s ready=%s", name, status)
        self._judged[name] = status
