"""etcd's messages (api/etcdserverpb/rpc.proto), as its JSON gateway has them: bytes in base64.

Only the fields that we use. 64-bit numbers come as text, which the decoder takes for numbers.
"""

from typing import Literal, TypeVar

import msgspec

from nodeplane.json_decoder import decode_json

T = TypeVar("T")


class _Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is not set is not sent, and what etcd leaves out has its default."""


class Header(_Message, frozen=True):
    """The state of the whole etcd that an answer comes from."""

    revision: int = 0


class KeyValue(_Message, frozen=True):
    """A key as one revision has it."""

    key: bytes = b""
    value: bytes = b""
    mod_revision: int = 0


class Range(_Message, frozen=True):
    """Read a key, or all from `key` up to, not including, `range_end`; `revision` 0 is now."""

    key: bytes
    range_end: bytes = b""
    limit: int = 0
    revision: int = 0
    count_only: bool = False


class RangeAnswer(_Message, frozen=True):
    """What a `Range` found; `more` when the limit cut it."""

    header: Header = Header()
    kvs: tuple[KeyValue, ...] = ()
    more: bool = False
    count: int = 0


class Put(_Message, frozen=True):
    """Write a key."""

    key: bytes
    value: bytes = b""


class DeleteRange(_Message, frozen=True):
    """Delete a key, or all from `key` up to, not including, `range_end`."""

    key: bytes
    range_end: bytes = b""


class Operation(_Message, frozen=True):
    """One of the three, within a transaction."""

    request_range: Range | None = None
    request_put: Put | None = None
    request_delete_range: DeleteRange | None = None


class Compare(msgspec.Struct, frozen=True):
    """A condition on a key, or on all keys of a range: an absent key has `mod_revision` 0.

    All fields are sent: etcd's own default target is another one.
    """

    key: bytes
    range_end: bytes = b""
    result: Literal["EQUAL", "LESS"] = "EQUAL"
    target: Literal["MOD"] = "MOD"
    mod_revision: int = 0


class Txn(_Message, frozen=True):
    """If all compares hold, do `success`, in order and at one moment; if not, `failure`."""

    compare: tuple[Compare, ...] = ()
    success: tuple[Operation, ...] = ()
    failure: tuple[Operation, ...] = ()


class OperationAnswer(_Message, frozen=True):
    """What an operation of a transaction gave; only reads give something."""

    response_range: RangeAnswer | None = None


class TxnAnswer(_Message, frozen=True):
    """Which branch was taken, and what its operations gave."""

    header: Header = Header()
    succeeded: bool = False
    responses: tuple[OperationAnswer, ...] = ()


class Alarm(_Message, frozen=True):
    """A member's alarm."""

    memberID: int = 0  # noqa: N815  # its name on the wire
    alarm: str = ""


class AlarmAnswer(_Message, frozen=True):
    """All alarms of a cluster."""

    alarms: tuple[Alarm, ...] = ()


class AuthAnswer(_Message, frozen=True):
    """The token that stands for a user."""

    token: str = ""


class Refusal(_Message, frozen=True):
    """Why etcd did not; `code` is gRPC's."""

    error: str = ""
    code: int = 2


class WatchCreate(_Message, frozen=True):
    """Watch a key or a range, from a revision on (0: from now)."""

    key: bytes
    range_end: bytes = b""
    start_revision: int = 0


class WatchRequest(_Message, frozen=True):
    """What is sent on a watch's stream."""

    create_request: WatchCreate


class Event(_Message, frozen=True):
    """A change; without a type it is a put."""

    type: Literal["PUT", "DELETE"] = "PUT"
    kv: KeyValue = KeyValue()


class WatchAnswer(_Message, frozen=True):
    """Events, or word of the watch itself; `compact_revision` when what it asks for is gone."""

    header: Header = Header()
    created: bool = False
    canceled: bool = False
    compact_revision: int = 0
    cancel_reason: str = ""
    events: tuple[Event, ...] = ()


class StreamError(_Message, frozen=True):
    """Why a stream ends."""

    message: str = ""
    grpc_code: int = 2


class StreamAnswer(_Message, frozen=True):
    """One line of a stream."""

    result: WatchAnswer | None = None
    error: StreamError | None = None


encode = msgspec.json.Encoder().encode


def decode(content: bytes, kind: type[T]) -> T:
    """Decode an answer.

    Raises:
        msgspec.DecodeError: it is not etcd's.
    """
    return decode_json(content, kind, strict=False)


def prefix_range_end(prefix: bytes) -> bytes:
    """Return the first key after all that begin with `prefix`, whose last byte is below 0xff."""
    return prefix[:-1] + bytes([prefix[-1] + 1])
