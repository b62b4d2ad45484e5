"""Which objects the server takes: shapes, the fields that Kubernetes checks, and what may not change."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from netns_lab.apiserver.key_syntax import config_map_causes, metadata_causes
from netns_lab.apiserver.resources import (
    CONFIG_MAPS,
    ENDPOINT_SLICES,
    PODS,
    SERVICE_CIDRS,
    SERVICES,
    Resource,
)
from netns_lab.apiserver.service_cidrs import service_cidr_causes, service_cidr_change_causes
from netns_lab.apiserver.shapes import unreadable, without_nulls
from netns_lab.apiserver.status import (
    Cause,
    FieldPath,
    invalid,
    invalid_value,
    not_allowed,
    render_path,
    required,
)
from netns_lab.apiserver.wire import Json
from nodeplane.kube.objects import KINDS, Object
from nodeplane.kube.validation import problems

_POD_MUTABLE = (
    "activeDeadlineSeconds",
    "tolerations",
    "terminationGracePeriodSeconds",
    "nodeName",
    "schedulingGates",
)
_SESSION_AFFINITIES = ("ClientIP", "None")
_TRAFFIC_POLICIES = ("Cluster", "Local")
_MAX_CLIENT_IP_TIMEOUT_S = 86400


def check_object(resource: Resource, value: Json, old: Json | None) -> None:
    """Refuse an object that is complete (defaults, addresses) and wrong, or a change that may not be.

    Raises:
        StatusError: 400 for a field of the wrong type, 422 with a cause for each wrong field.
    """
    # What nodeplane has no shape for has metadata at least.
    kind = KINDS.get((resource.api_version, resource.kind), Object)
    try:
        typed = msgspec.convert(without_nulls(value), kind)
    except msgspec.ValidationError as exc:
        raise unreadable(resource, str(exc)) from exc
    causes = [*metadata_causes(value["metadata"])]
    if resource is CONFIG_MAPS:
        causes += config_map_causes(value)
    if resource is SERVICE_CIDRS:
        causes += service_cidr_causes(value["spec"])
    if resource is SERVICES:
        causes += _service_causes(value["spec"])
    if resource is PODS:
        causes += _pod_causes(value)
    if old is not None:
        causes += _change_causes(resource, value, old)
    if resource is not SERVICE_CIDRS:
        # Which says the same of its networks, and less.
        named = {cause.field for cause in causes}
        more = (_cause(value, path, expected) for path, expected in problems(typed))
        causes += [cause for cause in more if cause.field not in named]
    if causes:
        raise invalid(resource, value["metadata"].get("name", ""), causes)


def _cause(value: Json, path: Sequence[str | int], expected: str) -> Cause:
    found: Any = value
    for part in path:
        if isinstance(part, int):
            found = found[part] if isinstance(found, list) and part < len(found) else None
        else:
            found = found.get(part) if isinstance(found, dict) else None
    if found in (None, "", []):
        return required(tuple(path))
    return invalid_value(tuple(path), found, expected)


def _service_causes(spec: Json) -> Iterator[Cause]:
    for field, allowed in (
        ("sessionAffinity", _SESSION_AFFINITIES),
        ("internalTrafficPolicy", _TRAFFIC_POLICIES),
        ("externalTrafficPolicy", _TRAFFIC_POLICIES),
    ):
        if field in spec and spec[field] not in allowed:
            yield _unsupported(("spec", field), spec[field], allowed)
    timeout_s = ((spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}).get("timeoutSeconds")
    if timeout_s is not None and not 0 < timeout_s <= _MAX_CLIENT_IP_TIMEOUT_S:
        path = ("spec", "sessionAffinityConfig", "clientIP", "timeoutSeconds")
        yield invalid_value(
            path, timeout_s, f"must be greater than 0 and less than {_MAX_CLIENT_IP_TIMEOUT_S}"
        )
    if spec.get("externalTrafficPolicy") and spec["type"] not in {"NodePort", "LoadBalancer"}:
        yield invalid_value(
            ("spec", "externalTrafficPolicy"),
            spec["externalTrafficPolicy"],
            "may only be set for externally-accessible services",
        )


def _unsupported(path: FieldPath, value: Any, allowed: tuple[str, ...]) -> Cause:
    words = ", ".join(f'"{entry}"' for entry in allowed)
    return Cause(
        "FieldValueNotSupported",
        f'Unsupported value: "{value}": supported values: {words}',
        render_path(path),
    )


def _pod_causes(value: Json) -> Iterator[Cause]:
    containers = value["spec"].get("containers")
    if not containers:
        yield required(("spec", "containers"))
    for index, container in enumerate(containers or ()):
        for name in ("name", "image"):
            if not container.get(name):
                yield required(("spec", "containers", index, name))


def _change_causes(resource: Resource, new: Json, old: Json) -> Iterator[Cause]:
    if resource is ENDPOINT_SLICES and new.get("addressType") != old.get("addressType"):
        yield invalid_value(("addressType",), new.get("addressType"), "field is immutable")
    if resource is PODS and _fixed_pod_spec(new["spec"]) != _fixed_pod_spec(old["spec"]):
        yield not_allowed(
            ("spec",),
            "pod updates may not change fields other than `spec.containers[*].image`, "
            "`spec.initContainers[*].image`, `spec.activeDeadlineSeconds`, `spec.tolerations` (only "
            "additions to existing tolerations), `spec.terminationGracePeriodSeconds`",
        )
    if resource is PODS and old["spec"].get("nodeName") not in (None, "", new["spec"].get("nodeName")):
        yield not_allowed(("spec", "nodeName"), "a pod stays on its node")
    if resource is SERVICE_CIDRS:
        yield from service_cidr_change_causes(new["spec"], old["spec"])
    if resource is SERVICES:
        yield from _address_causes(new["spec"], old["spec"])


def _fixed_pod_spec(spec: Mapping[str, Any]) -> Json:
    fixed = {name: entry for name, entry in spec.items() if name not in _POD_MUTABLE}
    for name in ("containers", "initContainers"):
        fixed[name] = [
            {field: entry for field, entry in container.items() if field not in {"image", "imagePullPolicy"}}
            for container in spec.get(name) or ()
        ]
    return fixed


def _address_causes(new: Json, old: Json) -> Iterator[Cause]:
    """Yield what is wrong when a Service that has an address gets another one."""
    if "ExternalName" in {new["type"], old["type"]}:
        return
    before, after = old.get("clusterIPs") or [], new.get("clusterIPs") or []
    if before and after and before[0] != after[0]:
        yield invalid_value(("spec", "clusterIPs", 0), after, "may not change once set")
    if len(before) > 1 and len(after) > 1 and before[1] != after[1]:
        yield invalid_value(("spec", "clusterIPs", 1), after, "may not change once set")
    families = old.get("ipFamilies") or []
    if families and (new.get("ipFamilies") or [])[:1] != families[:1]:
        yield invalid_value(("spec", "ipFamilies", 0), new.get("ipFamilies"), "may not change once set")
