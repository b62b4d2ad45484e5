"""An OpenAPI v2 document in protobuf, the only form in which old kubectls ask for it.

Field numbers are those of `OpenAPIv2.proto` (package openapi.v2, github.com/google/gnostic); what our
documents do not have is left out. Extensions (`x-...`) are YAML inside, and JSON is YAML.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from netns_lab.apiserver.wire import Json

_METHODS = {"get": 2, "put": 3, "post": 4, "delete": 5, "patch": 8}


def encode_document(document: Json) -> bytes:
    """Encode openapi.v2.Document."""
    info = _field(1, document["info"]["title"]) + _field(2, document["info"]["version"])
    paths = b"".join(_named(2, path, _path(item)) for path, item in document["paths"].items())
    definitions = _schemas(document["definitions"])
    return _field(1, document["swagger"]) + _field(2, info) + _field(8, paths) + _field(9, definitions)


def _path(item: Json) -> bytes:
    return b"".join(_field(_METHODS[method], _operation(entry)) for method, entry in item.items())


def _operation(operation: Json) -> bytes:
    responses = b"".join(
        # ResponseValue.response, Response.description
        _named(1, code, _field(1, _field(1, entry["description"])))
        for code, entry in operation["responses"].items()
    )
    parameters = b"".join(_field(8, _parameter(entry)) for entry in operation["parameters"])
    return parameters + _field(9, responses) + _extensions(13, operation)


def _parameter(parameter: Json) -> bytes:
    query = _field(2, parameter["in"]) + _field(4, parameter["name"]) + _field(6, parameter["type"])
    # ParametersItem.parameter, Parameter.non_body_parameter, NonBodyParameter.query_parameter_sub_schema
    return _field(1, _field(2, _field(3, query)))


def _schemas(schemas: Mapping[str, Json]) -> bytes:
    return b"".join(_named(1, name, _schema(schema)) for name, schema in schemas.items())


def _schema(schema: Json) -> bytes:
    content = b""
    for name, number in (("$ref", 1), ("format", 2), ("description", 4)):
        if name in schema:
            content += _field(number, schema[name])
    content += b"".join(_field(19, name) for name in schema.get("required", ()))
    if "additionalProperties" in schema:
        content += _field(21, _field(1, _schema(schema["additionalProperties"])))
    if "type" in schema:
        content += _field(22, _field(1, schema["type"]))
    if "items" in schema:
        content += _field(23, _field(1, _schema(schema["items"])))
    if "properties" in schema:
        content += _field(25, _schemas(schema["properties"]))
    return content + _extensions(31, schema)


def _extensions(number: int, value: Mapping[str, Any]) -> bytes:
    return b"".join(
        _named(number, name, _field(2, msgspec.json.encode(entry)))
        for name, entry in value.items()
        if name.startswith("x-")
    )


def _named(number: int, name: str, value: bytes) -> bytes:
    """Encode one entry of a map: its key and its value (NamedSchema, NamedPathItem, NamedAny, ...)."""
    return _field(number, _field(1, name) + _field(2, value))


def _field(number: int, content: bytes | str) -> bytes:
    data = content.encode() if isinstance(content, str) else content
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
