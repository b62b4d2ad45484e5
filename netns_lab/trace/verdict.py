"""What became of a packet."""

from typing import Literal

import msgspec

State = Literal["answered", "refused", "dropped", "lost", "unanswered", "unresolved"]


class Verdict(msgspec.Struct, frozen=True):
    """What became of the packet: in a word, in a sentence, and in which place."""

    state: State
    sentence: str
    where: str = ""
