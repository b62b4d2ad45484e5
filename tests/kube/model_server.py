"""A small API server with the protocol's semantics and a switch for each of its faults."""

import asyncio
from typing import Any

import msgspec

from nodeplane.kube.api_request import collection_path
from nodeplane.kube.objects import KINDS, Object, ObjectKey
from tests.kube.peer import Reply, Request, status

_KINDS = {f"/{collection_path(kind)}": kind for kind in KINDS.values()}


class _Event(msgspec.Struct, frozen=True):
    version: int
    step: str
    item: Object


class ModelServer:
    """Holds objects and their history; `handle` answers requests about them.

    `streaming` says whether it offers streaming lists, `token` which bearer token it wants.
    """

    def __init__(self, *, streaming: bool = True, token: str = "") -> None:
        self.objects: dict[ObjectKey, Object] = {}
        self.streaming = streaming
        self.token = token
        self.version = 100
        self.watches = 0
        self._compacted = 0
        self._history: list[_Event] = []
        self._versions: dict[ObjectKey, int] = {}
        self._snapshots: dict[int, list[Object]] = {}
        self._bookmarks = 0
        self._ends = 0
        self._news = asyncio.Condition()

    async def put(self, item: Object) -> None:
        """Create or change an object; written as it is already, it keeps its version."""
        if self.objects.get(item.key) != item:
            step = "MODIFIED" if item.key in self.objects else "ADDED"
            self.objects[item.key] = item
            await self._write(step, item)

    async def delete(self, key: ObjectKey) -> None:
        """Delete an object that may be there."""
        item = self.objects.pop(key, None)
        if item is not None:
            await self._write("DELETED", item)
            del self._versions[key]

    async def compact(self) -> None:
        """Forget the history, as etcd does every five minutes; lists in pages can't be continued either."""
        self._compacted = self.version
        self._history.clear()
        self._snapshots.clear()
        await self._tell()

    async def bookmark(self) -> None:
        """Send every watch a bookmark."""
        self._bookmarks += 1
        await self._tell()

    async def end_watches(self) -> None:
        """End every watch as if its time were up."""
        self._ends += 1
        await self._tell()

    async def handle(self, request: Request, reply: Reply) -> None:
        """Answer a request."""
        kind = _KINDS.get(request.path)
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            await reply.status(401, "Unauthorized")
        elif kind is None:
            await reply.status(404, "NotFound")
        elif request.is_watch:
            await self._watch(kind, request, reply)
        else:
            await self._list(kind, request, reply)

    async def _list(self, kind: type[Object], request: Request, reply: Reply) -> None:
        token = request.query.get("continue", "")
        version, start = map(int, token.split(":")) if token else (self.version, 0)
        if not token:
            self._snapshots[version] = self._with_versions()
        if version not in self._snapshots:
            await reply.status(410, "Expired")
            return
        items = [item for item in self._snapshots[version] if type(item) is kind]
        end = start + int(request.query.get("limit", len(items)))
        metadata: dict[str, Any] = {"resourceVersion": str(version)}
        if end < len(items):
            metadata["continue"] = f"{version}:{end}"
        await reply.json(
            {"kind": f"{kind.__name__}List", "metadata": metadata, "items": items[start:end] or None}
        )

    async def _watch(self, kind: type[Object], request: Request, reply: Reply) -> None:
        await reply.start()
        if request.is_streaming_list:
            if not self.streaming:
                await reply.event("ERROR", status(500, "InternalError"))
                await reply.end()
                return
            version = self.version
            for item in [item for item in self._with_versions() if type(item) is kind]:
                await reply.event("ADDED", item)
            annotations = {"k8s.io/initial-events-end": "true"}
            await reply.event(
                "BOOKMARK", {"metadata": {"resourceVersion": str(version), "annotations": annotations}}
            )
        else:
            version = int(request.query["resourceVersion"])
        self.watches += 1
        try:
            async with asyncio.timeout(float(request.query["timeoutSeconds"])):
                await self._follow(kind, version, reply)
        except TimeoutError:
            await reply.end()
        finally:
            self.watches -= 1

    async def _follow(self, kind: type[Object], version: int, reply: Reply) -> None:
        bookmarks, ends = self._bookmarks, self._ends
        while True:
            if version < self._compacted:
                await reply.event("ERROR", status(410, "Expired"))
                break
            if version > self.version:
                await reply.event("ERROR", status(504, "Too large resource version"))
                break
            for event in [event for event in self._history if event.version > version]:
                if type(event.item) is kind:
                    await reply.event(event.step, event.item)
                version = event.version
            if self._bookmarks > bookmarks:
                bookmarks = self._bookmarks
                await reply.event("BOOKMARK", {"metadata": {"resourceVersion": str(version)}})
            if self._ends > ends:
                break
            async with self._news:
                await self._news.wait()
        await reply.end()

    async def _write(self, step: str, item: Object) -> None:
        self.version += 1
        self._versions[item.key] = self.version
        self._history.append(_Event(self.version, step, _with_version(item, self.version)))
        await self._tell()

    def _with_versions(self) -> list[Object]:
        return [_with_version(item, self._versions[key]) for key, item in self.objects.items()]

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()


def _with_version(item: Object, version: int) -> Object:
    metadata = msgspec.structs.replace(item.metadata, resource_version=str(version))
    return msgspec.structs.replace(item, metadata=metadata)
