"""What is answered whatever the objects are: health, version, discovery and OpenAPI."""

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from netns_lab.apiserver import discovery
from netns_lab.apiserver.answers import json_response
from netns_lab.apiserver.open_api import document_v2, document_v3, index_v3
from netns_lab.apiserver.open_api_protobuf import encode_document
from netns_lab.apiserver.status import method_not_allowed, no_such_path
from netns_lab.apiserver.wire import Json

_OPENAPI_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_PATHS = ["/api", "/apis", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]


def answer_document(request: Request, parts: list[str], address: str) -> Response:
    """Answer a GET of a path that names no objects.

    Raises:
        StatusError: 404 there is no such document, 405 it is not a GET.
    """
    if request.method not in {"GET", "HEAD"}:
        raise method_not_allowed()
    document: Json | None = None
    match parts:
        case ["healthz" | "readyz" | "livez", *_]:
            return PlainTextResponse("ok")
        case ["version"]:
            document = discovery.version()
        case ["openapi", *rest]:
            return _answer_open_api(request, rest)
        case ["api"]:
            document = discovery.core_versions(address)
        case ["apis"]:
            document = discovery.groups()
        case ["api", version]:
            document = discovery.resources("", version)
        case ["apis", group]:
            document = discovery.group(group)
        case ["apis", group, version]:
            document = discovery.resources(group, version)
        case []:
            document = {"paths": _PATHS}
    if document is None:
        raise no_such_path()
    return json_response(document)


def _answer_open_api(request: Request, parts: list[str]) -> Response:
    document: Json | None = None
    match parts:
        case ["v2"]:
            document = document_v2(discovery.GIT_VERSION)
            if "proto-openapi" in request.headers.get("accept", ""):
                return Response(encode_document(document), media_type=_OPENAPI_PROTOBUF)
        case ["v3"]:
            document = index_v3(discovery.GIT_VERSION)
        case ["v3", *root]:
            document = document_v3("/".join(root), discovery.GIT_VERSION)
    if document is None:
        raise no_such_path()
    return json_response(document)
