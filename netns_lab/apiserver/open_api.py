"""The OpenAPI documents: the schemas of our kinds, and the operations that kubectl looks for in them.

kubectl reads v2 (as protobuf) up to 1.26 and where it checks fields, v3 for `explain` since. It asks them
whether a kind can be patched with `dryRun` before it does so (`diff`, `apply --dry-run=server`).
"""

import hashlib
from collections.abc import Iterable
from functools import cache
from typing import Any

import msgspec

from netns_lab.apiserver.open_api_schemas import (
    REFERENCE_HEAD,
    build_schemas,
    group_version_kind,
    kind_name,
)
from netns_lab.apiserver.resources import RESOURCES, Resource
from netns_lab.apiserver.wire import Json

_TITLE = "netns-lab"
_COMPONENTS_HEAD = "#/components/schemas/"
_QUERIES = ("dryRun", "fieldManager")
_PATCH_QUERIES = (*_QUERIES, "force")
_METHODS = {
    "get": ("get", ()),
    "put": ("put", _QUERIES),
    "patch": ("patch", _PATCH_QUERIES),
    "delete": ("delete", ("dryRun",)),
}


@cache
def document_v2(version: str) -> Json:
    """Return the document of the whole API (OpenAPI 2.0, "Swagger")."""
    paths = {
        path: _operations(resource, methods, is_v3=False)
        for resource in RESOURCES
        for path, methods in _paths(resource)
    }
    info = {"title": _TITLE, "version": version}
    return {"swagger": "2.0", "info": info, "paths": paths, "definitions": build_schemas()}


@cache
def index_v3(version: str) -> Json:
    """Return the answer to `/openapi/v3`: where the documents of the groups are, each under its digest."""
    entries = {}
    for path in sorted({_root(resource) for resource in RESOURCES}):
        digest = hashlib.sha256(msgspec.json.encode(document_v3(path, version))).hexdigest()[:32].upper()
        entries[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
    return {"paths": entries}


@cache
def document_v3(root: str, version: str) -> Json | None:
    """Return the document of one group's version, such as `api/v1`; None when there is no such group."""
    found = [resource for resource in RESOURCES if _root(resource) == root]
    if not found:
        return None
    packages = {kind_name(resource).rpartition(".")[0] for resource in found}
    schemas = {
        name: _with_components(schema)
        for name, schema in build_schemas().items()
        if name.rpartition(".")[0] in packages
    }
    paths = {
        path: _operations(resource, methods, is_v3=True)
        for resource in found
        for path, methods in _paths(resource)
    }
    info = {"title": _TITLE, "version": version}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas}}


def _root(resource: Resource) -> str:
    return f"apis/{resource.group}/{resource.version}" if resource.group else f"api/{resource.version}"


def _paths(resource: Resource) -> Iterable[tuple[str, tuple[str, ...]]]:
    namespace = "namespaces/{namespace}/" if resource.namespaced else ""
    collection = f"/{_root(resource)}/{namespace}{resource.plural}"
    yield collection, ("get", "post")
    yield f"{collection}/{{name}}", ("get", "put", "patch", "delete")
    if resource.has_status:
        yield f"{collection}/{{name}}/status", ("get", "put", "patch")


def _operations(resource: Resource, methods: Iterable[str], *, is_v3: bool) -> Json:
    return {method: _operation(resource, method, is_v3=is_v3) for method in methods}


def _operation(resource: Resource, method: str, *, is_v3: bool) -> Json:
    action, queries = _METHODS.get(method, (method, _QUERIES))
    return {
        "parameters": [_parameter(name, is_v3=is_v3) for name in queries],
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": group_version_kind(resource),
    }


def _parameter(name: str, *, is_v3: bool) -> Json:
    kind = {"type": "boolean" if name == "force" else "string"}
    return {"name": name, "in": "query", **({"schema": kind} if is_v3 else kind)}


def _with_components(schema: Any) -> Any:
    """Return a schema with its references as OpenAPI v3 writes them."""
    if isinstance(schema, dict):
        return {
            name: _COMPONENTS_HEAD + entry.removeprefix(REFERENCE_HEAD)
            if name == "$ref" and isinstance(entry, str)
            else _with_components(entry)
            for name, entry in schema.items()
        }
    return [_with_components(entry) for entry in schema] if isinstance(schema, list) else schema
