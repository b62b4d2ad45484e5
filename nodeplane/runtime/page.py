"""What a daemon's HTTP pages are: a function from what was asked for to what is answered."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import msgspec


class Request(msgspec.Struct, frozen=True):
    """What was asked for; header names are in lower case."""

    path: str
    query: str = ""
    method: str = "GET"
    headers: Mapping[str, str] = {}


class Response(msgspec.Struct, frozen=True):
    """What is answered."""

    body: bytes
    status: int = 200
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


Handler: TypeAlias = Callable[[Request], Response]


def route(handlers: Mapping[str, Handler]) -> Handler:
    """Return the handler that chooses by path; a path that nobody has is not found."""

    def handle(request: Request) -> Response:
        handler = handlers.get(request.path)
        return handler(request) if handler else Response(b"404 page not found\n", 404)

    return handle
