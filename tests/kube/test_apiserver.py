"""Cluster state from an API server: snapshots, changes, limits."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeplane.errors import ApiError, ConfigError
from nodeplane.kube.api_request import Selector
from nodeplane.kube.apiserver import ApiServerSource
from nodeplane.kube.connection import Connection
from nodeplane.kube.kubeconfig import Target, UserExec
from nodeplane.kube.objects import EndpointSlice, Namespace, Node, Object, Service
from nodeplane.kube.reflector import Timing
from tests.kube.api_cluster import QUICK, connect
from tests.kube.api_world import API, DB, WEB, list_of
from tests.kube.model_server import ModelServer
from tests.kube.objects import endpoint_slice, keyed, service
from tests.kube.peer import Peer, Reply, Request
from tests.kube.reading import LIMIT_S, reading

WEB_1 = endpoint_slice("web-1", "web", "10.0.0.1")


def test_unreadable_objects_are_skipped() -> None:
    """An object of another shape keeps its last version, and its deletion still counts."""
    odd = {"metadata": {"name": "web", "namespace": "default"}, "spec": {"type": "Teleport"}}
    nameless = {"metadata": {}, "spec": 7}

    async def handle(request: Request, reply: Reply) -> None:
        if request.is_streaming_list:
            await reply.status(400, "BadRequest")
        elif not request.is_watch:
            await reply.json(list_of(WEB, DB) if len(lists) == 0 else list_of(odd, nameless, DB))  # type: ignore[arg-type]  # odd on purpose
            lists.append(request)
        else:
            await reply.start()
            if len(lists) == 1:
                await reply.event("MODIFIED", odd)
                await reply.event("MODIFIED", nameless)
                await reply.event("ADDED", API)
                await proceed.wait()
            else:
                await reply.event("DELETED", odd)
                await asyncio.Event().wait()

    lists: list[Request] = []
    proceed = asyncio.Event()

    async def walk() -> None:
        async with (
            Peer(handle) as peer,
            reading(ApiServerSource(connect(peer.url), timing=QUICK), Service, always=[DB]) as reader,
        ):
            await reader.until(keyed(WEB, DB, API))
            # The watch is cut off; in the next list the odd one is there and API is not.
            proceed.set()
            await reader.until(keyed(WEB, DB))
            await reader.until(keyed(DB))

    asyncio.run(walk())


def test_nothing_before_all_kinds_are_complete() -> None:
    """Services are known, but as long as slices are not, nothing is delivered (law 4)."""

    async def walk() -> None:
        model = ModelServer()
        await model.put(WEB)
        await model.put(WEB_1)
        allowed = asyncio.Event()

        async def handle(request: Request, reply: Reply) -> None:
            if "endpointslices" in request.path and not allowed.is_set():
                await reply.status(403, "Forbidden")
            else:
                await model.handle(request, reply)

        async with Peer(handle) as peer:
            batches = ApiServerSource(connect(peer.url), timing=QUICK).batches((Service, EndpointSlice))
            first = asyncio.ensure_future(anext(batches))
            await peer.asked(lambda request: "endpointslices" in request.path, 5)
            assert not first.done()
            allowed.set()
            assert {change.key: change.new for change in await first} == keyed(WEB, WEB_1)
            await batches.aclose()

    asyncio.run(walk())


def test_selectors_go_to_the_server() -> None:
    """Lists and watches ask for what the program can use; kinds without a selector for everything."""
    selectors: dict[type[Object], Selector] = {
        Service: Selector(label="!headless"),
        Node: Selector(field="metadata.name=n1"),
    }

    async def walk() -> set[tuple[str, str, str]]:
        model = ModelServer(streaming=False)
        async with Peer(model.handle) as peer:
            source = ApiServerSource(connect(peer.url), selectors, timing=QUICK)
            async with reading(source, Service, Node, Namespace):
                await peer.asked(lambda request: "resourceVersion" in request.query, 3)
            return {
                (each.path, each.query.get("labelSelector", ""), each.query.get("fieldSelector", ""))
                for each in peer.requests
            }

    assert asyncio.run(walk()) == {
        ("/api/v1/services", "!headless", ""),
        ("/api/v1/nodes", "", "metadata.name=n1"),
        ("/api/v1/namespaces", "", ""),
    }


def test_streaming_lists_are_asked_for_once() -> None:
    """A server that does not offer them is not asked again (the recorded answer: ERROR 500 in a 200)."""

    async def walk() -> int:
        model = ModelServer(streaming=False)
        async with (
            Peer(model.handle) as peer,
            reading(ApiServerSource(connect(peer.url), timing=QUICK), Service),
        ):
            await peer.asked(lambda request: "resourceVersion" in request.query)
            await peer.hang_up()
            await peer.asked(lambda request: "resourceVersion" in request.query, 2)
            return sum(request.is_streaming_list for request in peer.requests)

    assert asyncio.run(walk()) == 1


def test_a_wrong_configuration_ends_the_source() -> None:
    """What only its author can change is not waited for."""

    def read() -> Target:
        raise ConfigError("kubeconfig:3", "users[0].name", "expected a value")

    with pytest.raises(ConfigError, match="kubeconfig:3"):
        asyncio.run(anext(ApiServerSource(Connection(read)).batches((Service, Node))))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        pytest.param(403, "list Service: 403 Forbidden", id="forbidden"),
        pytest.param(503, "watch Service: 503 Forbidden", id="unavailable"),
    ],
)
def test_a_snapshot_within_a_limit(code: int, said: str) -> None:
    """A program that runs once waits for a while, then says what was wrong."""

    async def handle(request: Request, reply: Reply) -> None:
        await reply.status(code, "Forbidden")

    async def walk() -> None:
        async with Peer(handle) as peer:
            source = ApiServerSource(connect(peer.url), snapshot_within_s=0.5, timing=QUICK)
            await anext(source.batches((Service,)))

    with pytest.raises(ApiError, match=said):
        asyncio.run(walk())


def test_a_plugin_that_hangs_does_not_hold_up_a_limit(tmp_path: Path) -> None:
    """A credential plugin whose child goes on for ever ends with the time that the program has."""
    plugin = tmp_path / "plugin"
    plugin.write_text("#!/bin/sh\nsleep 300\n")
    plugin.chmod(0o755)
    command = UserExec(apiVersion="client.authentication.k8s.io/v1", command=str(plugin))

    async def walk() -> None:
        connection = connect("http://127.0.0.1:9", exec=command)
        async with asyncio.timeout(LIMIT_S):
            await anext(ApiServerSource(connection, snapshot_within_s=0.5, timing=QUICK).batches((Service,)))

    with pytest.raises(ApiError, match=r"not complete after 0\.5 s: no answer"):
        asyncio.run(walk())


def test_no_kinds() -> None:
    """Who asks for nothing is told so at once."""

    async def walk() -> object:
        async with asyncio.timeout(LIMIT_S):
            return await anext(ApiServerSource(connect("http://127.0.0.1:9")).batches(()))

    assert asyncio.run(walk()) == ()


NAMES = [*"abcd"]

PUTS = st.builds(
    lambda name, port, is_slice: (
        endpoint_slice(name, name, f"10.0.0.{port}") if is_slice else service(name, port)
    ),
    st.sampled_from(NAMES),
    st.integers(1, 3),
    st.booleans(),
)

STEPS = st.one_of(
    PUTS.map(lambda item: ("put", item)),
    PUTS.map(lambda item: ("delete", item.key)),
    st.sampled_from([("compact",), ("bookmark",), ("end",), ("cut",), ("read",)]),
)


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(STEPS, max_size=30), streaming=st.booleans())
def test_the_state_is_the_servers(steps: list[tuple[Any, ...]], streaming: bool) -> None:
    """Whatever changes and breaks in whatever order, the reader ends up with what the server has."""

    async def walk() -> None:
        model = ModelServer(streaming=streaming)
        timing = Timing(first_retry_s=0.001, max_retry_s=0.005)
        async with (
            Peer(model.handle) as peer,
            reading(ApiServerSource(connect(peer.url), timing=timing), Service, EndpointSlice) as reader,
        ):
            for step in steps:
                match step:
                    case ("put", item):
                        await model.put(item)
                    case ("delete", key):
                        await model.delete(key)
                    case ("compact",):
                        await model.compact()
                    case ("bookmark",):
                        await model.bookmark()
                    case ("end",):
                        await model.end_watches()
                    case ("cut",):
                        await peer.hang_up()
                    case ("read",):
                        await reader.until(dict(model.objects))
            await reader.until(model.objects)

    asyncio.run(walk())
