"""Cluster state from an API server, through everything that happens to one in a year."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec
import pytest

from nodeplane.kube.apiserver import ApiServerSource
from nodeplane.kube.objects import Metadata, Namespace, Node, Object, ObjectKey, Service
from nodeplane.kube.reflector import Timing
from nodeplane.kube.source import Change
from tests.kube.api_cluster import QUICK, connect
from tests.kube.api_world import API, DB, WEB, World, compact, list_of
from tests.kube.model_server import ModelServer
from tests.kube.objects import keyed, namespace, service
from tests.kube.peer import Peer, Reply, Request
from tests.kube.reading import LIMIT_S, reading

BIG = Service(Metadata("big", "default", annotations={"text": "x" * 1_000_000}))

# A watch of a second, which ends on time or is replaced soon after.
SHORT = Timing(first_retry_s=0.01, max_retry_s=0.1, watch_s=(1, 1), grace_s=0.5, initial_silence_s=0.5)

Fault = Callable[[World], Awaitable[None]]


async def lose_connections(world: World) -> None:
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
