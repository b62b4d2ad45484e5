"""The fields of our kinds as OpenAPI schemas: for `kubectl explain`, and for kubectl to find misspelt fields.

The types of the fields that the server reads are those of `shapes`. The others are named here, by the shape
that they belong to, so that kubectl takes them: what is not named it refuses as unknown.
"""

import types
from collections.abc import Iterator
from typing import Any, Union, get_args, get_origin

import msgspec

from netns_lab.apiserver.merge_keys import MERGE_LISTS, MergeList, Path
from netns_lab.apiserver.resources import RESOURCES, Resource
from netns_lab.apiserver.shapes import SHAPES, Shape
from netns_lab.apiserver.wire import Json

REFERENCE_HEAD = "#/definitions/"
_OBJECT: Json = {"type": "object"}
_STRING: Json = {"type": "string"}
_SCALARS: dict[Any, Json] = {
    str: _STRING,
    int: {"type": "integer", "format": "int64"},
    bool: {"type": "boolean"},
    Any: {},
    # A number or a name; kubectl takes numbers for texts, not the other way around.
    int | str: {"type": "string", "format": "int-or-string"},
}
_WORDS: dict[str, Json] = {
    "": _STRING,
    "integer": _SCALARS[int],
    "boolean": _SCALARS[bool],
    "object": _OBJECT,
    "map": {**_OBJECT, "additionalProperties": _STRING},
    "list": {"type": "array", "items": _OBJECT},
    "texts": {"type": "array", "items": _STRING},
}

# Fields of k8s.io/api that the server keeps as they come: NAME, or NAME:TYPE with a type of _WORDS.
_MORE = {
    "Metadata": "selfLink generation:integer creationTimestamp deletionTimestamp "
    "deletionGracePeriodSeconds:integer",
    "Owner": "apiVersion kind name controller:boolean blockOwnerDeletion:boolean",
    "Condition": "reason message lastTransitionTime lastProbeTime lastHeartbeatTime lastUpdateTime "
    "observedGeneration:integer",
    "NodeSpec": "providerID externalID taints:list configSource:object",
    "NodeStatus": "capacity:map allocatable:map phase images:list volumesInUse:texts volumesAttached:list "
    "config:object runtimeHandlers:list features:object declaredFeatures:texts",
    "ContainerPort": "hostPort:integer hostIP",
    "Container": "command:texts args:texts workingDir envFrom:list env:list resources:object "
    "resizePolicy:list restartPolicy restartPolicyRules:list volumeMounts:list volumeDevices:list "
    "livenessProbe:object readinessProbe:object startupProbe:object lifecycle:object stdin:boolean "
    "terminationMessagePath terminationMessagePolicy securityContext:object stdinOnce:boolean tty:boolean",
    "PodSpec": "volumes:list ephemeralContainers:list restartPolicy activeDeadlineSeconds:integer dnsPolicy "
    "nodeSelector:map serviceAccountName serviceAccount automountServiceAccountToken:boolean "
    "hostPID:boolean hostIPC:boolean shareProcessNamespace:boolean securityContext:object "
    "imagePullSecrets:list affinity:object schedulerName tolerations:list hostAliases:list "
    "priorityClassName priority:integer dnsConfig:object runtimeClassName enableServiceLinks:boolean "
    "preemptionPolicy overhead:map topologySpreadConstraints:list setHostnameAsFQDN:boolean os:object "
    "hostUsers:boolean schedulingGates:list resourceClaims:list resources:object hostnameOverride "
    "workloadRef:object schedulingGroup:object evictionResponders:list",
    "PodStatus": "observedGeneration:integer message hostIP hostIPs:list startTime qosClass resize "
    "initContainerStatuses:list ephemeralContainerStatuses:list resourceClaimStatuses:list "
    "extendedResourceClaimStatus:object allocatedResources:map resources:object",
    "ContainerStatus": "name state:object lastState:object image imageID containerID started:boolean "
    "allocatedResources:map resources:object volumeMounts:list user:object stopSignal "
    "allocatedResourcesStatus:list",
    "ServicePort": "appProtocol",
    "ServiceSpec": "loadBalancerIP loadBalancerSourceRanges:texts loadBalancerClass topologyKeys:texts",
    "Ingress": "ipMode ports:list",
    "Endpoint": "hostname targetRef:object deprecatedTopology:map nodeName zone hints:object",
    "EndpointPort": "appProtocol",
    "LeaseSpec": "strategy preferredHolder",
    "Event": "series:object action related:object",
}


def kind_name(resource: Resource) -> str:
    """Return the name of a kind's schema, as upstream names it."""
    return f"{_package(resource)}.{resource.kind}"


def build_schemas() -> dict[str, Json]:
    """Return the schemas of all stored kinds and of their parts, by name; references are OpenAPI v2's."""
    schemas: dict[str, Json] = {}
    for resource in RESOURCES:
        shape = SHAPES[resource.qualified]
        lists = MERGE_LISTS[resource.kind]
        _add(schemas, resource, shape, lists, ())
        schema = schemas[kind_name(resource)]
        schema["properties"] = {"apiVersion": _STRING, "kind": _STRING, **schema["properties"]}
        # What the server needs to do its work, but nobody has to write.
        schema.pop("required", None)
        schema["x-kubernetes-group-version-kind"] = [group_version_kind(resource)]
    return schemas


def group_version_kind(resource: Resource) -> Json:
    """Return what ties schemas and operations to kinds."""
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _package(resource: Resource) -> str:
    return f"io.k8s.api.{resource.group.partition('.')[0] or 'core'}.{resource.version}"


def _add(
    schemas: dict[str, Json], resource: Resource, shape: type[Shape], lists: dict[Path, MergeList], at: Path
) -> Json:
    """Add the schema of a shape that is found at a path; return a reference to it."""
    name = f"{_package(resource)}.{shape.__name__.lstrip('_')}"
    schemas[name] = {"type": "object", "properties": {}}
    properties = schemas[name]["properties"]
    required = []
    for field in msgspec.structs.fields(shape):
        path = (*at, field.encode_name)
        schema = _type_schema(schemas, resource, field.type, lists, path)
        properties[field.encode_name] = {**schema, **_merge_marks(lists.get(path))}
        if field.required:
            required.append(field.encode_name)
    for more, schema in _more(shape):
        properties[more] = {**schema, **_merge_marks(lists.get((*at, more)))}
    if required:
        schemas[name]["required"] = required
    return {"$ref": REFERENCE_HEAD + name}


def _type_schema(
    schemas: dict[str, Json], resource: Resource, kind: Any, lists: dict[Path, MergeList], at: Path
) -> Json:
    if get_origin(kind) in {Union, types.UnionType}:
        # What may be null may be absent: it says nothing about the type.
        options = [option for option in get_args(kind) if option is not types.NoneType]
        kind = options[0] if len(options) == 1 else int | str
    arguments = get_args(kind)
    if get_origin(kind) is list:
        return {"type": "array", "items": _type_schema(schemas, resource, arguments[0], lists, at)}
    if get_origin(kind) is dict:
        inner = _type_schema(schemas, resource, arguments[1], lists, at)
        return {**_OBJECT, "additionalProperties": inner} if inner else _OBJECT
    if isinstance(kind, type) and issubclass(kind, Shape):
        return _add(schemas, resource, kind, lists, at)
    return _SCALARS[kind]


def _more(shape: type[Shape]) -> Iterator[tuple[str, Json]]:
    for word in _MORE.get(shape.__name__.lstrip("_"), "").split():
        name, _, kind = word.partition(":")
        yield name, _WORDS[kind]


def _merge_marks(entry: MergeList | None) -> Json:
    """Return how kubectl is told that a list is merged (the tags of k8s.io/api's types)."""
    if entry is None:
        return {}
    if not entry.key:
        return {"x-kubernetes-patch-strategy": "merge", "x-kubernetes-list-type": "set"}
    return {
        "x-kubernetes-patch-strategy": "merge",
        "x-kubernetes-patch-merge-key": entry.key,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": list(entry.map_keys),
    }
