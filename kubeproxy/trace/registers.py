"""The registers of a rule while it is followed: what is known of each 32-bit word, and how to call it."""

import sys
from ipaddress import ip_address
from typing import Literal, TypeAlias

import msgspec

from kubeproxy.trace.contents import Drawn
from kubeproxy.trace.packet import PROTOCOL_NAMES
from kubeproxy.trace.words import describe_number
from nodeplane.datapath.nft.expression import REGISTERS

Kind = Literal["address", "number", "mark", "port", "protocol", "name", "type"]

ADDRESS_TYPES = {1: "unicast", 2: "local", 3: "broadcast", 4: "anycast", 5: "multicast"}  # rtnetlink.h


class Hidden(msgspec.Struct, frozen=True):
    """A word that nobody can tell; `what` says of what."""

    what: str


Word: TypeAlias = bytes | Drawn | Hidden


class UntoldError(Exception):
    """What the packet will do can't be told, and why."""


class DrawnError(Exception):
    """One number is needed where any of a draw's may stand; `place` is the register's."""

    def __init__(self, place: int, drawn: Drawn) -> None:
        super().__init__(place)
        self.place = place
        self.drawn = drawn


class Label(msgspec.Struct, frozen=True):
    """What a register holds, in words; `kind` says how to write what it is compared with."""

    text: str
    kind: Kind


class Registers:
    """All registers of one rule."""

    def __init__(self) -> None:
        self._words: list[Word | None] = [None] * REGISTERS
        self._labels: dict[int, Label] = {}

    def copy(self) -> "Registers":
        """Return registers that go a way of their own."""
        other = Registers()
        other._words, other._labels = list(self._words), dict(self._labels)
        return other

    def load(self, register: int, value: bytes, label: Label | None = None) -> None:
        """Store bytes; what remains of the last word is zero."""
        padded = value + b"\0" * (-len(value) % 4)
        for start in range(0, len(padded), 4):
            self._put(register + start // 4, padded[start : start + 4])
        self._label(register, label)

    def load_word(self, register: int, word: Word, count: int = 1) -> None:
        """Store a word that is no bytes, `count` times."""
        for place in range(register, register + count):
            self._put(place, word)
        self._label(register, None)

    def words(self, register: int, length: int) -> list[Word]:
        """Return the words of `length` bytes.

        Raises:
            UntoldError: one of them was never loaded.
        """
        found = []
        for word in self._words[register : register + -(-length // 4)]:
            if word is None:
                raise UntoldError("the rule reads a register that it has not loaded")
            found.append(word)
        return found

    def known_words(self, register: int, length: int) -> list[bytes | Drawn]:
        """Return the words of `length` bytes.

        Raises:
            UntoldError: one of them is hidden or was never loaded.
        """
        found: list[bytes | Drawn] = []
        for word in self.words(register, length):
            if isinstance(word, Hidden):
                raise UntoldError(f"it depends on {word.what}, which is not known")
            found.append(word)
        return found

    def read(self, register: int, length: int) -> bytes:
        """Return `length` bytes.

        Raises:
            DrawnError: one of the words is drawn.
            UntoldError: one of them is hidden or was never loaded.
        """
        words = self.known_words(register, length)
        for place, word in enumerate(words):
            if isinstance(word, Drawn):
                raise DrawnError(register + place, word)
        return b"".join(word for word in words if isinstance(word, bytes))[:length]

    def label(self, register: int) -> Label:
        """Say what a register holds."""
        return self._labels.get(register, Label("value", "number"))

    def _put(self, place: int, word: Word) -> None:
        if place >= len(self._words):
            raise UntoldError("the rule writes beyond the registers")
        self._words[place] = word

    def _label(self, register: int, label: Label | None) -> None:
        self._labels.pop(register, None)
        if label is not None:
            self._labels[register] = label


def describe_value(value: bytes, kind: Kind) -> str:
    """Write bytes as the property that they are compared with."""
    number = int.from_bytes(value, sys.byteorder)
    match kind, len(value):
        case "address", 4 | 16:
            text = str(ip_address(value))
        case "port", 2:
            text = str(int.from_bytes(value, "big"))
        case "protocol", 1:
            text = PROTOCOL_NAMES.get(number, str(number))
        case "name", _:
            # Shorter than a name, it is how names begin.
            name = value.rstrip(b"\0").decode(errors="replace")
            text = name if value.endswith(b"\0") else f"{name}*"
        case "mark", 4:
            text = hex(number)
        case "type", 4:
            text = ADDRESS_TYPES.get(number, str(number))
        case _:
            text = describe_number(value)
    return text
