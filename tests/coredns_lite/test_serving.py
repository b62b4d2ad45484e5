"""How a listener ends: what was asked is answered, also what takes its time."""

import asyncio
import contextlib
import socket

import dns.message
import pytest

from coredns_lite.chain import Chain
from coredns_lite.config import Listener
from coredns_lite.plugin import Client, Outcome
from coredns_lite.serving import Deferred, Server
from coredns_lite.wire.query import Query
from coredns_lite.wire.reply import Answer
from coredns_lite.zones import ZoneTable

LIMIT_S = 30.0
ANSWER_S = 0.3


class Slow:
    """Answers as late as an upstream that has to ask others."""

    def __init__(self, answer_s: float) -> None:
        self.asked = asyncio.Event()
        self._answer_s = answer_s

    def answer(self, _query: Query, _client: Client) -> Outcome:
        return self.wait()

    async def wait(self) -> Answer:
        self.asked.set()
        await asyncio.sleep(self._answer_s)
        return Answer(is_lasting=False)


@pytest.mark.parametrize("is_reload", [pytest.param(True, id="reload"), pytest.param(False, id="end")])
def test_a_query_that_waits_for_its_answer_gets_it(is_reload: bool) -> None:
    """The socket stays open for those that were to be answered later."""

    async def main() -> None:
        slow = Slow(ANSWER_S)
        loop = asyncio.get_running_loop()
        server = Server(Listener("dns", "127.0.0.1", 0, ()), ZoneTable({".": Chain(slow, ".")}), loop)
        assert server._listening
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(server._listening[0].socket.getsockname())
            client.setblocking(False)
            async with asyncio.timeout(LIMIT_S):
                serving = asyncio.ensure_future(server.run())
                query = dns.message.make_query("a.example.", "A")
                await loop.sock_sendall(client, query.to_wire())
                await slow.asked.wait()
                if is_reload:
                    await server.drain()
                serving.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await serving
                # It is there by now: the socket is closed.
                reply = dns.message.from_wire(client.recv(512))
        assert query.is_response(reply)

    asyncio.run(main())


def test_nobody_is_waited_for_without_end() -> None:
    """What takes too long is given up."""

    async def main() -> None:
        slow = Slow(3600)
        deferred = Deferred(asyncio.get_running_loop())
        task = deferred._background.start(slow.wait())
        await slow.asked.wait()
        await deferred.drain(0.05)
        assert not task.done()
        deferred.close()
        await asyncio.wait({task}, timeout=LIMIT_S)
        assert task.cancelled()

    asyncio.run(main())
