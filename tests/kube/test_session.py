"""What is told of each request to an API server."""

import asyncio

import httpx2
import pytest

from nodeplane.errors import ApiError
from nodeplane.kube.api_request import Selector
from nodeplane.kube.objects import Service
from nodeplane.kube.open_sockets import OpenSockets
from nodeplane.kube.session import Session


@pytest.mark.parametrize(
    ("status", "code"),
    [pytest.param(403, "403", id="refused"), pytest.param(0, "<error>", id="not reached")],
)
def test_requests_are_observed(status: int, code: str) -> None:
    """By method, server and status, as client-go's metrics have them."""
    seen: list[tuple[str, str, str]] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        if not status:
            raise httpx2.ConnectError("nobody there", request=request)
        return httpx2.Response(status, json={"message": "no"})

    def observe(method: str, host: str, told: str, duration_s: float) -> None:
        assert duration_s >= 0
        seen.append((method, host, told))

    async def main() -> None:
        transport = httpx2.MockTransport(answer)
        async with httpx2.AsyncClient(base_url="http://10.0.0.1:6443", transport=transport) as client:
            session = Session(client, Service, Selector(), OpenSockets(), observe=observe)
            with pytest.raises(ApiError):
                await anext(session.pages(None))

    asyncio.run(main())

    assert seen == [("GET", "10.0.0.1:6443", code)]
