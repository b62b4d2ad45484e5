"""What the server says when it refuses: metav1.Status, worded as Kubernetes words it.

The shapes are those of a real API server's answers (shared recordings); clients read `reason`, `code` and
`details`, people read `message`.
"""

import json
from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec

from netns_lab.apiserver.resources import Resource
from nodeplane.errors import NodeplaneError

FieldPath: TypeAlias = tuple[str | int, ...]


class Cause(msgspec.Struct, frozen=True):
    """One wrong field (metav1.StatusCause)."""

    reason: str
    message: str
    field: str


class StatusError(NodeplaneError):
    """A request that the server refuses.

    Attributes:
        code: The HTTP status.
        body: The Status object.
    """

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.body: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": metadata or {},
            "status": "Failure",
            "message": message,
        }
        if reason:
            self.body["reason"] = reason
        if details is not None:
            self.body["details"] = details
        self.body["code"] = code


def _details(resource: Resource, name: str, **more: Any) -> dict[str, Any]:
    group = {"group": resource.group} if resource.group else {}
    return {"name": name, **group, "kind": resource.plural, **more}


def not_found(resource: Resource, name: str) -> StatusError:
    """There is no object of that name."""
    return StatusError(404, "NotFound", f'{resource.qualified} "{name}" not found', _details(resource, name))


def no_such_path() -> StatusError:
    """The URL names nothing that this server has."""
    return StatusError(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(resource: Resource, name: str) -> StatusError:
    """An object of that name is there."""
    message = f'{resource.qualified} "{name}" already exists'
    return StatusError(409, "AlreadyExists", message, _details(resource, name))


def conflict(resource: Resource, name: str, why: str = "") -> StatusError:
    """The change was made to a version that is no longer the last one."""
    why = why or "the object has been modified; please apply your changes to the latest version and try again"
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
    return StatusError(409, "Conflict", message, _details(resource, name))


def invalid(resource: Resource, name: str, causes: Sequence[Cause]) -> StatusError:
    """The object's fields are wrong; each cause names one."""
    texts = [f"{cause.field}: {cause.message}" for cause in causes]
    joined = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    details = _details(resource, name, causes=[msgspec.to_builtins(cause) for cause in causes])
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    # Here, unlike elsewhere, Kubernetes says the kind instead of the plural (api/errors.NewInvalid).
    details["kind"] = resource.kind
    return StatusError(422, "Invalid", f'{kind} "{name}" is invalid: {joined}', details)


def bad_request(message: str) -> StatusError:
    """The request itself makes no sense."""
    return StatusError(400, "BadRequest", message)


def forbidden(resource: Resource, name: str, why: str) -> StatusError:
    """The request is understood and never allowed."""
    message = f'{resource.qualified} "{name}" is forbidden: {why}'
    return StatusError(403, "Forbidden", message, _details(resource, name))


def unauthorized() -> StatusError:
    """The request has no token, or a wrong one."""
    return StatusError(401, "Unauthorized", "Unauthorized")


def method_not_allowed() -> StatusError:
    """The resource has no such verb."""
    return StatusError(
        405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {}
    )


def unsupported_media_type(found: str, allowed: Sequence[str]) -> StatusError:
    """The body is in a format that the server does not read."""
    listed = ", ".join(allowed)
    message = f"the body of the request was in an unknown format - accepted media types include: {listed}"
    return StatusError(415, "UnsupportedMediaType", message if found else f"{message} (none was named)")


def too_large(why: str) -> StatusError:
    """The body, or the object that it makes, is larger than the server takes."""
    return StatusError(413, "RequestEntityTooLarge", f"Request entity too large: {why}", {})


def not_acceptable() -> StatusError:
    """The client wants a format that the server does not write."""
    message = "only the following media types are accepted: application/json"
    return StatusError(406, "NotAcceptable", message, {})


def expired(wanted: int, oldest: int) -> StatusError:
    """The history no longer reaches back to the revision asked for."""
    return StatusError(410, "Expired", f"too old resource version: {wanted} ({oldest})")


def continue_expired(fresh_token: str) -> StatusError:
    """A list can't be continued as it was begun; `fresh_token` continues it as it is now."""
    message = (
        "The provided continue parameter is too old to display a consistent list result. You can start a new "
        "list without the continue parameter, or use the continue token in this response to retrieve the "
        "remainder of the results. Continuing with the provided token results in an inconsistent list - "
        "objects that were created, modified, or deleted between the time the first chunk was returned and "
        "now may show up in the list."
    )
    return StatusError(410, "Expired", message, metadata={"continue": fresh_token})


def too_large_revision(wanted: int, current: int) -> StatusError:
    """The client has seen a revision that this server has not reached."""
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    details = {"causes": [cause], "retryAfterSeconds": 1}
    message = f"Timeout: Too large resource version: {wanted}, current: {current}"
    return StatusError(504, "Timeout", message, details)


def internal_error(message: str) -> StatusError:
    """The server failed, not the request."""
    return StatusError(500, "InternalError", message)


def render_path(path: FieldPath) -> str:
    """Render a field's path as Kubernetes does: `spec.ports[0].port`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def required(path: FieldPath, detail: str = "") -> Cause:
    """Say that a field is missing."""
    return Cause(
        "FieldValueRequired", f"Required value: {detail}" if detail else "Required value", render_path(path)
    )


def invalid_value(path: FieldPath, value: Any, detail: str) -> Cause:
    """Say that a field's value is wrong."""
    shown = json.dumps(value, separators=(",", ":"))
    return Cause("FieldValueInvalid", f"Invalid value: {shown}: {detail}", render_path(path))


def duplicate(path: FieldPath, value: Any) -> Cause:
    """Say that a value is there twice."""
    shown = json.dumps(value, separators=(",", ":"))
    return Cause("FieldValueDuplicate", f"Duplicate value: {shown}", render_path(path))


def not_allowed(path: FieldPath, detail: str) -> Cause:
    """Say that a field must not be set or changed."""
    return Cause("FieldValueForbidden", f"Forbidden: {detail}", render_path(path))
