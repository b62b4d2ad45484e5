"""What becomes of an object on its way in: what a client may set, what is the server's, when it is gone.

Pure but for time, chance and identifiers; `registry` writes what comes out. Kubernetes calls these decisions
strategies (k8s.io/apiserver/pkg/registry/rest).
"""

import random
import uuid
from datetime import UTC, datetime, timedelta

import msgspec

from netns_lab.apiserver.defaulting import apply_defaults
from netns_lab.apiserver.resources import NODES, PODS, Resource
from netns_lab.apiserver.shapes import without_nulls
from netns_lab.apiserver.status import bad_request, conflict, invalid, invalid_value
from netns_lab.apiserver.wire import Json

_NAME_ENDING = "bcdfghjklmnpqrstvwxz2456789"  # k8s.io/apimachinery/pkg/util/rand: no vowels, so no words
_LONGEST_GENERATED_BASE = 58
_ENDED_PHASES = ("Succeeded", "Failed")


class DeleteOptions(msgspec.Struct, frozen=True):
    """What a deletion asks for (metav1.DeleteOptions)."""

    grace_period_s: int | None = None
    uid: str | None = None
    resource_version: str | None = None
    dry_run: bool = False


def check_identity(resource: Resource, namespace: str, value: Json) -> Json:
    """Make sure that the body is what the URL says it is; fill in what only the URL says.

    Returns its metadata.

    Raises:
        StatusError: 400, it is something else.
    """
    for field, expected in (("apiVersion", resource.api_version), ("kind", resource.kind)):
        if value.setdefault(field, expected) != expected:
            raise bad_request(
                f"the object provided is unrecognized (must be of type {resource.kind}): "
                f"{field} is {value[field]!r}, expected {expected!r}"
            )
    if not isinstance(value.setdefault("metadata", {}), dict):
        raise bad_request("metadata: expected a mapping")
    metadata: Json = value["metadata"]
    found = metadata.get("namespace") or namespace
    if found != namespace:
        raise bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    if resource.namespaced:
        metadata["namespace"] = namespace
    else:
        metadata.pop("namespace", None)
    return metadata


def now_text() -> str:
    """Return the time as metav1.Time is written: whole seconds, UTC."""
    return _time_text(datetime.now(UTC))


def _time_text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def generate_name(base: str) -> str:
    """Return a name that begins with `base` and is not in use, most probably."""
    return base[:_LONGEST_GENERATED_BASE] + "".join(random.choices(_NAME_ENDING, k=5))


def prepare_create(resource: Resource, value: Json) -> Json:
    """Return a new object with its identity and defaults."""
    fresh: Json = without_nulls(value)
    metadata = fresh["metadata"]
    for name in ("selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"):
        metadata.pop(name, None)
    metadata["uid"] = str(uuid.uuid4())
    metadata["creationTimestamp"] = now_text()
    if resource.has_generation:
        metadata["generation"] = 1
    # A node registers with its status; others get theirs from whoever looks after them.
    if resource.has_status and resource is not NODES:
        fresh.pop("status", None)
    apply_defaults(resource, fresh)
    return fresh


def prepare_update(resource: Resource, old: Json, wanted: Json, subresource: str) -> Json:
    """Return the next version: of what is wanted only what this way of writing may change."""
    if subresource == "status":
        managed = wanted["metadata"].get("managedFields")
        wanted = {**old, "status": wanted.get("status") or {}}
        if managed is not None:
            wanted["metadata"] = {**old["metadata"], "managedFields": managed}
    elif resource.has_status:
        wanted = {**wanted, "status": old.get("status") or {}}
    metadata = dict(wanted["metadata"])
    # The server's own fields stay whatever a client says (rest.BeforeUpdate).
    for name in ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds"):
        metadata.pop(name, None)
        if name in old["metadata"]:
            metadata[name] = old["metadata"][name]
    metadata.pop("selfLink", None)
    fresh: Json = without_nulls({**wanted, "metadata": metadata})
    apply_defaults(resource, fresh)
    return fresh


def check_preconditions(resource: Resource, old: Json, uid: str | None, revision: str | None) -> None:
    """Make sure that a change is meant for this object, and was made from this version of it.

    Raises:
        StatusError: 409 it was not, 422 the version is no number.
    """
    metadata = old["metadata"]
    if uid and uid != metadata["uid"]:
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {metadata['uid']}"
        raise conflict(resource, metadata["name"], why)
    if not revision:
        return
    if not str(revision).isdigit():
        cause = invalid_value(("metadata", "resourceVersion"), revision, "must be an unsigned integer")
        raise invalid(resource, metadata["name"], [cause])
    if revision != metadata["resourceVersion"]:
        raise conflict(resource, metadata["name"])


def mark_deleted(resource: Resource, old: Json, options: DeleteOptions) -> Json | None:
    """Return the object marked as going; None when nothing keeps it."""
    metadata = old["metadata"]
    grace_s = 0
    if resource is PODS and old["spec"].get("nodeName") and old["status"].get("phase") not in _ENDED_PHASES:
        # The node's agent ends the containers first, then deletes again with no grace
        # (podStrategy.CheckGracefulDelete).
        grace_s = int(old["spec"].get("terminationGracePeriodSeconds") or 0)
        if options.grace_period_s is not None:
            grace_s = max(0, options.grace_period_s)
        if "deletionGracePeriodSeconds" in metadata:
            grace_s = min(grace_s, metadata["deletionGracePeriodSeconds"])
    if not grace_s and not metadata.get("finalizers"):
        return None
    due = datetime.now(UTC) + timedelta(seconds=grace_s)
    marks = {"deletionTimestamp": _time_text(due), "deletionGracePeriodSeconds": grace_s}
    if metadata.get("deletionGracePeriodSeconds") == grace_s:
        marks["deletionTimestamp"] = metadata["deletionTimestamp"]
    return {**old, "metadata": {**metadata, **marks}}


def is_released(value: Json) -> bool:
    """Say whether an object that is marked as going has lost its last reason to stay."""
    metadata = value["metadata"]
    return (
        "deletionTimestamp" in metadata
        and not metadata.get("finalizers")
        and not metadata.get("deletionGracePeriodSeconds")
    )


def is_same(fresh: Json, old: Json) -> bool:
    """Say whether a version says nothing that the last one did not."""
    metadata, before = ({**value["metadata"], "resourceVersion": ""} for value in (fresh, old))
    return metadata == before and content(fresh) == content(old) and fresh.get("status") == old.get("status")


def content(value: Json) -> Json:
    """Return what `metadata.generation` counts the changes of."""
    return {
        name: entry
        for name, entry in value.items()
        if name not in {"metadata", "status", "kind", "apiVersion"}
    }
