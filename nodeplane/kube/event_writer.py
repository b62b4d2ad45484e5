"""Writes events to an API server.

They are told once and not waited for: one that can't be written is logged, and nothing else depends on it.
"""

import asyncio
import logging
import time

import httpx2
import msgspec

from nodeplane.errors import NodeplaneError
from nodeplane.kube.connection import Connection
from nodeplane.kube.event import EventAbout, build_event

# More than a program has to tell before somebody looks.
_WAITING = 100

log = logging.getLogger(__name__)


class EventWriter:
    """Writes events in the order in which they are told; `component` on `host` tells them."""

    def __init__(self, connection: Connection, component: str, host: str) -> None:
        self._connection = connection
        self._component = component
        self._host = host
        self._waiting: asyncio.Queue[EventAbout] = asyncio.Queue(_WAITING)

    def tell(self, event: EventAbout) -> None:
        """Have an event written; with too many waiting it is lost."""
        try:
            self._waiting.put_nowait(event)
        except asyncio.QueueFull:
            log.warning("event lost, too many wait reason=%s object=%s", event.reason, event.name)

    async def run(self) -> None:
        """Write for as long as the task lives."""
        while True:
            event = await self._waiting.get()
            try:
                async with await self._connection.open() as client:
                    await self._write(client, event)
            except (NodeplaneError, httpx2.HTTPError, OSError) as exc:
                log.warning(
                    "event not written reason=%s object=%s error=%r", event.reason, event.name, str(exc)
                )

    async def _write(self, client: httpx2.AsyncClient, event: EventAbout) -> None:
        now_s = time.time()
        value = build_event(event, self._component, self._host, now_s)
        path = f"api/v1/namespaces/{value['metadata']['namespace']}/events"
        headers = {"Content-Type": "application/json"}
        response = await client.post(path, content=msgspec.json.encode(value), headers=headers)
        response.raise_for_status()
