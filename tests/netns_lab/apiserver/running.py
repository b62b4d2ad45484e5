"""A server in this process, and a client that speaks HTTP to it."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from netns_lab.apiserver.serve import RunningServer, ServerConfig, serve

T = TypeVar("T")

LIMIT_S = 60.0
SHOP = "/api/v1/namespaces/shop"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices"


class Client:
    """JSON in, JSON out."""

    def __init__(self, http: httpx2.AsyncClient, server: RunningServer) -> None:
        self.http = http
        self.server = server

    async def request(
        self, method: str, path: str, body: Any = None, *, code: int | None = None, media_type: str = ""
    ) -> Any:
        """Send a request; expect success, or `code`."""
        content = None if body is None else json.dumps(body)
        headers = {"content-type": media_type or "application/json"} if body is not None else {}
        response = await self.http.request(method, path, content=content, headers=headers)
        expected = {code} if code is not None else {200, 201}
        assert response.status_code in expected, response.text
        return response.json()

    async def get(self, path: str, **more: Any) -> Any:
        return await self.request("GET", path, **more)

    async def post(self, path: str, body: Any, **more: Any) -> Any:
        return await self.request("POST", path, body, **more)

    async def patch(self, path: str, body: Any, *, kind: str = "merge-patch+json", **more: Any) -> Any:
        return await self.request("PATCH", path, body, media_type=f"application/{kind}", **more)

    @asynccontextmanager
    async def watch(self, path: str) -> AsyncIterator["Events"]:
        """Open a watch."""
        async with self.http.stream("GET", path) as response:
            assert response.status_code == 200
            yield Events(response.aiter_lines())


class Events:
    """The lines of a watch."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines

    async def next(self) -> Any:
        return json.loads(await anext(self._lines))

    async def rest(self) -> list[Any]:
        """Return everything up to the watch's end."""
        return [json.loads(line) async for line in self._lines]

    async def names(self, count: int) -> list[tuple[str, str]]:
        """Return type and name of the next events."""
        events = [await self.next() for _ in range(count)]
        return [(event["type"], event["object"]["metadata"].get("name", "")) for event in events]


def run(scenario: Callable[[Client], Awaitable[T]], directory: Path, **config: Any) -> T:
    """Run a scenario against a server of its own."""

    async def main() -> T:
        async with asyncio.timeout(LIMIT_S), running(directory, **config) as client:
            return await scenario(client)

    return asyncio.run(main())


@asynccontextmanager
async def running(directory: Path, **config: Any) -> AsyncIterator[Client]:
    """Start a server and a client of it."""
    settings = ServerConfig(**{"directory": directory, "store": "memory://", **config})
    async with serve(settings) as server:
        context = ssl.create_default_context(cafile=str(server.ca_file))
        headers = {"authorization": f"Bearer {server.token}"}
        async with httpx2.AsyncClient(
            base_url=server.url, verify=context, headers=headers, timeout=LIMIT_S, trust_env=False
        ) as http:
            yield Client(http, server)


async def eventually(client: Client, path: str, read: Callable[[Any], T], expected: T) -> None:
    """Wait until what `read` takes from a list is as expected, woken by the list's own watch."""
    while True:
        listed = await client.get(path)
        found = read(listed["items"])
        if found == expected:
            return
        query = (
            f"watch=1&resourceVersion={listed['metadata']['resourceVersion']}&timeoutSeconds={LIMIT_S:.0f}"
        )
        async with client.watch(f"{path}{'&' if '?' in path else '?'}{query}") as events:
            await events.next()


def namespace(name: str = "shop") -> Any:
    return {"metadata": {"name": name}}


def service(name: str, **spec: Any) -> Any:
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], **spec}}


def config_map(name: str, labels: dict[str, str] | None = None, **data: str) -> Any:
    return {"metadata": {"name": name, **({"labels": labels} if labels else {})}, "data": data}
