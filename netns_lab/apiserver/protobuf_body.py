"""Objects in protobuf: how kubectl since 1.31 sends what it creates by words (`kubectl create configmap`).

Those are namespaces, config maps and services; other kinds it sends as JSON. So are the options of the
deletions that `kubectl drain` asks for. Answers are JSON, which such clients accept as well. Field numbers
are those of k8s.io/api/core/v1/generated.proto.
"""

import base64
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import msgspec

from netns_lab.apiserver.status import StatusError, bad_request
from netns_lab.apiserver.wire import Json

_MAGIC = b"k8s\x00"  # k8s.io/apimachinery/pkg/runtime/serializer/protobuf
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIDTHS = {_FIXED64: 8, _FIXED32: 4}

Read: TypeAlias = Callable[[Any], Any]


class _Field(msgspec.Struct, frozen=True):
    """A field of a message: what JSON calls it, and how its content is read.

    Attributes:
        is_pointer: In Go it may be absent, so one that is there counts though it is empty.
    """

    name: str
    read: Read
    is_pointer: bool = False
    repeated: bool = False
    is_map: bool = False


def _text(content: Any) -> str:
    return _bytes(content).decode()


def _base64(content: Any) -> str:
    return base64.b64encode(_bytes(content)).decode()


def _number(content: Any) -> int:
    if not isinstance(content, int):
        raise _broken("expected a number")
    # Negative ones are sent as 64 bits of two's complement.
    return content - (1 << 64) if content >> 63 else content


def _flag(content: Any) -> bool:
    return bool(_number(content))


def _bytes(content: Any) -> bytes:
    if not isinstance(content, bytes):
        raise _broken("expected bytes")
    return content


def _message(fields: dict[int, _Field]) -> Read:
    """Return a reader of a message; fields that it does not know, or that are empty, are left out."""

    def read(content: Any) -> Json:
        value: Json = {}
        for number, raw in _entries(_bytes(content)):
            field = fields.get(number)
            if field is None:
                continue
            entry = field.read(raw)
            if field.is_map:
                value.setdefault(field.name, {})[entry.get("key", "")] = entry.get("value", "")
            elif field.repeated:
                value.setdefault(field.name, []).append(entry)
            elif entry or field.is_pointer:
                # Go writes other fields that nobody has set, too: empty.
                value[field.name] = entry
        return value

    return read


def _map(name: str, read: Read = _text) -> _Field:
    return _Field(name, _message({1: _Field("key", _text), 2: _Field("value", read)}), is_map=True)


def _texts(name: str) -> _Field:
    return _Field(name, _text, repeated=True)


def _int_or_string(content: Any) -> int | str:
    value = _message({1: _Field("type", _number), 2: _Field("number", _number), 3: _Field("text", _text)})(
        content
    )
    found: int | str = value.get("text", "") if value.get("type") else value.get("number", 0)
    return found


_METADATA = _message(
    {
        1: _Field("name", _text),
        2: _Field("generateName", _text),
        3: _Field("namespace", _text),
        6: _Field("resourceVersion", _text),
        11: _map("labels"),
        12: _map("annotations"),
        14: _texts("finalizers"),
    }
)
_SERVICE_PORT = _message(
    {
        1: _Field("name", _text),
        2: _Field("protocol", _text),
        3: _Field("port", _number),
        4: _Field("targetPort", _int_or_string),
        5: _Field("nodePort", _number),
        6: _Field("appProtocol", _text),
    }
)
_AFFINITY = _message(
    {1: _Field("clientIP", _message({1: _Field("timeoutSeconds", _number, is_pointer=True)}))}
)
_SERVICE_SPEC = _message(
    {
        1: _Field("ports", _SERVICE_PORT, repeated=True),
        2: _map("selector"),
        3: _Field("clusterIP", _text),
        4: _Field("type", _text),
        5: _texts("externalIPs"),
        7: _Field("sessionAffinity", _text),
        8: _Field("loadBalancerIP", _text),
        9: _texts("loadBalancerSourceRanges"),
        10: _Field("externalName", _text),
        11: _Field("externalTrafficPolicy", _text),
        12: _Field("healthCheckNodePort", _number),
        13: _Field("publishNotReadyAddresses", _flag),
        14: _Field("sessionAffinityConfig", _AFFINITY),
        17: _Field("ipFamilyPolicy", _text),
        18: _texts("clusterIPs"),
        19: _texts("ipFamilies"),
        20: _Field("allocateLoadBalancerNodePorts", _flag, is_pointer=True),
        21: _Field("loadBalancerClass", _text),
        22: _Field("internalTrafficPolicy", _text),
        23: _Field("trafficDistribution", _text),
    }
)
_OBJECT = {1: _Field("metadata", _METADATA)}
_KINDS = {
    "Namespace": _message({**_OBJECT, 2: _Field("spec", _message({1: _texts("finalizers")}))}),
    "ConfigMap": _message(
        {
            **_OBJECT,
            2: _map("data"),
            3: _map("binaryData", _base64),
            4: _Field("immutable", _flag, is_pointer=True),
        }
    ),
    "Service": _message({**_OBJECT, 2: _Field("spec", _SERVICE_SPEC)}),
}
# k8s.io/apimachinery/pkg/apis/meta/v1/generated.proto
_DELETE_OPTIONS = _message(
    {
        1: _Field("gracePeriodSeconds", _number, is_pointer=True),
        2: _Field("preconditions", _message({1: _Field("uid", _text), 2: _Field("resourceVersion", _text)})),
        4: _Field("propagationPolicy", _text),
        5: _texts("dryRun"),
    }
)
_UNKNOWN = _message(
    {
        1: _Field("type", _message({1: _Field("apiVersion", _text), 2: _Field("kind", _text)})),
        2: _Field("raw", _bytes),
    }
)


def decode_protobuf(body: bytes) -> Json | None:
    """Read an object of core/v1, or deletion options; None for what is read as JSON only.

    Raises:
        StatusError: 400, it is no object in protobuf.
    """
    if not body.startswith(_MAGIC):
        raise _broken("it does not begin as one")
    try:
        envelope = _UNKNOWN(body[len(_MAGIC) :])
        head = envelope.get("type", {})
        read = _reader(head.get("apiVersion", ""), head.get("kind", ""))
        return None if read is None else {**head, **read(envelope.get("raw", b""))}
    except UnicodeDecodeError as exc:
        raise _broken(str(exc)) from exc


def _reader(api_version: str, kind: str) -> Read | None:
    # Deletion options are of every group, and have the version of the group that they are sent to.
    if kind == "DeleteOptions":
        return _DELETE_OPTIONS
    return _KINDS.get(kind) if api_version == "v1" else None


def _broken(why: str) -> StatusError:
    return bad_request(f"the body of the request is no object in protobuf: {why}")


def _entries(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the fields of a message as they come (protobuf.dev, "Encoding")."""
    at = 0
    while at < len(content):
        tag, at = _read_varint(content, at)
        wire_type = tag & 7
        if wire_type == _VARINT:
            value, at = _read_varint(content, at)
            yield tag >> 3, value
            continue
        if wire_type == _BYTES:
            length, at = _read_varint(content, at)
        elif wire_type in _WIDTHS:
            length = _WIDTHS[wire_type]
        else:
            raise _broken(f"unknown wire type {wire_type}")
        if at + length > len(content):
            raise _broken("it ends in the middle of a field")
        yield tag >> 3, content[at : at + length]
        at += length


def _read_varint(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(content):
            raise _broken("it ends in the middle of a number")
        value |= (content[at] & 0x7F) << shift
        at += 1
        if content[at - 1] < 0x80:
            return value, at
    raise _broken("a number is too long")
