"""What the parts of all kinds are made of: who an object is, and how its fields are called on the wire."""

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

Port: TypeAlias = Annotated[int, Meta(ge=1, le=65535)]
PortOrNone: TypeAlias = Annotated[int, Meta(ge=0, le=65535)]
"""A port that an API server may choose; 0 stands for none yet."""
Protocol: TypeAlias = Literal["TCP", "UDP", "SCTP"]


class Value(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """A part of an object."""


class Metadata(Value, frozen=True):
    """Who an object is (metav1.ObjectMeta)."""

    name: str
    namespace: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    resource_version: str = ""
    deletion_timestamp: str | None = None


class Object(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """What every kind has."""

    metadata: Metadata

    @property
    def key(self) -> "ObjectKey":
        """The object's identity inside a cluster."""
        return ObjectKey(type(self), self.metadata.namespace, self.metadata.name)

    @property
    def labels(self) -> dict[str, str]:
        """The labels; none is an empty mapping."""
        return self.metadata.labels or {}


class ObjectKey(msgspec.Struct, frozen=True, gc=False, order=False):
    """Kind, namespace (empty for cluster-scoped kinds) and name."""

    kind: type[Object]
    namespace: str
    name: str

    def __str__(self) -> str:
        return "/".join(part for part in (self.kind.__name__, self.namespace, self.name) if part)
