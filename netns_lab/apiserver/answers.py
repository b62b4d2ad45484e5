"""Answers: objects and lists as bytes, whole or in the form that the client asked for."""

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from netns_lab.apiserver.listing import Page
from netns_lab.apiserver.media_types import Wanted
from netns_lab.apiserver.request_info import Target
from netns_lab.apiserver.resources import Resource
from netns_lab.apiserver.tables import build_table, partial_metadata
from netns_lab.apiserver.wire import Item, Json, decode_object

_CHUNK_ITEMS = 500


def json_response(value: Any, code: int = HTTPStatus.OK) -> Response:
    """Answer with a value."""
    return Response(msgspec.json.encode(value), code, media_type="application/json")


def formed(request: Request, resource: Resource, item: Item, wanted: Wanted) -> Json:
    """Return one object in another form than its own."""
    if wanted.form == "metadata":
        return partial_metadata(decode_object(resource, item), wanted.version)
    metadata = {"resourceVersion": str(item.revision)}
    include = request.query_params.get("includeObject", "Metadata")
    return build_table(resource, [item], metadata, version=wanted.version, include=include)


def formed_list(request: Request, resource: Resource, page: Page, wanted: Wanted) -> Json:
    """Return a list in another form than its own."""
    metadata: Json = {"resourceVersion": str(page.revision)}
    if page.continue_token:
        metadata["continue"] = page.continue_token
    if page.remaining is not None:
        metadata["remainingItemCount"] = page.remaining
    if wanted.form == "table":
        include = request.query_params.get("includeObject", "Metadata")
        return build_table(resource, page.items, metadata, version=wanted.version, include=include)
    items = [partial_metadata(decode_object(resource, item), wanted.version) for item in page.items]
    return {
        "kind": "PartialObjectMetadataList",
        "apiVersion": f"meta.k8s.io/{wanted.version}",
        "metadata": metadata,
        "items": items,
    }


def list_response(target: Target, page: Page) -> Response:
    """Answer with a list of whole objects, in chunks when it is long."""
    if len(page.items) <= _CHUNK_ITEMS:
        body = page.head(target) + b",".join(item.body for item in page.items) + b"]}"
        return Response(body, media_type="application/json")
    return StreamingResponse(_list_chunks(target, page), media_type="application/json")


async def _list_chunks(target: Target, page: Page) -> AsyncIterator[bytes]:
    yield page.head(target)
    for start in range(0, len(page.items), _CHUNK_ITEMS):
        yield (b"," if start else b"") + b",".join(
            item.body for item in page.items[start : start + _CHUNK_ITEMS]
        )
    yield b"]}"
