"""Cluster state from an API server, through everything that happens to one in a year."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeplane.errors import ApiError, ConfigError
from nodeplane.kube.api_request import Selector
from nodeplane.kube.apiserver import ApiServerSource
from nodeplane.kube.connection import Connection
from nodeplane.kube.kubeconfig import Target, UserExec
from nodeplane.kube.objects import EndpointSlice, Metadata, Namespace, Node, Object, ObjectKey, Service
from nodeplane.kube.reflector import Timing
from nodeplane.kube.source import Change
from tests.kube.api_cluster import QUICK, connect
from tests.kube.model_server import ModelServer
from tests.kube.objects import endpoint_slice, keyed, namespace, service
from tests.kube.peer import Handler, Peer, Reply, Request
from tests.kube.reading import LIMIT_S, Reader, reading

N1 = Node(Metadata("n1"))
WEB, DB, API = service("web"), service("db"), service("api")
WEB_1 = endpoint_slice("web-1", "web", "10.0.0.1")
BIG = Service(Metadata("big", "default", annotations={"text": "x" * 1_000_000}))
# A watch of a second, which ends on time or is replaced soon after.
SHORT = Timing(first_retry_s=0.01, max_retry_s=0.1, watch_s=(1, 1), grace_s=0.5, initial_silence_s=0.5)


class World:
    """A server, the peer that speaks for it, and who reads."""

    def __init__(self, model: ModelServer, peer: Peer, reader: Reader) -> None:
        self.model = model
        self.peer = peer
        self.reader = reader

    def answer_once(self, matches: Callable[[Request], bool], handler: Handler, times: int = 1) -> None:
        """Let another handler answer the next requests of a sort."""

        async def handle(request: Request, reply: Reply) -> None:
            nonlocal times
            if times and matches(request):
                times -= 1
                await handler(request, reply)
            else:
                await self.model.handle(request, reply)

        self.peer.handler = handle


Fault = Callable[[World], Awaitable[None]]


async def lose_connections(world: World) -> None:
    await world.peer.hang_up()


async def compact(world: World) -> None:
    """All watches stand where the history does not reach any more."""
    await world.model.put(namespace("elsewhere"))
    await world.model.compact()
    await world.peer.hang_up()


async def end_watches_early(world: World) -> None:
    await world.model.end_watches()


async def restart_on_other_data(world: World) -> None:
    """The new server is behind the old one in its versions, and its history says nothing of what is gone."""
    other = ModelServer(streaming=world.model.streaming)
    other.version = 1
    for item in (DB, service("web", 81)):
        await other.put(item)
    world.model = other
    world.peer.handler = other.handle
    await world.peer.hang_up()


async def restart_while_away(world: World) -> None:
    """Nobody listens for a while."""
    await world.peer.__aexit__(None, None, None)
    await asyncio.sleep(0.2)
    await world.peer.__aenter__()


async def write_big_object(world: World) -> None:
    await world.model.put(BIG)


def send_instead(*pieces: bytes, end: bool) -> Fault:
    """Break the next watch: it sends these bytes, then ends as agreed or is cut off."""

    async def fault(world: World) -> None:
        async def handler(request: Request, reply: Reply) -> None:
            await reply.start()
            for piece in pieces:
                await reply.chunk(piece)
            if end:
                await reply.end()

        world.answer_once(lambda request: request.is_watch, handler)
        await world.peer.hang_up()

    return fault


def refuse(code: int, times: int = 3, **headers: str) -> Fault:
    """Refuse some requests."""

    async def fault(world: World) -> None:
        async def handler(request: Request, reply: Reply) -> None:
            await reply.status(code, "Refused", headers)

        world.answer_once(lambda _: True, handler, times)
        await world.peer.hang_up()

    return fault


async def go_silent(world: World) -> None:
    """The next watch opens and says nothing for ever."""

    async def handler(request: Request, reply: Reply) -> None:
        await reply.start()
        await asyncio.Event().wait()

    world.answer_once(lambda request: request.is_watch, handler, times=2)
    await world.peer.hang_up()


async def pause_in_an_event(world: World) -> None:
    """The network stands still for a while, in the middle of a line."""

    async def handler(request: Request, reply: Reply) -> None:
        kind = "MODIFIED" if request.path.endswith("services") else "BOOKMARK"
        line = msgspec.json.encode({"type": kind, "object": DB}) + b"\n"
        await reply.start()
        await reply.chunk(line[:20])
        await asyncio.sleep(0.3)
        await reply.chunk(line[20:])

    world.answer_once(lambda request: request.is_watch, handler, times=2)
    await world.peer.hang_up()


GONE_EVENT = b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}\n'
HALF = msgspec.json.encode({"type": "DELETED", "object": DB})[:-9]


@pytest.mark.parametrize("streaming", [True, False], ids=["streaming", "paged"])
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(lose_connections, id="connections lost"),
        pytest.param(compact, id="history compacted"),
        pytest.param(end_watches_early, id="watches end early"),
        pytest.param(restart_on_other_data, id="server back with other data"),
        pytest.param(restart_while_away, id="server away"),
        pytest.param(write_big_object, id="object of 1 MB"),
        pytest.param(send_instead(GONE_EVENT, end=True), id="410 inside a stream"),
        pytest.param(send_instead(HALF, end=False), id="cut off in an event"),
        pytest.param(send_instead(HALF, end=True), id="ended in an event"),
        pytest.param(send_instead(b"<html>Bad Gateway\n", end=True), id="no JSON"),
        pytest.param(send_instead(b"[]\n{}\n", end=True), id="no event"),
        pytest.param(send_instead(end=True), id="empty watch"),
        pytest.param(refuse(401), id="401"),
        pytest.param(refuse(403), id="403"),
        pytest.param(refuse(404), id="404"),
        pytest.param(refuse(410), id="410"),
        pytest.param(refuse(429, 1, **{"Retry-After": "1"}), id="429, to come back in a second"),
        pytest.param(refuse(500), id="500"),
        pytest.param(refuse(503), id="503"),
        pytest.param(go_silent, id="silent watch"),
        pytest.param(pause_in_an_event, id="pause in an event"),
    ],
)
def test_fault(fault: Fault, streaming: bool) -> None:
    """Whatever happens, what is there stays known, and what changed meanwhile is delivered, deletions too."""

    async def walk() -> None:
        model = ModelServer(streaming=streaming)
        for item in (WEB, DB):
            await model.put(item)
        async with Peer(model.handle) as peer:
            source = ApiServerSource(connect(peer.url), timing=SHORT)
            async with reading(source, Service, Namespace, always=[DB]) as reader:
                assert reader.state == keyed(WEB, DB)
                world = World(model, peer, reader)
                await fault(world)
                await world.model.delete(WEB.key)
                await world.model.put(API)
                await reader.until(world.model.objects)

    asyncio.run(walk())


def test_a_lost_server_delivers_nothing() -> None:
    """While nobody answers, the last state stays in force."""

    async def walk() -> int:
        model = ModelServer()
        await model.put(WEB)
        async with (
            Peer(model.handle) as peer,
            reading(ApiServerSource(connect(peer.url), timing=QUICK), Service) as reader,
        ):

            async def refuse_all(request: Request, reply: Reply) -> None:
                await reply.status(503, "Unavailable")

            peer.handler = refuse_all
            await peer.hang_up()
            seen = len(peer.requests)
            await peer.asked(lambda _: True, seen + 5)
            return reader.batches

    assert asyncio.run(walk()) == 1


def test_watch_continues_where_it_ended() -> None:
    """At the end of its time a watch is followed by another from the last bookmark, without a list."""

    async def walk() -> list[str]:
        model = ModelServer()
        await model.put(WEB)
        async with (
            Peer(model.handle) as peer,
            reading(ApiServerSource(connect(peer.url), timing=SHORT), Service) as reader,
        ):
            # A version that this watch hears of through the bookmark alone.
            await model.put(namespace("elsewhere"))
            await model.bookmark()
            await peer.asked(lambda request: "resourceVersion" in request.query)
            await model.put(DB)
            await reader.until({key: item for key, item in model.objects.items() if key.kind is Service})
            return [request.query.get("resourceVersion", "list") for request in peer.requests]

    assert asyncio.run(walk())[:2] == ["list", "102"]


def list_of(*items: Object, version: int = 7, more: str = "") -> dict[str, Any]:
    return {"metadata": {"resourceVersion": str(version), "continue": more}, "items": items}


def test_an_expired_list_begins_again_and_ends_as_a_whole() -> None:
    """A continue token that expires twice leads to a list without pages (client-go's pager)."""

    async def handle(request: Request, reply: Reply) -> None:
        if request.is_streaming_list:
            await reply.status(422, "Invalid")
        elif request.is_watch:
            await reply.start()
            await asyncio.Event().wait()
        elif "continue" in request.query:
            await reply.status(410, "Expired")
        elif "limit" in request.query:
            await reply.json(list_of(WEB, more="more"))
        else:
            await reply.json(list_of(DB, API))

    async def walk() -> tuple[dict[ObjectKey, Object], list[dict[str, str]]]:
        async with (
            Peer(handle) as peer,
            reading(ApiServerSource(connect(peer.url), timing=QUICK), Service) as reader,
        ):
            return reader.state, [dict(each.query) for each in peer.requests if not each.is_watch]

    first, rest = {"limit": "500"}, {"limit": "500", "continue": "more"}
    assert asyncio.run(walk()) == (keyed(DB, API), [first, rest, first, rest, {}])


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


def test_a_server_that_is_not_there_yet(caplog: pytest.LogCaptureFixture) -> None:
    """A node that boots before its API server waits for it."""

    async def walk() -> None:
        model = ModelServer()
        await model.put(WEB)
        peer = Peer(model.handle)
        async with peer:
            connection = connect(peer.url)
        batches = ApiServerSource(connection, timing=QUICK).batches((Service,))
        first = asyncio.ensure_future(anext(batches))
        async with asyncio.timeout(LIMIT_S):
            # It has tried, in vain, more than once.
            while sum("no cluster state yet" in line for line in caplog.messages) < 3:
                await asyncio.sleep(0.01)
        assert not first.done()
        async with peer:
            assert await first == (Change(WEB.key, None, WEB),)
            await batches.aclose()

    asyncio.run(walk())


def test_who_waits_for_the_snapshot_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """A server that takes the request and never answers fails nothing; the log names what is missing."""

    async def handle(request: Request, reply: Reply) -> None:
        if request.path.endswith("services"):
            await asyncio.Event().wait()
        await model.handle(request, reply)

    model = ModelServer()

    async def walk() -> None:
        timing = msgspec.structs.replace(QUICK, waiting_s=0.05)
        async with Peer(handle) as peer:
            batches = ApiServerSource(connect(peer.url), timing=timing).batches((Service, Node))
            first = asyncio.ensure_future(anext(batches))
            async with asyncio.timeout(LIMIT_S):
                while not any("missing=Service waited_s=" in line for line in caplog.messages):
                    await asyncio.sleep(0.01)
            assert not first.done()
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            await batches.aclose()

    asyncio.run(walk())

    assert "waiting for the first snapshot" in caplog.text


def test_a_watch_keeps_its_connection_alive() -> None:
    """TCP finds out that a silent server's machine has gone; without it that takes the watch's whole time."""

    def keepalive(port: int) -> set[int]:
        found = set()
        for name in os.listdir("/proc/self/fd"):
            # The listing's own descriptor is closed by now, and some sockets have no peer.
            with suppress(OSError):
                if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                    with socket.socket(fileno=os.dup(int(name))) as each:
                        if each.getpeername() == ("127.0.0.1", port):
                            found.add(each.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
        return found

    async def walk() -> set[int]:
        model = ModelServer()
        async with (
            Peer(model.handle) as peer,
            reading(ApiServerSource(connect(peer.url), timing=QUICK), Service),
        ):
            return keepalive(peer.port)

    assert asyncio.run(walk()) == {1}


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


def without(model: ModelServer, code: int, *kinds: str) -> Handler:
    """Answer for a server that refuses some kinds."""

    async def handle(request: Request, reply: Reply) -> None:
        if request.path.rpartition("/")[2] in kinds:
            await reply.status(code, "Refused")
        else:
            await model.handle(request, reply)

    return handle


@pytest.mark.parametrize("streaming", [True, False], ids=["streaming", "paged"])
def test_a_kind_that_is_not_served_is_empty(streaming: bool) -> None:
    """A server of an earlier version has none of it; after an upgrade there are some."""

    async def walk() -> tuple[int, bool]:
        model = ModelServer(streaming=streaming)
        await model.put(WEB)
        async with (
            Peer(without(model, 404, "nodes")) as peer,
            reading(ApiServerSource(connect(peer.url), timing=QUICK), Node, Service, always=[WEB]) as reader,
        ):
            first = reader.state.copy()
            # It is asked for again, and nothing comes of it; meanwhile the rest goes on.
            await peer.asked(lambda request: "nodes" in request.path, 4)
            await model.put(DB)
            assert await reader.next() == (Change(DB.key, None, DB),)
            asked_to_stream = sum(
                request.is_streaming_list and "services" in request.path for request in peer.requests
            )
            await model.put(N1)
            peer.handler = model.handle
            assert await reader.next() == (Change(N1.key, None, N1),)
            return asked_to_stream, first == keyed(WEB)

    assert asyncio.run(walk()) == (1, True)


def test_a_kind_that_is_not_served_is_lost_with_the_server() -> None:
    """A server that was upgraded while it was away: what is new comes with the rest."""

    async def walk() -> None:
        model = ModelServer()
        await model.put(WEB)
        async with (
            Peer(without(model, 404, "nodes")) as peer,
            reading(ApiServerSource(connect(peer.url), timing=QUICK), Node, Service) as reader,
        ):
            peer.handler = without(model, 503, "nodes", "services")
            await peer.hang_up()
            await peer.asked(lambda request: "nodes" in request.path, 4)
            for item in (DB, N1):
                await model.put(item)
            peer.handler = model.handle
            await reader.until(model.objects)

    asyncio.run(walk())


@pytest.mark.parametrize(
    ("code", "refused"),
    [
        pytest.param(404, ["nodes", "services"], id="404 of everything: a proxy without its server"),
        pytest.param(403, ["nodes"], id="403: forbidden"),
    ],
)
def test_what_may_be_there_is_waited_for(code: int, refused: list[str]) -> None:
    """That nothing is known of a kind does not mean that there is nothing (law 4)."""

    async def walk() -> None:
        model = ModelServer()
        for item in (WEB, N1):
            await model.put(item)
        async with Peer(without(model, code, *refused)) as peer:
            batches = ApiServerSource(connect(peer.url), timing=QUICK).batches((Node, Service))
            first = asyncio.ensure_future(anext(batches))
            await peer.asked(lambda request: "nodes" in request.path, 5)
            assert not first.done()
            peer.handler = model.handle
            assert {change.key: change.new for change in await first} == keyed(WEB, N1)
            await batches.aclose()

    asyncio.run(walk())


@pytest.mark.parametrize("code", [403, 404])
def test_a_refused_kind_does_not_hold_up_the_others(code: int) -> None:
    """Kinds that were lost together come back together, but not at any price; what was known of one stays."""

    async def walk() -> None:
        model = ModelServer()
        for item in (WEB, N1):
            await model.put(item)
        timing = msgspec.structs.replace(QUICK, hold_s=0.1)
        async with (
            Peer(model.handle) as peer,
            reading(ApiServerSource(connect(peer.url), timing=timing), Service, Node) as reader,
        ):
            peer.handler = without(model, code, "nodes")
            await peer.hang_up()
            for item in (DB, API):
                await model.put(item)
                await reader.until(model.objects)

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
