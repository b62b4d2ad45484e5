"""A fault as a value: something that goes wrong in a lab, for as long as it is in force.

Most are a lab that is a little different (`netns_lab.faults.overlay`): a link with loss, a node less, a
program that is not to run. So they are undone by bringing the lab to what it is without them. What they do
beside that (a signal, a wiped table) is done in `netns_lab.faults.actions`.
"""

from typing import Literal, TypeAlias

import msgspec

from netns_lab.quantities import parse_duration
from netns_lab.topology import NodeSpec

Kind: TypeAlias = Literal[
    "link-down",
    "loss",
    "duplicate",
    "rate",
    "delay",
    "partition",
    "kill",
    "freeze",
    "wipe",
    "node-crash",
    "node-add",
    "clock",
]

LINK_KINDS = frozenset({"link-down", "loss", "duplicate", "rate", "delay"})
PROGRAM_KINDS = frozenset({"kill", "freeze"})
WIPES = ("nft", "routes", "neighbours")

FABRIC = "api-server"
"""The word for the API server: as a program, and as a side of a partition."""


class Fault(msgspec.Struct, frozen=True):
    """A fault that is in force.

    Attributes:
        number: What it is called by, unique in its lab.
        target: A link (`n1`, `r1:rack1`, a pod), a program (`n1/kubeproxy`), a node, a side of a cut.
        value: How much: a share, a rate, a duration; the other side of a partition; what is wiped.
        node: The node that is added.
    """

    number: int
    kind: Kind
    target: str
    value: str = ""
    node: NodeSpec | None = None

    def __str__(self) -> str:
        return " ".join(part for part in (self.kind, self.target, self.value) if part)


def parse_shift(text: str) -> float:
    """Return by how many seconds a clock is to be off: `+1h`, `-30s`.

    Raises:
        ValueError: the text says no such thing.
    """
    if text[:1] not in {"+", "-"}:
        raise ValueError("expected how far the clock is off, such as +1h or -30s")
    seconds = parse_duration(text[1:])
    return -seconds if text[0] == "-" else seconds
