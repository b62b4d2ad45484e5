"""Ends what the lab has no kubelet for: a pod that is marked as going goes when its grace period is over."""

import asyncio
import logging
from datetime import UTC, datetime

from netns_lab.apiserver.history import Event, ObjectName
from netns_lab.apiserver.registry import Registry
from netns_lab.apiserver.resources import PODS, Resource
from netns_lab.apiserver.status import StatusError
from netns_lab.apiserver.strategy import DeleteOptions
from netns_lab.apiserver.wire import decode_object

log = logging.getLogger(__name__)


class PodTerminationController:
    """Told of every event by `observe`; works in `run`."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._due: dict[ObjectName, datetime] = {}
        self._wanted = asyncio.Event()

    def observe(self, resource: Resource, event: Event) -> None:
        """Take an event in."""
        item = event.new or event.old
        if resource is not PODS or item is None:
            return
        self._due.pop((item.namespace, item.name), None)
        if event.new is not None and b'"deletionTimestamp"' in event.new.body:
            due = decode_object(PODS, event.new)["metadata"].get("deletionTimestamp")
            if due:
                self._due[item.namespace, item.name] = datetime.fromisoformat(due.replace("Z", "+00:00"))
                self._wanted.set()

    async def run(self) -> None:
        """End pods for as long as the task lives."""
        while True:
            self._wanted.clear()
            now = datetime.now(UTC)
            for name in [name for name, due in self._due.items() if due <= now]:
                await self._end(name)
            left_s = min(((due - now).total_seconds() for due in self._due.values()), default=None)
            try:
                async with asyncio.timeout(None if left_s is None else max(left_s, 0.0)):
                    await self._wanted.wait()
            except TimeoutError:
                continue

    async def _end(self, name: ObjectName) -> None:
        try:
            await self._registry.delete(PODS, *name, DeleteOptions(grace_period_s=0))
        except StatusError as exc:
            if exc.code != 404:
                log.info("pod to be ended later pod=%s/%s error=%r", *name, str(exc))
        if name in self._due:
            # Still there: a finalizer holds it. Its removal is an event.
            del self._due[name]
