"""What the page asks for, and what it is answered: an ASGI application."""

import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from netns_lab.ui.access import HEADERS, Access
from netns_lab.ui.sniff import sniff
from netns_lab.ui.watcher import Watcher
from nodeplane.errors import ConfigError, NodeplaneError

_STATIC = Path(__file__).with_name("static")
_FILES = {
    "/": ("index.html", "text/html"),
    "/ui.css": ("ui.css", "text/css"),
    "/ui.js": ("ui.js", "text/javascript"),
}
_MAX_BODY_BYTES = 4096
_MAX_CAPTURES = 8


class TraceRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom to follow a packet from, and to."""

    source: str
    target: str


class CaptureRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A place, and the name of its link."""

    place: str
    link: str


def build_app(watcher: Watcher, access: Access) -> ASGIApp:
    """Return the application: only what `access` lets in gets beyond the door."""
    # Chosen with a POST, listened to with a GET: an EventSource can't send one.
    captures: dict[str, tuple[str, str]] = {}

    async def events(_request: Request) -> Response:
        return _stream(watcher.events())

    async def trace(request: Request) -> Response:
        asked = await _decode(request, TraceRequest)
        return JSONResponse(await watcher.trace(asked.source, asked.target))

    async def capture(request: Request) -> Response:
        asked = await _decode(request, CaptureRequest)
        namespace = await watcher.find_link(asked.place, asked.link)
        while len(captures) >= _MAX_CAPTURES:
            del captures[next(iter(captures))]
        number = secrets.token_urlsafe(8)
        captures[number] = (namespace, asked.link)
        return JSONResponse({"id": number})

    async def packets(request: Request) -> Response:
        chosen = captures.pop(request.path_params["number"], None)
        if chosen is None:
            return PlainTextResponse("no such capture", 404)
        return _stream(_packets(watcher.lab, *chosen))

    routes = [Route(path, _file(*file)) for path, file in _FILES.items()]
    routes += [
        Route("/api/events", events),
        Route("/api/trace", trace, methods=["POST"]),
        Route("/api/captures", capture, methods=["POST"]),
        Route("/api/captures/{number}", packets),
    ]
    handlers: dict[Any, Callable[[Request, Exception], Awaitable[Response]]] = {
        NodeplaneError: _failed,
        ClientDisconnect: _gone,
    }
    return _Door(Starlette(routes=routes, exception_handlers=handlers), access)


class _Door:
    """Lets in whom `Access` lets in, takes the first address's token, and adds headers to every answer."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        request = Request(scope)
        headers = {name.lower(): value for name, value in request.headers.items()}
        token = request.query_params.get("token", "")
        app: ASGIApp = self._app
        if scope["path"] == "/" and token and self._access.is_ours(headers) and self._access.is_token(token):
            # The token leaves the address, and with it the browser's history and what is copied from there.
            app = Response(status_code=303, headers={"Location": "/", "Set-Cookie": self._access.set_cookie})
        elif refusal := self._access.refusal(request.method, headers):
            app = PlainTextResponse(f"{refusal}\n", 403)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", []), *extra]}
            await send(message)

        await app(scope, receive, send_with_headers)


def _file(name: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_request: Request) -> Response:
        return FileResponse(_STATIC / name, media_type=f"{kind}; charset=utf-8")

    return answer


async def _decode(request: Request, kind: type[Any]) -> Any:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BODY_BYTES:
            raise ConfigError("request", "", f"expected at most {_MAX_BODY_BYTES} bytes")
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError) as exc:
        raise ConfigError("request", "", str(exc)) from exc


async def _failed(_request: Request, exc: Exception) -> Response:
    return JSONResponse({"error": str(exc)}, 400 if isinstance(exc, ConfigError) else 500)


async def _gone(_request: Request, _exc: Exception) -> Response:
    # Nobody hears this; the log need not either.
    return PlainTextResponse("the request was not whole", 400)


def _stream(events: AsyncGenerator[tuple[str, Any], None]) -> Response:
    """Answer with server-sent events (html.spec.whatwg.org, 9.2)."""

    async def lines() -> AsyncIterator[bytes]:
        # A page that has gone cancels this: what is behind it ends now, not when it is collected.
        async with aclosing(events):
            async for kind, data in events:
                yield b"event: %s\ndata: %s\n\n" % (kind.encode(), msgspec.json.encode(data))

    return StreamingResponse(lines(), media_type="text/event-stream")


async def _packets(lab: str, namespace: str, link: str) -> AsyncGenerator[tuple[str, Any], None]:
    try:
        async with aclosing(sniff(lab, namespace, link)) as lines:
            async for line in lines:
                yield "packet", line
        yield "end", "the capture has ended"
    except NodeplaneError as exc:
        yield "end", str(exc)
