"""The bodies of requests: objects, patches and deletion options, in the formats that clients send."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from starlette.requests import Request

from netns_lab.apiserver.apply_patch import Manager, apply_patch
from netns_lab.apiserver.dry_run import parse_dry_run
from netns_lab.apiserver.nesting import check_depth, too_deep
from netns_lab.apiserver.patch import json_patch, merge_patch
from netns_lab.apiserver.protobuf_body import decode_protobuf
from netns_lab.apiserver.registry import Change
from netns_lab.apiserver.request_info import Target
from netns_lab.apiserver.status import (
    StatusError,
    bad_request,
    required,
    too_large,
    unsupported_media_type,
)
from netns_lab.apiserver.strategic_merge import strategic_merge
from netns_lab.apiserver.strategy import DeleteOptions, now_text
from netns_lab.apiserver.wire import Json
from netns_lab.apiserver.yaml_body import decode_yaml

# As upstream (MaxRequestBodyBytes): twice what etcd takes, for JSON is longer than what it stores.
MAX_BODY_BYTES = 3 << 20

_JSON = "application/json"
_YAML = "application/yaml"
_PROTOBUF = "application/vnd.kubernetes.protobuf"
_JSON_PATCH = "application/json-patch+json"
_MERGE_PATCH = "application/merge-patch+json"
_STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
_APPLY_PATCH = "application/apply-patch+yaml"
_PATCHES = (_JSON_PATCH, _MERGE_PATCH, _STRATEGIC_MERGE_PATCH, _APPLY_PATCH)


class _Preconditions(msgspec.Struct, frozen=True, rename="camel"):
    uid: str | None = None
    resource_version: str | None = None


class _DeleteOptions(msgspec.Struct, frozen=True, rename="camel"):
    grace_period_seconds: int | None = None
    preconditions: _Preconditions | None = None
    dry_run: list[str] | None = None


class Patch(msgspec.Struct, frozen=True):
    """A patch as a change; an apply `creates` the object when there is none."""

    change: Change
    creates: bool = False


async def read_body(request: Request) -> bytes:
    """Read a request's body, no further than its limit.

    Raises:
        StatusError: 413, it is longer.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise too_large(f"limit is {MAX_BODY_BYTES}")
    return bytes(body)


def decode_body(content_type: str, body: bytes) -> Json:
    """Read an object.

    Raises:
        StatusError: 400 not an object, 415 not a format that the server reads.
    """
    # As upstream: a body without a type is JSON.
    media_type = _media_type(content_type) or _JSON
    value: Any = None
    if media_type == _PROTOBUF:
        value = decode_protobuf(body)
    elif media_type in {_JSON, _YAML}:
        value = _decode(body, is_yaml=media_type == _YAML)
        if not isinstance(value, dict):
            raise bad_request("the object provided is unrecognized: expected an object")
    if value is None:
        raise unsupported_media_type(media_type, (_JSON, _YAML))
    found: Json = value
    return found


def decode_patch(target: Target, content_type: str, body: bytes, *, manager: str, force: bool) -> Patch:
    """Read a patch of one of the four kinds.

    Raises:
        StatusError: 400 not a patch of its kind, 415 of no kind, 422 an apply without a manager.
    """
    media_type = _media_type(content_type)
    if media_type not in _PATCHES:
        raise unsupported_media_type(media_type, _PATCHES)
    patch = _decode(body, is_yaml=media_type == _APPLY_PATCH)
    kind = target.resource.kind
    if media_type == _JSON_PATCH:
        return Patch(_object_change(lambda live: json_patch(live, patch)))
    if not isinstance(patch, dict):
        raise bad_request("the patch provided is unrecognized: expected an object")
    if media_type == _MERGE_PATCH:
        return Patch(_object_change(lambda live: merge_patch(live, patch)))
    if media_type == _STRATEGIC_MERGE_PATCH:
        return Patch(_object_change(lambda live: strategic_merge(kind, live, patch)))
    if not manager:
        cause = required(("fieldManager",), "is required for apply patch")
        details = {"kind": "PatchOptions", "group": "meta.k8s.io", "causes": [msgspec.to_builtins(cause)]}
        message = f'PatchOptions.meta.k8s.io "" is invalid: {cause.field}: {cause.message}'
        raise StatusError(422, "Invalid", message, details)
    metadata = patch.get("metadata")
    if isinstance(metadata, dict) and metadata.get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
    who = Manager(manager, now_text(), force, target.subresource)
    return Patch(_object_change(lambda live: apply_patch(target.resource, live, patch, who)), creates=True)


def decode_delete_options(
    content_type: str, body: bytes, query: Mapping[str, str], dry_run: bool = False
) -> DeleteOptions:
    """Read what a deletion asks for, from its body or else its URL; `dry_run` is what the URL says of that.

    Raises:
        StatusError: 400, it can't be read; 422, it is a dry run of no known sort.
    """
    value = decode_body(content_type, body) if body.strip() else {}
    if "gracePeriodSeconds" in query:
        value.setdefault("gracePeriodSeconds", query["gracePeriodSeconds"])
    try:
        # Not strict: in a URL numbers are texts.
        options = msgspec.convert(value, _DeleteOptions, strict=False)
    except msgspec.ValidationError as exc:
        raise bad_request(f"the deletion options could not be read: {exc}") from exc
    preconditions = options.preconditions or _Preconditions()
    return DeleteOptions(
        grace_period_s=options.grace_period_seconds,
        uid=preconditions.uid,
        resource_version=preconditions.resource_version,
        dry_run=parse_dry_run("DeleteOptions", options.dry_run or ()) or dry_run,
    )


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _decode(body: bytes, *, is_yaml: bool) -> Any:
    try:
        if is_yaml and body.lstrip()[:1] != b"{":
            return decode_yaml(body)
        value = msgspec.json.decode(body)
    except msgspec.DecodeError as exc:
        raise bad_request(f"the body of the request could not be read: {exc}") from exc
    except RecursionError as exc:
        raise too_deep() from exc
    check_depth(value)
    return value


def _object_change(change: Callable[[Json], Any]) -> Change:
    """Return a change that refuses what is no patch of its object."""

    def checked(live: Json) -> Json:
        try:
            value = change(live)
        except (TypeError, AttributeError, KeyError) as exc:
            # Patches have no types of their own: one that has a text where the object has a list shows here.
            raise bad_request("the patch does not fit the object") from exc
        if not isinstance(value, dict) or not isinstance(value.get("metadata"), dict):
            raise bad_request("the patch leaves no object")
        return value

    return checked
