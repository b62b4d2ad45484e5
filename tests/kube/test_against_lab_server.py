"""The source against the lab's own API server: TLS, tokens, compaction, restarts, kinds as it serves them."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netns_lab.apiserver.serve import RunningServer, ServerConfig, serve
from nodeplane.kube.api_request import Selector, collection_path
from nodeplane.kube.apiserver import ApiServerSource
from nodeplane.kube.connection import Connection
from nodeplane.kube.objects import API_VERSIONS, EndpointSlice, Object, ObjectKey, Service
from nodeplane.kube.reflector import Timing
from nodeplane.kube.wire import WireDecoder
from tests.kube.objects import endpoint_slice, keyed, service
from tests.kube.reading import reading

KINDS: tuple[type[Object], ...] = (Service, EndpointSlice)
TIMING = Timing(first_retry_s=0.005, max_retry_s=0.05)


class LabServer:
    """A server that can be restarted where it was; what people do goes through its HTTP interface."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._port = 0
        self._context = serve(ServerConfig(directory))
        self._server: RunningServer | None = None

    @property
    def running(self) -> RunningServer:
        """The server that answers now."""
        assert self._server is not None
        return self._server

    @property
    def connection(self) -> Connection:
        """The way that its kubeconfig describes."""
        return Connection.from_kubeconfig(self.running.kubeconfig)

    async def start(self) -> None:
        """Begin to answer, at the same address as before."""
        self._context = serve(ServerConfig(self._directory, listen=("127.0.0.1", self._port)))
        self._server = await self._context.__aenter__()
        self._port = int(self._server.url.rpartition(":")[2])

    async def stop(self) -> None:
        """End every watch and answer no more; the objects are in the store."""
        await self._context.__aexit__(None, None, None)

    async def put(self, item: Object) -> None:
        """Create an object, or change it."""
        value: dict[str, Any] = msgspec.to_builtins(item)
        value |= {"apiVersion": API_VERSIONS[type(item)], "kind": type(item).__name__}
        path = _path(item.key)
        async with await self.connection.open() as client:
            answer = await client.patch(
                f"{path}/{item.metadata.name}",
                content=msgspec.json.encode(value),
                headers={"Content-Type": "application/merge-patch+json"},
            )
            if answer.status_code == 404:
                answer = await client.post(path, json=value)
        assert answer.is_success, answer.text

    async def delete(self, key: ObjectKey) -> None:
        """Delete an object that may be there."""
        async with await self.connection.open() as client:
            answer = await client.delete(f"{_path(key)}/{key.name}")
        assert answer.status_code in {200, 404}, answer.text

    async def objects(self) -> dict[ObjectKey, Object]:
        """Return what there is, from one list of each kind."""
        found: dict[ObjectKey, Object] = {}
        async with await self.connection.open() as client:
            for kind in KINDS:
                body = (await client.get(collection_path(kind))).content
                found |= keyed(*WireDecoder(kind).page(body).items)
        return found


def _path(key: ObjectKey) -> str:
    prefix, _, plural = collection_path(key.kind).rpartition("/")
    return f"{prefix}/namespaces/{key.namespace}/{plural}"


ITEMS = st.builds(
    lambda name, port, is_slice: (
        endpoint_slice(name, name, f"10.0.0.{port}") if is_slice else service(name, port)
    ),
    st.sampled_from("abc"),
    st.integers(1, 3),
    st.booleans(),
)
STEPS = st.lists(
    st.one_of(
        ITEMS.map(lambda item: ("put", item)),
        ITEMS.map(lambda item: ("delete", item.key)),
        st.sampled_from([("compact",), ("rotate",), ("restart",), ("read",)]),
    ),
    max_size=12,
)


@settings(max_examples=15, deadline=None)
@given(STEPS)
def test_the_state_is_the_servers(steps: list[tuple[Any, ...]]) -> None:
    """Through changes, compactions, rotated tokens and restarts, the reader ends where the server is."""

    async def walk(directory: Path) -> None:
        server = LabServer(directory)
        await server.start()
        try:
            async with reading(ApiServerSource(server.connection, timing=TIMING), *KINDS) as reader:
                for step in steps:
                    match step:
                        case ("put", item):
                            await server.put(item)
                        case ("delete", key):
                            await server.delete(key)
                        case ("compact",):
                            await server.running.compact()
                        case ("rotate",):
                            server.running.rotate_token()
                        case ("restart",):
                            await server.stop()
                            await server.start()
                        case ("read",):
                            await reader.until(await server.objects())
                await reader.until(await server.objects())
        finally:
            await server.stop()

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(walk(Path(directory)))


@pytest.mark.parametrize(
    ("selectors", "names"),
    [
        pytest.param({}, {"kubernetes", "web", "db", "headless"}, id="all"),
        pytest.param(
            {Service: Selector(label="!tier")}, {"kubernetes", "web", "headless"}, id="no such label"
        ),
        pytest.param({Service: Selector(field="metadata.name=web")}, {"web"}, id="by name"),
        pytest.param(
            {Service: Selector(field="spec.clusterIP!=None")}, {"kubernetes", "web", "db"}, id="not headless"
        ),
    ],
)
def test_selectors(tmp_path: Path, selectors: dict[type[Object], Selector], names: set[str]) -> None:
    """The server leaves out what a program does not ask for."""
    labelled = msgspec.structs.replace(service("db").metadata, labels={"tier": "back"})
    web, headless = service("web"), service("headless")
    headless = msgspec.structs.replace(
        headless, spec=msgspec.structs.replace(headless.spec, cluster_ip="None")
    )

    async def walk() -> set[str]:
        server = LabServer(tmp_path)
        await server.start()
        try:
            for item in (web, msgspec.structs.replace(service("db"), metadata=labelled), headless):
                await server.put(item)
            async with reading(
                ApiServerSource(server.connection, selectors, timing=TIMING), Service
            ) as reader:
                return {key.name for key in reader.state}
        finally:
            await server.stop()

    assert asyncio.run(walk()) == names
