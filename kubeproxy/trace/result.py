"""What a trace says: the rules that the packet met, and how its connection may end."""

from fractions import Fraction
from typing import Literal

import msgspec

from kubeproxy.rules.addresses import Address
from kubeproxy.trace.packet import Packet, with_port

OutcomeKind = Literal["endpoint", "untouched", "unroutable", "reset", "unreachable", "drop", "unclear"]


class Step(msgspec.Struct, frozen=True):
    """A rule that the packet may meet, or several alike in a row.

    Attributes:
        rule: Its place in the chain, from 1.
        repeats: How many like it there are in the chain.
        reason: The rule's own comment.
        found: What was looked at, and what was there.
        then: What the rule did or will do; nothing if it did not match.
        probability: How likely the packet is to come here at all, the first time.
    """

    chain: str
    rule: int
    repeats: int
    reason: str
    found: tuple[str, ...]
    then: tuple[str, ...]
    probability: Fraction


class Outcome(msgspec.Struct, frozen=True):
    """One way that the connection may end.

    Attributes:
        kind: `endpoint`: translated; `untouched`: as without kubeproxy; `unroutable`: a process here gets no
            packet out; `reset` and `unreachable`: refused; `unclear`: it can't be told, `reason` says why.
        address: The endpoint's.
        port: The endpoint's.
        source: Whom the endpoint will see; None if that can't be told.
        is_masqueraded: Whether that is another address than the client's.
        is_hairpin: Whether the endpoint is the client itself.
        remembered_s: For how many seconds the client will come back to this endpoint.
        reason: The comment of the rule that refused or dropped, or what else there is to say.
    """

    kind: OutcomeKind
    probability: Fraction
    address: Address | None = None
    port: int = 0
    source: Address | None = None
    is_masqueraded: bool = False
    is_hairpin: bool = False
    remembered_s: float = 0.0
    reason: str = ""

    @property
    def endpoint(self) -> str:
        """The endpoint as text, empty if there is none."""
        return "" if self.address is None else with_port(self.address, self.port)


class Trace(msgspec.Struct, frozen=True):
    """The answer."""

    packet: Packet
    steps: tuple[Step, ...]
    outcomes: tuple[Outcome, ...]

    @property
    def endpoints(self) -> frozenset[str]:
        """The endpoints that the connection may reach."""
        return frozenset(outcome.endpoint for outcome in self.outcomes if outcome.kind == "endpoint")
