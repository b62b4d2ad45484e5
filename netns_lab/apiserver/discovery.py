"""What clients ask first: which groups, versions and kinds there are (metav1 discovery documents)."""

import base64
import hashlib
from collections.abc import Iterator

from netns_lab.apiserver.resources import RESOURCES, Resource
from netns_lab.apiserver.wire import Json

_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
_STATUS_VERBS = ["get", "patch", "update"]

GIT_VERSION = "v1.36.2+netns-lab"
"""The version that clients are told; our answers are those of this upstream release."""


def core_versions(address: str) -> Json:
    """Return the answer to `/api`."""
    entry = {"clientCIDR": "0.0.0.0/0", "serverAddress": address}
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [entry]}


def groups() -> Json:
    """Return the answer to `/apis`."""
    found = {resource.group: resource for resource in RESOURCES if resource.group}
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(entry) for entry in found.values()]}


def group(name: str) -> Json | None:
    """Return the answer to `/apis/GROUP`; None when there is no such group."""
    for resource in RESOURCES:
        if resource.group == name and name:
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(resource)}
    return None


def resources(group_name: str, version: str) -> Json | None:
    """Return the answer to `/api/v1` or `/apis/GROUP/VERSION`; None when there is no such version."""
    found = [entry for entry in RESOURCES if (entry.group, entry.version) == (group_name, version)]
    if not found:
        return None
    listed = [line for resource in found for line in _lines(resource)]
    return {
        "kind": "APIResourceList",
        **({"apiVersion": "v1"} if group_name else {}),
        "groupVersion": found[0].api_version,
        "resources": sorted(listed, key=lambda line: str(line["name"])),
    }


def version() -> Json:
    """Return the answer to `/version`."""
    return {
        "major": "1",
        "minor": "36",
        "gitVersion": GIT_VERSION,
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "",
        "platform": "linux/amd64",
    }


def openapi_v2() -> bytes:
    """Return a complete, empty OpenAPI document in the protobuf form that kubectl asks for.

    kubectl checks what it sends against the definitions it finds here, and leaves kinds without one to the
    server (k8s.io/kubectl/pkg/validation). Fields of openapi.v2.Document: 1 swagger, 2 info (1 title,
    2 version), 8 paths, 9 definitions; each is a tag, a length and the content.
    """
    info = _field(1, b"netns-lab") + _field(2, GIT_VERSION.encode())
    return _field(1, b"2.0") + _field(2, info) + _field(8, b"") + _field(9, b"")


def openapi_v2_json() -> Json:
    """Return the same document as JSON."""
    info = {"title": "netns-lab", "version": GIT_VERSION}
    return {"swagger": "2.0", "info": info, "paths": {}, "definitions": {}}


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2, len(content)]) + content


def _group(resource: Resource) -> Json:
    entry = {"groupVersion": resource.api_version, "version": resource.version}
    return {"name": resource.group, "versions": [entry], "preferredVersion": entry}


def _lines(resource: Resource) -> Iterator[Json]:
    digest = hashlib.sha256(f"{resource.api_version}/{resource.kind}".encode()).digest()
    line: Json = {
        "name": resource.plural,
        "singularName": resource.kind.lower(),
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": [verb for verb in _VERBS if verb != "deletecollection" or resource.has_collection_delete],
    }
    if resource.short_names:
        line["shortNames"] = list(resource.short_names)
    if resource.categories:
        line["categories"] = list(resource.categories)
    yield {**line, "storageVersionHash": base64.b64encode(digest[:8]).decode()}
    if resource.has_status:
        yield {
            "name": f"{resource.plural}/status",
            "singularName": "",
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": _STATUS_VERBS,
        }
