"""A cluster behind an API server: the model server on loopback, with a thread and a loop of its own."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nodeplane.kube.apiserver import ApiServerSource
from nodeplane.kube.connection import Connection
from nodeplane.kube.kubeconfig import Cluster, Target, User
from nodeplane.kube.objects import Object
from nodeplane.kube.reflector import Timing
from tests.kube.model_server import ModelServer
from tests.kube.peer import Peer

QUICK = Timing(first_retry_s=0.01, max_retry_s=0.1, max_absence_s=0.1)


def connect(url: str, **user: Any) -> Connection:
    """Return a connection to a peer, as a user with these credentials."""
    return Connection(lambda: Target(Cluster(server=url), User(**user), Path("/")))


class ApiCluster:
    """What people and controllers do to the cluster; safe to call from any loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, streaming: bool) -> None:
        self._loop = loop
        self._model = ModelServer(streaming=streaming)
        self._peer = Peer(self._model.handle)
        asyncio.run_coroutine_threadsafe(self._peer.__aenter__(), loop).result()
        self.source = ApiServerSource(connect(self._peer.url), timing=QUICK)

    @property
    def url(self) -> str:
        """Where the server is, also while it is lost."""
        return self._peer.url

    async def put(self, item: Object) -> None:
        await self._there(self._model.put(item))

    async def remove(self, item: Object) -> None:
        await self._there(self._model.delete(item.key))

    async def lose(self) -> None:
        await self._there(self._peer.__aexit__(None, None, None))

    async def restore(self) -> None:
        await self._there(self._peer.__aenter__())

    async def close(self) -> None:
        await self._peer.__aexit__(None, None, None)

    async def _there(self, call: Coroutine[Any, Any, object]) -> None:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call, self._loop))


@contextmanager
def running_api_cluster(*, streaming: bool = True) -> Iterator[ApiCluster]:
    """Run an empty cluster's server in the background."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="api server")
    thread.start()
    cluster = ApiCluster(loop, streaming=streaming)
    try:
        yield cluster
    finally:
        asyncio.run_coroutine_threadsafe(cluster.close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def api_cluster(*, streaming: bool) -> Callable[[Path], Any]:
    """Return what makes a cluster, with or without streaming lists; it needs no folder."""
    return lambda _folder: running_api_cluster(streaming=streaming)
