"""What clients ask first: which groups, versions and kinds there are (metav1 discovery documents)."""

import base64
import hashlib
from collections.abc import Iterator

from netns_lab.apiserver.resources import RESOURCES, SERVED, Resource
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
    found = [entry for entry in SERVED if (entry.group, entry.version) == (group_name, version)]
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
        "verbs": _verbs(resource),
    }
    if resource.short_names:
        line["shortNames"] = list(resource.short_names)
    if resource.categories:
        line["categories"] = list(resource.categories)
    if not resource.is_view:
        line["storageVersionHash"] = base64.b64encode(digest[:8]).decode()
    yield line
    if resource.has_status:
        yield {
            "name": f"{resource.plural}/status",
            "singularName": "",
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": _STATUS_VERBS,
        }


def _verbs(resource: Resource) -> list[str]:
    if resource.is_view:
        return ["get", "list"]
    return [verb for verb in _VERBS if verb != "deletecollection" or resource.has_collection_delete]
