"""A model of an API server with who reads from it, and the objects that it has."""

from collections.abc import Callable
from typing import Any

from nodeplane.kube.objects import Object
from tests.kube.model_server import ModelServer
from tests.kube.objects import namespace, service
from tests.kube.peer import Handler, Peer, Reply, Request
from tests.kube.reading import Reader

WEB, DB, API = service("web"), service("db"), service("api")


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


async def compact(world: World) -> None:
    """All watches stand where the history does not reach any more."""
    await world.model.put(namespace("elsewhere"))
    await world.model.compact()
    await world.peer.hang_up()


def list_of(*items: Object, version: int = 7, more: str = "") -> dict[str, Any]:
    return {"metadata": {"resourceVersion": str(version), "continue": more}, "items": items}
