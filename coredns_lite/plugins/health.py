"""Says over HTTP that the program is alive, and lets it answer for a while after it was asked to end.

Syntax:

    health [ADDRESS] {
        lameduck DURATION
    }

`/health` at ADDRESS (`:8080` by default) is answered with 200 and `OK` for as long as the program runs. With
`lameduck` it goes on for DURATION after SIGTERM: queries are answered while those who send them learn that it
is about to go. A second signal ends it at once. Several of these lines with one address share the page.

```corefile
. {
    health 127.0.0.1:8080 {
        lameduck 5s
    }
}
```

Metrics: the program asks itself once a second, `coredns_health_request_duration_seconds`, and counts what
fails, `coredns_health_request_failures_total`.
"""

import asyncio
import time

import msgspec
from prometheus_client import Counter, Histogram

from coredns_lite.corefile.parser import Directive
from coredns_lite.metrics import REGISTRY
from coredns_lite.options import decode_duration, decode_listen_address, one_value, read_options
from coredns_lite.plugin import Handler, Surroundings
from nodeplane.runtime.listen import ListenAddress
from nodeplane.runtime.page import Request, Response

REPEATS = False

DEFAULT_ADDRESS = ListenAddress("", 8080)
_INTERVAL_S = 1.0
_LIMIT_S = 5.0

DURATION = Histogram(
    "coredns_health_request_duration_seconds",
    "How long the program's requests to itself took",
    buckets=(0.00025, 0.0025, 0.025, 0.25, 1, 5),
    registry=REGISTRY,
)
FAILURES = Counter(
    "coredns_health_request_failures", "The program's requests to itself that failed", registry=REGISTRY
)


class Health(msgspec.Struct, frozen=True):
    """Where the page is, and how long to go on after SIGTERM."""

    address: ListenAddress = DEFAULT_ADDRESS
    lameduck_s: float = 0.0


def decode(directive: Directive, _zones: tuple[str, ...]) -> Health:
    """Decode `health [ADDRESS] { lameduck DURATION }`."""
    options = read_options(directive, "lameduck")
    lameduck = options.get("lameduck")
    return Health(
        decode_listen_address(directive, DEFAULT_ADDRESS),
        decode_duration(one_value(lameduck)) if lameduck else 0.0,
    )


def build(config: Health, surroundings: Surroundings, following: Handler) -> Handler:
    """Take no part in answers."""
    surroundings.serve_page(config.address, "/health", show_health)
    surroundings.leave_after(config.lameduck_s)

    async def main() -> None:
        await _ask_ourselves(config.address)

    def start() -> bool:
        surroundings.run(main, when_serving=True)
        return True

    surroundings.shared(("health", config.address), start)
    return following


def show_health(_request: Request) -> Response:
    """Answer that we are alive."""
    return Response(b"OK")


async def _ask_ourselves(address: ListenAddress) -> None:
    host = address.host
    if address.is_everywhere:
        host = "::1" if ":" in host else "127.0.0.1"
    while True:
        await asyncio.sleep(_INTERVAL_S)
        began = time.perf_counter()
        try:
            async with asyncio.timeout(_LIMIT_S):
                is_well = await _is_well(host, address.port)
        except (OSError, TimeoutError):
            is_well = False
        DURATION.observe(time.perf_counter() - began)
        if not is_well:
            FAILURES.inc()


async def _is_well(host: str, port: int) -> bool:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    finally:
        writer.close()
