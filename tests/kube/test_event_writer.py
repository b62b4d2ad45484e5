"""Events as the API server gets them, and what comes of those that it refuses."""

import asyncio
from typing import cast

import httpx2
import msgspec
import pytest

from nodeplane.errors import ApiError
from nodeplane.kube.connection import Connection
from nodeplane.kube.event import EventAbout, build_event
from nodeplane.kube.event_writer import EventWriter

REFUSED = EventAbout("Service", "shop", "web", "Warning", "FailedToStartServiceHealthcheck", "taken")
STARTING = EventAbout("Node", "", "n1", "Normal", "Starting")


class _Server:
    """Stands for a connection to a server that fails so often first, by an answer or by none at all."""

    def __init__(self, failures: int, *, answers: bool = True) -> None:
        self.taken: list[tuple[str, str, object]] = []
        self._failures = failures
        self._answers = answers

    async def open(self) -> httpx2.AsyncClient:
        if self._failures and not self._answers:
            self._failures -= 1
            raise ApiError("not reached")
        return httpx2.AsyncClient(transport=httpx2.MockTransport(self._take), base_url="https://api/")

    def _take(self, request: httpx2.Request) -> httpx2.Response:
        if self._failures:
            self._failures -= 1
            return httpx2.Response(403)
        value = msgspec.json.decode(request.content)
        self.taken.append((request.url.path, value["reason"], value["involvedObject"]))
        return httpx2.Response(201)


@pytest.mark.parametrize("answers", [True, False])
@pytest.mark.parametrize("failures", [0, 1])
def test_events(failures: int, answers: bool) -> None:
    """Each event is posted where its object is; one that can't be written does not stop the others."""
    server = _Server(failures, answers=answers)

    async def run() -> None:
        writer = EventWriter(cast("Connection", server), "kube-proxy", "n1")
        for event in (REFUSED, REFUSED, STARTING):
            writer.tell(event)
        task = asyncio.create_task(writer.run())
        async with asyncio.timeout(30):
            while len(server.taken) < 3 - failures:
                await asyncio.sleep(0)
        task.cancel()

    asyncio.run(run())
    service = {"apiVersion": "v1", "kind": "Service", "name": "web", "namespace": "shop"}
    node = {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "n1"}
    assert (
        server.taken
        == [
            ("/api/v1/namespaces/shop/events", "FailedToStartServiceHealthcheck", service),
            ("/api/v1/namespaces/shop/events", "FailedToStartServiceHealthcheck", service),
            ("/api/v1/namespaces/default/events", "Starting", node),
        ][failures:]
    )


def test_more_than_anybody_reads() -> None:
    """What nobody writes does not pile up."""
    writer = EventWriter(cast("Connection", _Server(0)), "kube-proxy", "n1")
    for _ in range(1000):
        writer.tell(STARTING)


def test_build() -> None:
    """Whole, as core/v1 has it."""
    assert build_event(REFUSED, "kube-proxy", "n1", 1_700_000_000.5) == {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "web.17979cfe53f76500", "namespace": "shop"},
        "involvedObject": {"apiVersion": "v1", "kind": "Service", "name": "web", "namespace": "shop"},
        "source": {"component": "kube-proxy", "host": "n1"},
        "type": "Warning",
        "reason": "FailedToStartServiceHealthcheck",
        "message": "taken",
        "count": 1,
        "firstTimestamp": "2023-11-14T22:13:20Z",
        "lastTimestamp": "2023-11-14T22:13:20Z",
        "reportingComponent": "kube-proxy",
        "reportingInstance": "n1",
    }
