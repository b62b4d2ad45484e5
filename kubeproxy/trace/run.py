"""A rule on its way from expression to expression, and the ways that it may end."""

import struct
from fractions import Fraction
from typing import Literal

import msgspec

from kubeproxy.trace.contents import Drawn
from kubeproxy.trace.packet import State
from kubeproxy.trace.registers import Label, Registers

_DRAWN_LIMIT = 4096
"""So many numbers of a draw are followed one by one, where a rule does more with it than to look it up."""

EffectKind = Literal[
    "next", "jump", "goto", "return", "accept", "bound", "drop", "reset", "unreachable", "unclear"
]


class Effect(msgspec.Struct, frozen=True, cache_hash=True):
    """How a rule ends; `detail` is the chain to go to, or why the packet ends here.

    `bound` is an accept that has settled how the connection is translated.
    """

    kind: EffectKind
    detail: str = ""


NEXT = Effect("next")
NO_MATCH = Effect("next", "no match")


class Branch(msgspec.Struct, frozen=True):
    """One way that a rule may end, and how likely it is."""

    effect: Effect
    state: State
    chance: Fraction


class Spread(msgspec.Struct, frozen=True, eq=False):
    """All ways that a rule may end for one packet, and in words what it found and did on them."""

    branches: tuple[Branch, ...]
    found: tuple[str, ...]
    then: tuple[str, ...]


class Run:
    """A rule on its way from expression to expression."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.place = 0
        self.chance = Fraction(1)
        self.registers = Registers()
        self.found: tuple[str, ...] = ()
        self.then: tuple[str, ...] = ()
        # Known before its turn comes.
        self.end: Effect | None = None

    def fork(self, share: Fraction) -> "Run":
        """Return a run that goes on from here with a part of the chance."""
        other = Run(self.state)
        other.place = self.place
        other.chance = self.chance * share
        other.registers = self.registers.copy()
        other.found, other.then = self.found, self.then
        return other


def settle(run: Run, place: int, drawn: Drawn) -> Effect | list[Run]:
    """Go on once for each number of the draw in a register."""
    if drawn.modulus > _DRAWN_LIMIT:
        return Effect("unclear", f"it depends on one of {drawn.modulus} numbers {drawn.how}")
    runs = []
    for number in range(drawn.offset, drawn.offset + drawn.modulus):
        other = run.fork(Fraction(1, drawn.modulus))
        label = Label(f"{number} {drawn.how}", "number")
        other.registers.load(place, struct.pack("=I", number & 0xFFFFFFFF), label)
        runs.append(other)
    return runs
