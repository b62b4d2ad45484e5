"""Kinds that an API server does not serve, or refuses."""

import asyncio

import msgspec
import pytest

from nodeplane.kube.api_request import Selector
from nodeplane.kube.apiserver import ApiServerSource
from nodeplane.kube.objects import Metadata, Node, Object, Service
from nodeplane.kube.source import Change
from tests.kube.api_cluster import QUICK, connect
from tests.kube.api_world import API, DB, WEB
from tests.kube.model_server import ModelServer
from tests.kube.objects import keyed
from tests.kube.peer import Handler, Peer, Reply, Request
from tests.kube.reading import reading

N1 = Node(Metadata("n1"))


def without(model: ModelServer, code: int, *kinds: str) -> Handler:
    """Answer for a server that refuses some kinds."""

    async def handle(request: Request, reply: Reply) -> None:
        if request.path.rpartition("/")[2] in kinds:
            await reply.status(code, "Refused")
        else:
            await model.handle(request, reply)

    return handle


@pytest.mark.parametrize(
    ("code", "selector"),
    [
        pytest.param(404, Selector(), id="not served"),
        pytest.param(403, Selector(is_optional=True), id="forbidden, but optional"),
    ],
)
@pytest.mark.parametrize("streaming", [True, False], ids=["streaming", "paged"])
def test_a_kind_that_can_be_done_without_is_empty(streaming: bool, code: int, selector: Selector) -> None:
    """A server of an earlier version has none of it; after an upgrade there are some. As with a role."""

    async def walk() -> tuple[int, bool]:
        model = ModelServer(streaming=streaming)
        await model.put(WEB)
        async with (
            Peer(without(model, code, "nodes")) as peer,
            reading(
                ApiServerSource(connect(peer.url), {Node: selector}, timing=QUICK),
                Node,
                Service,
                always=[WEB],
            ) as reader,
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


def test_a_forbidden_kind_says_nothing_of_streaming_lists() -> None:
    """The others are still asked for by one."""

    async def walk() -> None:
        model = ModelServer()
        selectors: dict[type[Object], Selector] = {Node: Selector(is_optional=True)}
        async with (
            Peer(without(model, 403, "nodes")) as peer,
            reading(ApiServerSource(connect(peer.url), selectors, timing=QUICK), Node, Service),
        ):
            await peer.hang_up()
            await peer.asked(lambda request: request.is_streaming_list and "services" in request.path, 2)

    asyncio.run(walk())


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
    ("code", "refused", "selector"),
    [
        pytest.param(
            404, ["nodes", "services"], Selector(), id="404 of everything: a proxy without its server"
        ),
        pytest.param(403, ["nodes"], Selector(), id="403: forbidden"),
        pytest.param(
            403, ["nodes", "services"], Selector(is_optional=True), id="403 of everything, one is optional"
        ),
        pytest.param(500, ["nodes"], Selector(is_optional=True), id="500 of an optional one"),
    ],
)
def test_what_may_be_there_is_waited_for(code: int, refused: list[str], selector: Selector) -> None:
    """That nothing is known of a kind does not mean that there is nothing (law 4)."""

    async def walk() -> None:
        model = ModelServer()
        for item in (WEB, N1):
            await model.put(item)
        async with Peer(without(model, code, *refused)) as peer:
            source = ApiServerSource(connect(peer.url), {Node: selector}, timing=QUICK)
            batches = source.batches((Node, Service))
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
