"""Objects as bytes: what is stored, and what is sent.

An object is stored without type and resource version, and with its metadata first. The version is written
in front of the rest, the type in front of that, so an object that is stored is sent without being decoded:

    stored   {"metadata":{"name":"web",...},"spec":...}
    item     {"metadata":{"resourceVersion":"7","name":"web",...},"spec":...}       in a list
    object   {"kind":"Service","apiVersion":"v1","metadata":{"resourceVersion":"7",...  in a watch, alone
"""

from typing import Any

import msgspec

from netns_lab.apiserver.resources import Resource

_STORED_HEAD = b'{"metadata":{'
_ITEM_HEAD = b'{"metadata":{"resourceVersion":"'

Json = dict[str, Any]


class _Metadata(msgspec.Struct, frozen=True):
    labels: dict[str, str] | None = None


class _Labelled(msgspec.Struct, frozen=True):
    metadata: _Metadata


_decode_labels = msgspec.json.Decoder(_Labelled).decode


class Item(msgspec.Struct, frozen=True):
    """One version of one object; `body` is what a list holds."""

    namespace: str
    name: str
    revision: int
    body: bytes
    labels: dict[str, str]


def build_item(namespace: str, name: str, revision: int, stored: bytes) -> Item:
    """Make the version of a stored object that a revision wrote."""
    body = b'%b%d",%b' % (_ITEM_HEAD, revision, stored[len(_STORED_HEAD) :])
    return Item(namespace, name, revision, body, _decode_labels(stored).metadata.labels or {})


def at_revision(item: Item, revision: int) -> Item:
    """Return the same content under another revision: how a deletion is told."""
    end = item.body.index(b'"', len(_ITEM_HEAD))
    body = b"%b%d%b" % (_ITEM_HEAD, revision, item.body[end:])
    return Item(item.namespace, item.name, revision, body, item.labels)


def stored_form(item: Item) -> bytes:
    """Return the bytes that `build_item` made an item from."""
    end = item.body.index(b'"', len(_ITEM_HEAD))
    return _STORED_HEAD + item.body[end + 2 :]


def encode_stored(value: Json) -> bytes:
    """Encode an object for the store."""
    metadata = {name: entry for name, entry in value["metadata"].items() if name != "resourceVersion"}
    rest = {name: entry for name, entry in value.items() if name not in {"kind", "apiVersion", "metadata"}}
    return msgspec.json.encode({"metadata": metadata, **rest})


def encode_object(resource: Resource, item: Item) -> bytes:
    """Return an object as it is sent alone."""
    return resource.head + item.body[1:]


def decode_object(resource: Resource, item: Item) -> Json:
    """Return an object as a value that its receiver may change."""
    value: Json = msgspec.json.decode(item.body)
    return {"kind": resource.kind, "apiVersion": resource.api_version, **value}


def encode_event(kind: str, resource: Resource, item: Item) -> bytes:
    """Return one line of a watch."""
    return b'{"type":"%b","object":%b}\n' % (kind.encode(), encode_object(resource, item))
