"""How labels, annotations and the data of a ConfigMap may be called, and what a label may say.

k8s.io/apimachinery/pkg/util/validation (IsQualifiedName, IsValidLabelValue, IsConfigMapKey).
"""

import re
from collections.abc import Iterator

from netns_lab.apiserver.status import Cause, FieldPath, invalid_value
from netns_lab.apiserver.wire import Json

_LONGEST_NAME = 63
_LONGEST_SUBDOMAIN = 253
_MOST_ANNOTATION_BYTES = 256 << 10

_NAME = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_DATA_KEY = "[-._a-zA-Z0-9]+"

_is_name = re.compile(_NAME, re.ASCII).fullmatch
_is_subdomain = re.compile(_SUBDOMAIN, re.ASCII).fullmatch
_is_data_key = re.compile(_DATA_KEY, re.ASCII).fullmatch

_CHARACTERS = "consist of alphanumeric characters, '-', '_' or '.'"
_ENDS = "and must start and end with an alphanumeric character"


def metadata_causes(metadata: Json) -> Iterator[Cause]:
    """Yield what is wrong with the labels and annotations of an object."""
    for name, text in (metadata.get("labels") or {}).items():
        path = ("metadata", "labels")
        yield from _causes(path, name, _qualified_name_problems(name))
        yield from _causes(path, text, _label_value_problems(text))
    annotations = metadata.get("annotations") or {}
    for name in annotations:
        # Upper case in the prefix is taken, for annotations alone (ValidateAnnotations).
        yield from _causes(("metadata", "annotations"), name, _qualified_name_problems(name.lower()))
    if (
        sum(len(name.encode()) + len(text.encode()) for name, text in annotations.items())
        > _MOST_ANNOTATION_BYTES
    ):
        detail = f"Too long: may not be more than {_MOST_ANNOTATION_BYTES} bytes"
        yield Cause("FieldValueTooLong", detail, "metadata.annotations")


def config_map_causes(value: Json) -> Iterator[Cause]:
    """Yield what is wrong with the keys of a ConfigMap."""
    data, binary = value.get("data") or {}, value.get("binaryData") or {}
    for field, keys in (("data", data), ("binaryData", binary)):
        for key in keys:
            yield from _causes((field, f"[{key}]"), key, _data_key_problems(key))
    for key in sorted(data.keys() & binary.keys()):
        yield from _causes(("data", f"[{key}]"), key, iter(["duplicate of key present in binaryData"]))


def _causes(path: FieldPath, found: str, problems: Iterator[str]) -> Iterator[Cause]:
    for problem in problems:
        cause = invalid_value(path, found, problem)
        # A key of a map is rendered as an index: `data[a key]`.
        yield Cause(cause.reason, cause.message, cause.field.replace(".[", "["))


def _qualified_name_problems(text: str) -> Iterator[str]:
    prefix, slash, name = text.rpartition("/")
    if "/" in prefix:
        yield (
            f"a qualified name must {_CHARACTERS}, {_ENDS} (e.g. 'MyName',  or 'my.name',  or '123-abc', "
            f"regex used for validation is '{_NAME}') with an optional DNS subdomain prefix and '/' "
            "(e.g. 'example.com/MyName')"
        )
        return
    if slash and not prefix:
        yield "prefix part must be non-empty"
    elif len(prefix) > _LONGEST_SUBDOMAIN:
        yield f"prefix part must be no more than {_LONGEST_SUBDOMAIN} bytes"
    elif prefix and not _is_subdomain(prefix):
        yield (
            "prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, "
            f"'-' or '.', {_ENDS} (e.g. 'example.com', regex used for validation is '{_SUBDOMAIN}')"
        )
    if not name:
        yield "name part must be non-empty"
    elif len(name.encode()) > _LONGEST_NAME:
        yield f"name part must be no more than {_LONGEST_NAME} bytes"
    if not _is_name(name):
        yield (
            f"name part must {_CHARACTERS}, {_ENDS} (e.g. 'MyName',  or 'my.name',  or '123-abc', "
            f"regex used for validation is '{_NAME}')"
        )


def _label_value_problems(text: str) -> Iterator[str]:
    if len(text.encode()) > _LONGEST_NAME:
        yield f"must be no more than {_LONGEST_NAME} bytes"
    if text and not _is_name(text):
        yield (
            f"a valid label must be an empty string or {_CHARACTERS}, {_ENDS} (e.g. 'MyValue',  or "
            f"'my_value',  or '12345', regex used for validation is '({_NAME})?')"
        )


def _data_key_problems(key: str) -> Iterator[str]:
    if len(key.encode()) > _LONGEST_SUBDOMAIN:
        yield f"must be no more than {_LONGEST_SUBDOMAIN} bytes"
    if not _is_data_key(key):
        yield (
            f"a valid config key must {_CHARACTERS} (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', "
            f"regex used for validation is '{_DATA_KEY}')"
        )
    elif key == ".":
        yield "must not be '.'"
    elif key == "..":
        yield "must not be '..'"
    elif key.startswith(".."):
        yield "must not start with '..'"
