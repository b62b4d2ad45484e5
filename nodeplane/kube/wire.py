"""What an API server sends: pages of a list and events of a watch, as values.

An object of a shape we do not know must not stop the others, so it is told apart (`Unreadable`) and its
reader keeps the version from before. What is no page or event at all is the peer's error.
"""

import logging
from typing import Generic, TypeAlias, TypeVar

import msgspec
from msgspec.structs import force_setattr

from nodeplane.errors import ProtocolError
from nodeplane.kube.objects import Object, ObjectKey
from nodeplane.kube.sharing import share

T = TypeVar("T")

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
"""The annotation of the bookmark that ends a streaming list (KEP-3157)."""

log = logging.getLogger(__name__)


class Page(msgspec.Struct, frozen=True):
    """A part of a list; `token` leads to the next one, empty after the last."""

    items: tuple[Object, ...]
    unreadable: tuple[ObjectKey, ...]
    resource_version: str
    token: str


class Put(msgspec.Struct, frozen=True):
    """An object is there, new or changed."""

    item: Object
    resource_version: str


class Gone(msgspec.Struct, frozen=True):
    """An object has gone, or does not match the selector any more."""

    key: ObjectKey
    resource_version: str


class Bookmark(msgspec.Struct, frozen=True):
    """Everything up to `resource_version` has been sent."""

    resource_version: str
    ends_initial: bool


class Unreadable(msgspec.Struct, frozen=True):
    """An object is there, in a shape that we do not know; without a name even its key is unknown."""

    key: ObjectKey | None
    resource_version: str


class Failure(msgspec.Struct, frozen=True):
    """The server ends the watch, with the status that a response would have."""

    code: int
    message: str


Event: TypeAlias = Put | Gone | Bookmark | Unreadable | Failure | None


class Status(msgspec.Struct, frozen=True):
    """Why a request failed (metav1.Status)."""

    message: str = ""
    reason: str = ""
    code: int = 0


class _ListMetadata(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    token: str = msgspec.field(name="continue", default="")


class _List(msgspec.Struct, Generic[T], frozen=True):
    metadata: _ListMetadata
    # An API server in Go writes null for an empty list.
    items: tuple[T, ...] | None


class _Event(msgspec.Struct, Generic[T], frozen=True):
    type: str
    object: T


class _Names(msgspec.Struct, frozen=True, rename="camel"):
    """What of an object's metadata has to be readable, for its event to count."""

    name: str = ""
    namespace: str = ""
    resource_version: str = ""
    annotations: dict[str, str] | None = None


class _Named(msgspec.Struct, frozen=True):
    metadata: _Names = _Names()


class WireDecoder:
    """Decodes what a server sends about one kind."""

    def __init__(self, kind: type[Object]) -> None:
        self._kind = kind
        self._item: msgspec.json.Decoder[Object] = msgspec.json.Decoder(kind)
        self._page: msgspec.json.Decoder[_List[Object]] = msgspec.json.Decoder(_List[kind])  # type: ignore[valid-type]  # a type known at run time
        self._raw_page = msgspec.json.Decoder(_List[msgspec.Raw])
        self._event: msgspec.json.Decoder[_Event[Object]] = msgspec.json.Decoder(_Event[kind])  # type: ignore[valid-type]  # a type known at run time
        self._raw_event = msgspec.json.Decoder(_Event[msgspec.Raw])
        self._named = msgspec.json.Decoder(_Named)
        self._status = msgspec.json.Decoder(Status)

    def page(self, body: bytes | bytearray) -> Page:
        """Decode a response to a list.

        Raises:
            ProtocolError: it is no list.
        """
        try:
            page = self._page.decode(body)
        except msgspec.ValidationError:
            return self._page_one_by_one(body)
        except msgspec.DecodeError as exc:
            raise ProtocolError(f"expected a list of {self._kind.__name__}: {exc}") from exc
        items = page.items or ()
        for item in items:
            _settle(item)
        return Page(items, (), page.metadata.resource_version, page.metadata.token)

    def event(self, line: bytes) -> Event:
        """Decode a line of a watch; None for a type of event that we do not know.

        Raises:
            ProtocolError: it is no event.
        """
        try:
            event = self._event.decode(line)
        except msgspec.ValidationError:
            return self._event_by_type(line)
        except msgspec.DecodeError as exc:
            raise ProtocolError(f"expected an event of {self._kind.__name__}: {exc}") from exc
        if event.type in {"ADDED", "MODIFIED"}:
            return Put(event.object, _settle(event.object))
        return self._event_by_type(line)

    def _page_one_by_one(self, body: bytes | bytearray) -> Page:
        """Decode a page in which at least one object does not fit."""
        try:
            page = self._raw_page.decode(body)
        except msgspec.DecodeError as exc:
            raise ProtocolError(f"expected a list of {self._kind.__name__}: {exc}") from exc
        items, unreadable = [], []
        for raw in page.items or ():
            try:
                items.append(self._item.decode(raw))
                _settle(items[-1])
            except msgspec.ValidationError as exc:
                found = self._unreadable(raw, exc)
                if found.key is not None:
                    unreadable.append(found.key)
        return Page(tuple(items), tuple(unreadable), page.metadata.resource_version, page.metadata.token)

    def _event_by_type(self, line: bytes) -> Event:
        try:
            event = self._raw_event.decode(line)
            match event.type:
                case "ADDED" | "MODIFIED":
                    return self._put(event.object)
                case "DELETED":
                    # Enough to know its name; its last state may be of a shape that we do not know.
                    return self._gone(event.object)
                case "BOOKMARK":
                    names = self._named.decode(event.object).metadata
                    is_end = (names.annotations or {}).get(INITIAL_EVENTS_END) == "true"
                    return Bookmark(names.resource_version, is_end)
                case "ERROR":
                    status = self._status.decode(event.object)
                    return Failure(status.code, status.message or status.reason)
        except msgspec.DecodeError as exc:
            raise ProtocolError(f"expected an event of {self._kind.__name__}: {exc}") from exc
        log.debug("type of event not known kind=%s type=%r", self._kind.__name__, event.type)
        return None

    def _put(self, raw: msgspec.Raw) -> Put | Unreadable:
        try:
            item = self._item.decode(raw)
            return Put(item, _settle(item))
        except msgspec.ValidationError as exc:
            return self._unreadable(raw, exc)

    def _gone(self, raw: msgspec.Raw) -> Gone | Unreadable:
        try:
            names = self._named.decode(raw).metadata
        except msgspec.ValidationError as exc:
            return self._unreadable(raw, exc)
        return Gone(ObjectKey(self._kind, names.namespace, names.name), names.resource_version)

    def _unreadable(self, raw: msgspec.Raw, refusal: msgspec.ValidationError) -> Unreadable:
        try:
            names = self._named.decode(raw).metadata
        except msgspec.ValidationError:
            names = _Names()
        key = ObjectKey(self._kind, names.namespace, names.name) if names.name else None
        log.error(
            "object refused, its version from before stays in force object=%s error=%r",
            key or self._kind.__name__,
            str(refusal),
        )
        return Unreadable(key, names.resource_version)


def _settle(item: Object) -> str:
    """Make an object ready to be kept, and return the version that it had.

    A version says how often an object was written, not what it says. Without it, a write that changes nothing
    we read, such as a node's heartbeat, leaves an object equal and wakes nobody.
    """
    share(item)
    version = item.metadata.resource_version
    force_setattr(item.metadata, "resource_version", "")
    return version


def decode_status(body: bytes) -> Status:
    """Decode the body of a response that says no; it may come from a proxy and be of any form."""
    try:
        return msgspec.json.decode(body, type=Status)
    except msgspec.DecodeError:
        return Status()
