"""Answers that are kept until what they are about changes: two generations, bounded by their bytes.

    put ─► young ──── full ────► old ──── full ────► gone
             ▲                    │
             └──── asked for ─────┘

Nothing has a time or a place in a line, so that a hit costs one lookup in one dictionary and writes nothing.
When the young fill half of the room, they become the old, and what is asked for of these is young again: what
goes is what nobody asked for since.
"""

import itertools
import struct
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from threading import Lock
from typing import Generic, TypeVar

V = TypeVar("V")

# What an entry costs besides its bytes: two objects, its places in the table and in the list of what it is
# about, counted on CPython 3.11.
_ENTRY_BYTES = 250

_TRAILER = struct.Struct("=qIH")
TRAILER_BYTES = _TRAILER.size
"""A reply that is kept ends with so many bytes that are not sent: see `Label`."""


class Label:
    """What the end of a kept reply says: what it is about, its kind's number, how long its query is."""

    __slots__ = ("about", "kind", "query_bytes")

    def __init__(self, about: int, kind: int, query_bytes: int) -> None:
        self.about = about
        self.kind = kind
        self.query_bytes = query_bytes

    def pack(self) -> bytes:
        """Write it down."""
        return _TRAILER.pack(self.about, self.kind, self.query_bytes)


def label_of(reply: bytes) -> Label:
    """Read what the end of a kept reply says."""
    return Label(*_TRAILER.unpack_from(reply, len(reply) - TRAILER_BYTES))


def token(about: Hashable) -> int:
    """Return the number under which what an answer is about is known; two with one are forgotten together."""
    return hash(about)


class Turns(itertools.cycle):  # type: ignore[type-arg]  # at run time it takes no parameter
    """The replies that are given in turn, without end."""

    replies: tuple[bytes, ...]
    about: int


def make_turns(replies: Sequence[bytes]) -> Turns:
    """Make the turns of kept replies."""
    turns = Turns(replies)
    turns.replies = tuple(replies)
    turns.about = label_of(replies[0]).about
    return turns


class Kept(Generic[V]):
    """Values by key.

    Args:
        limit_bytes: What both generations may take.
        measure: Says of a value what it is about (`token`), and its size in bytes.
    """

    def __init__(self, limit_bytes: int, measure: Callable[[V], tuple[int, int]]) -> None:
        self.young: dict[bytes, V] = {}
        self._old: dict[bytes, V] = {}
        # By what they are about: a key, or several.
        self._young_about: dict[int, bytes | list[bytes]] = {}
        self._old_about: dict[int, bytes | list[bytes]] = {}
        self._measure = measure
        self._young_bytes = 0
        # For what changes; a packet loop that finds all it looks for among the young takes no lock.
        self._lock = Lock()
        self._most_young_bytes = limit_bytes // 2

    def __len__(self) -> int:
        return len(self.young) + sum(key not in self.young for key in self._old)

    def find(self, key: bytes) -> V | None:
        """Return what is kept under a key, which is young from now on."""
        value = self.young.get(key)
        if value is None and key in self._old:
            with self._lock:
                value = self._old.get(key)
                if value is not None:
                    self._put(key, value)
        return value

    def put(self, key: bytes, value: V) -> None:
        """Keep a value."""
        with self._lock:
            self._put(key, value)

    def drop(self, key: bytes) -> None:
        """Keep it no more."""
        with self._lock:
            self.young.pop(key, None)
            self._old.pop(key, None)

    def forget(self, tokens: Collection[int]) -> None:
        """Drop what is about any of these."""
        with self._lock:
            for about, values in ((self._young_about, self.young), (self._old_about, self._old)):
                for number in tokens:
                    noted = about.pop(number, ())
                    for key in (noted,) if isinstance(noted, bytes) else noted:
                        values.pop(key, None)

    def _put(self, key: bytes, value: V) -> None:
        about, size_bytes = self._measure(value)
        size_bytes += len(key) + _ENTRY_BYTES
        self._young_bytes += size_bytes
        if self._young_bytes > self._most_young_bytes:
            self._old, self._old_about = self.young, self._young_about
            self.young, self._young_about = {}, {}
            self._young_bytes = size_bytes
        noted = self._young_about.setdefault(about, key)
        if isinstance(noted, list):
            noted.append(key)
        elif noted != key:
            self._young_about[about] = [noted, key]
        self.young[key] = value


class KeptReplies:
    """Replies by query, without the ids of either, each with its label at its end.

    `packets` has those that are always the same and were asked for of late: packet loops read it. All others
    are looked for by `find`: those of which there are several take turns.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._packets: Kept[bytes] = Kept(limit_bytes, _measure_reply)
        self._turning: Kept[Turns] = Kept(limit_bytes // 2, _measure_turns)

    @property
    def packets(self) -> Mapping[bytes, bytes]:
        """The replies that are always the same and that were asked for of late."""
        return self._packets.young

    def find(self, body: bytes) -> bytes | None:
        """Return the reply to a query, its next one if there are several."""
        reply = self._packets.find(body)
        if reply is None and (turns := self._turning.find(body)) is not None:
            reply = next(turns)
        return reply

    def all(self, body: bytes) -> tuple[bytes, ...]:
        """Return all replies to a query; none if none is kept."""
        reply = self._packets.find(body)
        if reply is not None:
            return (reply,)
        turns = self._turning.find(body)
        return turns.replies if turns is not None else ()

    def put(self, body: bytes, replies: Sequence[bytes]) -> None:
        """Keep the replies to a query; they are given in turn if there are several."""
        if len(replies) == 1:
            self._packets.put(body, replies[0])
        else:
            self._turning.put(body, make_turns(replies))

    def drop(self, body: bytes) -> None:
        """Keep the replies to a query no more."""
        self._packets.drop(body)
        self._turning.drop(body)

    def forget(self, tokens: Sequence[int]) -> None:
        """Drop the replies that are about any of these."""
        self._packets.forget(tokens)
        self._turning.forget(tokens)

    def __len__(self) -> int:
        return len(self._packets) + len(self._turning)


def _measure_reply(reply: bytes) -> tuple[int, int]:
    return label_of(reply).about, len(reply)


def _measure_turns(turns: Turns) -> tuple[int, int]:
    return turns.about, sum(map(len, turns.replies))
