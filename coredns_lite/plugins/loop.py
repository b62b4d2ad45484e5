"""Ends the program if what it forwards comes back to it.

Syntax:

    loop

Once the server answers, a question of type HINFO for a random name is sent to where queries are forwarded. If
it comes back a second time, the program ends with exit code 1 and a line that names the zone, the server and
the name. Each time that the upstreams don't answer it is tried again after 2 s, for at most 30 s; then, and 2
s after an answer, nothing is looked for any more. The cause mostly is a machine whose /etc/resolv.conf names
a resolver of its own, such as systemd-resolved's 127.0.0.53: forward to the upstreams' addresses instead.

```corefile
. {
    loop
    errors
}
```

Metrics: none.
"""

import asyncio
import secrets
from contextlib import suppress
from ipaddress import IPv4Address

from coredns_lite.corefile.parser import Directive
from coredns_lite.options import refuse_args, refuse_block
from coredns_lite.plugin import Client, Handler, Outcome, Surroundings
from coredns_lite.wire.names import ROOT, decode_name, encode_label, encode_name
from coredns_lite.wire.query import Flag, Query
from coredns_lite.wire.record import CLASS_IN, RecordType
from coredns_lite.wire.reply import Answer, Rcode
from nodeplane.errors import NodeplaneError

REPEATS = False

# CoreDNS's numbers (plugin/loop/setup.go).
_MAX_SEEN = 2
_RETRY_S = 2.0
_LIMIT_S = 30.0

_OURSELVES = Client(IPv4Address("127.0.0.1"), 0, "udp")
_REFUSAL = Answer(Rcode.SERVFAIL, is_authoritative=False, is_lasting=False, error="forwarding loop")


class LoopError(NodeplaneError):
    """What is forwarded comes back: the upstreams, or their choice, have to change."""


def decode(directive: Directive, _zones: tuple[str, ...]) -> bool:
    """Decode `loop`."""
    refuse_args(directive)
    refuse_block(directive)
    return True


def build(_config: bool, surroundings: Surroundings, following: Handler) -> Handler:
    """Build the link that counts how often the probe comes by."""
    link = Loop(surroundings.server, surroundings.zone, following)
    surroundings.run(link.probe, when_serving=True)
    return link


class Loop:
    """Sends the probe and looks out for it."""

    def __init__(self, server: str, zone: str, following: Handler) -> None:
        self._server = server
        self._zone = zone
        self._following = following
        labels = b"".join(encode_label(str(secrets.randbits(64)).encode()) for _ in range(2))
        self._name = labels + (ROOT if zone == "." else encode_name(zone))
        self._seen = 0
        self._found = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def answer(self, query: Query, client: Client) -> Outcome:
        """Count the probe and pass it on like any other question, while there is no loop."""
        if query.qtype == RecordType.HINFO and self._loop and query.name == self._name:
            self._seen += 1
            if self._seen > _MAX_SEEN:
                self._loop.call_soon_threadsafe(self._found.set)
                return _REFUSAL
        return self._following.answer(query, client)

    async def probe(self) -> None:
        """Send the probe until it is answered.

        Raises:
            LoopError: it came back.
        """
        self._loop = asyncio.get_running_loop()
        found = asyncio.ensure_future(self._found.wait())
        asking = asyncio.ensure_future(self._ask())
        try:
            await asyncio.wait({found, asking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            found.cancel()
            asking.cancel()
            self._loop = None
        if self._found.is_set():
            name = decode_name(self._name)
            raise LoopError(
                f'loop ({self._server}) found for zone "{self._zone}": the question "HINFO {name}" was '
                "forwarded and came back; forward to the upstreams' own addresses"
            )

    async def _ask(self) -> None:
        question = self._name + RecordType.HINFO.to_bytes(2) + CLASS_IN.to_bytes(2)
        query = Query(secrets.randbits(16), Flag.RD, question, self._name, RecordType.HINFO, CLASS_IN)
        # Who has not answered by then is not asked any more.
        with suppress(TimeoutError):
            async with asyncio.timeout(_LIMIT_S):
                await self._ask_until_answered(query)

    async def _ask_until_answered(self, query: Query) -> None:
        while True:
            self._seen = 0
            outcome = self.answer(query, _OURSELVES)
            answer = outcome if isinstance(outcome, Answer) else await outcome
            await asyncio.sleep(_RETRY_S)
            if answer.rcode != Rcode.SERVFAIL:
                return
