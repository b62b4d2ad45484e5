"""The OpenAPI documents name every field that the server serves, and say what kubectl looks for in them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netns_lab.apiserver.merge_keys import MERGE_LISTS
from netns_lab.apiserver.open_api import document_v2, document_v3, index_v3
from netns_lab.apiserver.open_api_protobuf import encode_document
from netns_lab.apiserver.open_api_schemas import REFERENCE_HEAD, build_schemas, kind_name
from netns_lab.apiserver.resources import RESOURCES, Resource
from tests.netns_lab.apiserver.running import Client, namespace, run

KINDS = [pytest.param(resource, id=resource.kind) for resource in RESOURCES]
ROOTS = ["api/v1", "apis/coordination.k8s.io/v1", "apis/discovery.k8s.io/v1", "apis/networking.k8s.io/v1"]


def resolve(schemas: Any, schema: Any, head: str = REFERENCE_HEAD) -> Any:
    return schemas[schema["$ref"].removeprefix(head)] if "$ref" in schema else schema


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (entry for name, entry in value.items() if name == "$ref" and isinstance(entry, str))
        for entry in value.values():
            yield from references(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from references(entry)


def complaints(schemas: Any, schema: Any, value: Any, at: str) -> Iterator[str]:
    """Say what kubectl would: fields without a name in the schema, and values of another type."""
    schema = resolve(schemas, schema)
    kinds = {"object": dict, "array": list, "integer": int, "boolean": bool, "string": str | int}
    if value is None or not schema:
        # Anything will do. Real servers have nulls, too, such as an Event's times; kubectl knows them.
        return
    if not isinstance(value, kinds[schema["type"]]):
        yield f"{at}: {type(value).__name__}, not {schema['type']}"
    elif isinstance(value, list):
        for entry in value:
            yield from complaints(schemas, schema["items"], entry, f"{at}[]")
    elif isinstance(value, dict):
        for name, entry in value.items():
            if "properties" in schema and name not in schema["properties"]:
                yield f"{at}.{name}: unknown"
                continue
            inner = schema.get("properties", {}).get(name) or schema.get("additionalProperties", {})
            yield from complaints(schemas, inner, entry, f"{at}.{name}")


@pytest.mark.parametrize("resource", KINDS)
def test_lists_are_marked_as_they_are_merged(resource: Resource) -> None:
    """kubectl computes its patches by these marks, the server carries them out by its own table."""
    schemas = build_schemas()
    for path, entry in MERGE_LISTS[resource.kind].items():
        schema = schemas[kind_name(resource)]
        for number, name in enumerate(path):
            schema = resolve(schemas, schema)
            schema = schema["items"] if schema.get("type") == "array" else schema
            schema = resolve(schemas, schema).get("properties", {}).get(name)
            if schema is None:
                # Inside of what the server keeps as it came: kubectl has no schema there, and no mark.
                assert path[: number + 1] not in MERGE_LISTS[resource.kind] or "ephemeralContainers" in path
                break
        else:
            assert (schema["type"], schema["x-kubernetes-patch-strategy"]) == ("array", "merge"), path
            assert schema.get("x-kubernetes-patch-merge-key", "") == entry.key


def test_references_lead_somewhere() -> None:
    whole = document_v2("v1")
    assert {reference.removeprefix(REFERENCE_HEAD) for reference in references(whole)} <= whole[
        "definitions"
    ].keys()
    for root in ROOTS:
        document = document_v3(root, "v1")
        assert document is not None
        found = {reference.removeprefix("#/components/schemas/") for reference in references(document)}
        assert found
        assert found <= document["components"]["schemas"].keys()


def test_the_groups_have_a_document_each() -> None:
    assert sorted(index_v3("v1")["paths"]) == ROOTS
    assert document_v3("apis/apps/v1", "v1") is None


@pytest.mark.parametrize("resource", KINDS)
def test_every_kind_can_be_tried_out(resource: Resource) -> None:
    """kubectl sends a patch with `dryRun` only where the document says that it is understood."""
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    for document in (document_v2("v1"), *(document_v3(root, "v1") or {} for root in ROOTS)):
        patches = [
            operations["patch"]
            for path, operations in document["paths"].items()
            if "patch" in operations and not path.endswith("/status")
        ]
        for patch in patches:
            assert {"dryRun", "fieldManager", "force"} == {entry["name"] for entry in patch["parameters"]}
        kinds = [patch["x-kubernetes-group-version-kind"] for patch in patches]
        assert kinds.count(kind) == (1 if "swagger" in document or kind in kinds else 0)


SAMPLES: dict[str, Any] = {
    "Namespace": {},
    "ServiceCIDR": {"spec": {"cidrs": ["10.1.0.0/24"]}},
    "Node": {"spec": {"podCIDR": "10.1.0.0/24", "taints": [{"key": "a", "effect": "NoSchedule"}]}},
    "Pod": {
        "spec": {
            "nodeName": "n",
            "volumes": [{"name": "v", "emptyDir": {}}],
            "affinity": {"podAffinity": {"x": [{"y": 1}]}},
            "containers": [
                {
                    "name": "c",
                    "image": "i",
                    "env": [{"name": "A", "value": "b"}],
                    "resources": {"limits": {"cpu": 1}},
                    "ports": [{"containerPort": 80}],
                }
            ],
        }
    },
    "Service": {
        "spec": {
            "type": "LoadBalancer",
            "sessionAffinity": "ClientIP",
            "ports": [{"name": "a", "port": 80, "targetPort": "web"}, {"name": "b", "port": 81}],
        }
    },
    "ConfigMap": {"data": {"a": "b"}, "binaryData": {"c": "AA=="}, "immutable": True},
    "Event": {
        "involvedObject": {"kind": "Pod", "name": "x", "namespace": "shop"},
        "source": {"component": "c"},
        "count": 2,
    },
    "EndpointSlice": {
        "addressType": "IPv4",
        "endpoints": [
            {
                "addresses": ["10.0.0.1"],
                "conditions": {"ready": True},
                "hints": {"forZones": [{"name": "z"}]},
                "targetRef": {"kind": "Pod"},
            }
        ],
        "ports": [{"name": "a", "port": 1, "appProtocol": "http"}],
    },
    "Lease": {"spec": {"holderIdentity": "x", "leaseDurationSeconds": 4}},
}


def test_what_is_served_has_no_unknown_field(tmp_path: Path) -> None:
    """With all that the server fills in: what kubectl edits it must be able to send back."""

    async def scenario(client: Client) -> list[tuple[Resource, Any]]:
        await client.post("/api/v1/namespaces", namespace())
        found = []
        for resource in RESOURCES:
            root = f"/apis/{resource.group}/v1" if resource.group else "/api/v1"
            path = f"{root}/{'namespaces/shop/' if resource.namespaced else ''}{resource.plural}/x"
            sample = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": "x"}}
            answer = await client.patch(
                f"{path}?fieldManager=test", {**sample, **SAMPLES[resource.kind]}, kind="apply-patch+yaml"
            )
            found.append((resource, answer))
        return found

    schemas = build_schemas()
    for resource, value in run(scenario, tmp_path):
        schema = schemas[kind_name(resource)]
        assert list(complaints(schemas, schema, value, resource.kind)) == []


def test_protobuf() -> None:
    """Tags, lengths and contents of a document with one of each; the rest is what kubectl makes of it."""
    operation = {
        "parameters": [{"name": "q", "in": "query", "type": "string"}],
        "responses": {"200": {"description": "OK"}},
        "x-a": {"b": "c"},
    }
    part = {"type": "array", "items": {"$ref": "#/d/X"}, "x-k": "m"}
    schema = {
        "type": "object",
        "required": ["p"],
        "properties": {"p": part},
        "additionalProperties": {"format": "f"},
    }
    document = {
        "swagger": "2.0",
        "info": {"title": "t", "version": "v"},
        "paths": {"/a": {"patch": operation}},
        "definitions": {"D": schema},
    }

    def pack(number: int, *contents: bytes) -> bytes:
        content = b"".join(contents)
        tag = number << 3 | 2
        head = [tag] if tag < 128 else [tag & 127 | 128, tag >> 7]
        return bytes([*head, len(content)]) + content

    query = pack(3, pack(2, b"query"), pack(4, b"q"), pack(6, b"string"))
    response = pack(1, pack(1, b"200"), pack(2, pack(1, pack(1, b"OK"))))
    extension = pack(13, pack(1, b"x-a"), pack(2, pack(2, b'{"b":"c"}')))
    path = pack(8, pack(8, pack(1, pack(2, query))), pack(9, response), extension)
    items = pack(23, pack(1, pack(1, b"#/d/X")))
    list_of = pack(22, pack(1, b"array")) + items + pack(31, pack(1, b"x-k"), pack(2, pack(2, b'"m"')))
    whole = (
        pack(19, b"p")
        + pack(21, pack(1, pack(2, b"f")))
        + pack(22, pack(1, b"object"))
        + pack(25, pack(1, pack(1, b"p"), pack(2, list_of)))
    )
    assert encode_document(document) == b"".join(
        [
            pack(1, b"2.0"),
            pack(2, pack(1, b"t"), pack(2, b"v")),
            pack(8, pack(2, pack(1, b"/a"), pack(2, path))),
            pack(9, pack(1, pack(1, b"D"), pack(2, whole))),
        ]
    )
