"""HTTP: from requests to what the registry does, and from objects to answers (starlette)."""

import hmac
import logging
from collections.abc import Awaitable, Callable, Collection
from http import HTTPStatus

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from netns_lab.apiserver.answers import formed, formed_list, json_response, list_response
from netns_lab.apiserver.bodies import (
    decode_body,
    decode_delete_options,
    decode_patch,
    read_body,
)
from netns_lab.apiserver.documents import answer_document
from netns_lab.apiserver.dry_run import parse_dry_run
from netns_lab.apiserver.endpoints_view import read_endpoints
from netns_lab.apiserver.history import State
from netns_lab.apiserver.listing import Page, read_page
from netns_lab.apiserver.media_types import Wanted, choose_form
from netns_lab.apiserver.registry import Registry
from netns_lab.apiserver.request_info import (
    ListOptions,
    Target,
    parse_flag,
    parse_list_options,
    parse_path,
)
from netns_lab.apiserver.resources import Resource
from netns_lab.apiserver.status import (
    StatusError,
    internal_error,
    method_not_allowed,
    not_found,
    unauthorized,
)
from netns_lab.apiserver.store import StoreError
from netns_lab.apiserver.watching import Encoder, Watch, WatchSettings
from netns_lab.apiserver.wire import Item, decode_object, encode_event, encode_object

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
# Whoever asks may know that the server is up, and what it is (ClusterRole system:public-info-viewer).
_PUBLIC = ("/healthz", "/readyz", "/livez", "/version")

log = logging.getLogger(__name__)


class ApiServer:
    """The application.

    Args:
        tokens: The bearer tokens that are let in; looked at anew with each request.
    """

    def __init__(
        self, registry: Registry, *, tokens: Collection[str], address: str, settings: WatchSettings
    ) -> None:
        self._registry = registry
        self._state: State = registry.state
        self._tokens = tokens
        self._address = address
        self._settings = settings
        self.app = Starlette(
            routes=[Route("/{path:path}", self._handle, methods=_METHODS)],
            # What the route does not take (OPTIONS, TRACE, ...) gets our own refusal as well.
            exception_handlers={HTTPException: self._handle},
        )

    async def _handle(self, request: Request, _refused: Exception | None = None) -> Response:
        try:
            self._authenticate(request)
            return await self._dispatch(request)
        except StatusError as exc:
            return json_response(exc.body, exc.code)
        except StoreError as exc:
            return json_response(internal_error(str(exc)).body, HTTPStatus.INTERNAL_SERVER_ERROR)

    def _authenticate(self, request: Request) -> None:
        if request.url.path.startswith(_PUBLIC):
            return
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not any(
            hmac.compare_digest(token.strip().encode(), known.encode()) for known in self._tokens
        ):
            raise unauthorized()

    async def _dispatch(self, request: Request) -> Response:
        parts = [part for part in request.url.path.split("/") if part]
        if parts[:1] not in (["api"], ["apis"]) or len(parts) < 3 or (parts[0] == "apis" and len(parts) == 3):
            return answer_document(request, parts, self._address)
        target = parse_path(request.url.path)
        if target.resource.is_view:
            return self._read_view(request, target)
        verbs: dict[str, Callable[[Request, Target], Awaitable[Response]]] = {
            "GET": self._read,
            "HEAD": self._read,
            "POST": self._create,
            "PUT": self._replace,
            "PATCH": self._patch,
            "DELETE": self._delete,
        }
        answer = verbs.get(request.method)
        if answer is None:
            raise method_not_allowed()
        return await answer(request, target)

    async def _read(self, request: Request, target: Target) -> Response:
        wanted = choose_form(request.headers.get("accept", ""))
        if target.name and not parse_flag(request.query_params, "watch"):
            item = self._registry.get(target.resource, target.namespace, target.name)
            return self._answer(request, target.resource, item, wanted)
        if target.subresource:
            raise method_not_allowed()
        options = parse_list_options(request.query_params, target)
        if options.watch:
            return self._watch(request, target, options, wanted)
        return self._answer_list(request, target, read_page(self._state, target, options), wanted)

    def _read_view(self, request: Request, target: Target) -> Response:
        wanted = choose_form(request.headers.get("accept", ""))
        options = parse_list_options(request.query_params, target)
        if request.method not in {"GET", "HEAD"} or options.watch:
            raise method_not_allowed()
        page = read_endpoints(self._state, target, options)
        if target.name:
            if not page.items:
                raise not_found(target.resource, target.name)
            return self._answer(request, target.resource, page.items[0], wanted)
        return self._answer_list(request, target, page, wanted)

    def _watch(self, request: Request, target: Target, options: ListOptions, wanted: Wanted) -> Response:
        encode: Encoder = encode_event
        if wanted.form != "object":

            def encode(kind: str, resource: Resource, item: Item) -> bytes:
                value = formed(request, resource, item, wanted)
                return msgspec.json.encode({"type": kind, "object": value}) + b"\n"

        watch = Watch(self._state, target, options, self._settings, encode)
        return StreamingResponse(watch.chunks(), media_type="application/json")

    async def _create(self, request: Request, target: Target) -> Response:
        if target.name:
            raise method_not_allowed()
        wanted = choose_form(request.headers.get("accept", ""))
        dry_run = _is_dry_run(request, "CreateOptions")
        value = decode_body(request.headers.get("content-type", ""), await read_body(request))
        item = await self._registry.create(target.resource, target.namespace, value, dry_run=dry_run)
        return self._answer(request, target.resource, item, wanted, HTTPStatus.CREATED)

    async def _replace(self, request: Request, target: Target) -> Response:
        if not target.name:
            raise method_not_allowed()
        wanted = choose_form(request.headers.get("accept", ""))
        value = decode_body(request.headers.get("content-type", ""), await read_body(request))
        item = await self._registry.update(
            target.resource,
            target.namespace,
            target.name,
            lambda _: value,
            subresource=target.subresource,
            dry_run=_is_dry_run(request, "UpdateOptions"),
        )
        return self._answer(request, target.resource, item, wanted)

    async def _patch(self, request: Request, target: Target) -> Response:
        if not target.name:
            raise method_not_allowed()
        wanted = choose_form(request.headers.get("accept", ""))
        patch = decode_patch(
            target,
            request.headers.get("content-type", ""),
            await read_body(request),
            manager=request.query_params.get("fieldManager", ""),
            force=parse_flag(request.query_params, "force") or False,
        )
        dry_run = _is_dry_run(request, "PatchOptions")
        if patch.creates and self._state.history(target.resource).get(target.namespace, target.name) is None:
            if target.subresource:
                raise not_found(target.resource, target.name)
            fresh = patch.change({"metadata": {"name": target.name}})
            item = await self._registry.create(target.resource, target.namespace, fresh, dry_run=dry_run)
            return self._answer(request, target.resource, item, wanted, HTTPStatus.CREATED)
        item = await self._registry.update(
            target.resource,
            target.namespace,
            target.name,
            patch.change,
            subresource=target.subresource,
            dry_run=dry_run,
        )
        return self._answer(request, target.resource, item, wanted)

    async def _delete(self, request: Request, target: Target) -> Response:
        if target.subresource:
            raise method_not_allowed()
        options = decode_delete_options(
            request.headers.get("content-type", ""),
            await read_body(request),
            request.query_params,
            _is_dry_run(request, "DeleteOptions"),
        )
        if target.name:
            item = await self._registry.delete(target.resource, target.namespace, target.name, options)
            return self._answer_deletion(target, item)
        if not target.resource.has_collection_delete:
            raise method_not_allowed()
        page = read_page(self._state, target, parse_list_options(request.query_params, target))
        for item in page.items:
            try:
                await self._registry.delete(target.resource, item.namespace, item.name, options)
            except StatusError as exc:
                # Gone meanwhile, or changed: what was asked for is that it goes.
                if exc.code != HTTPStatus.NOT_FOUND:
                    raise
        return list_response(target, page)

    def _answer_list(self, request: Request, target: Target, page: Page, wanted: Wanted) -> Response:
        if wanted.form != "object":
            return json_response(formed_list(request, target.resource, page, wanted))
        return list_response(target, page)

    def _answer_deletion(self, target: Target, item: Item) -> Response:
        if self._state.history(target.resource).get(item.namespace, item.name) is not None:
            return Response(encode_object(target.resource, item), media_type="application/json")
        metadata = decode_object(target.resource, item)["metadata"]
        group = {"group": target.resource.group} if target.resource.group else {}
        details = {"name": item.name, **group, "kind": target.resource.plural, "uid": metadata["uid"]}
        status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "details": details,
        }
        return json_response(status)

    def _answer(
        self, request: Request, resource: Resource, item: Item, wanted: Wanted, code: int = HTTPStatus.OK
    ) -> Response:
        if wanted.form == "object":
            return Response(encode_object(resource, item), code, media_type="application/json")
        return json_response(formed(request, resource, item, wanted), code)


def _is_dry_run(request: Request, options: str) -> bool:
    return parse_dry_run(options, request.query_params.getlist("dryRun"))
