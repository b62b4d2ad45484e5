"""Expectations as words, and what the walker and the packets say in the same words.

`pod* away` means: one of these two endpoints, chosen by chance; `pod` sees the node as the source, since the
connection is masqueraded, `away` the client. Or one word: `refuse`, `drop`, `untouched`.
"""

from fractions import Fraction

from kubeproxy.trace.result import Trace
from tests.kubeproxy.matrix.lab import names
from tests.kubeproxy.matrix.topology import node_address

Answer = tuple[str, str]
"""Who answers, and which source it sees."""

ENDINGS = ("refuse", "drop", "untouched")
_KINDS = {"reset": "refuse", "unreachable": "refuse", "drop": "drop", "untouched": "untouched"}


def answers(expected: str, client: str, version: int) -> frozenset[Answer] | str:
    """Return what an expectation means to a client of this address."""
    if expected in ENDINGS:
        return expected
    return frozenset(
        (word.rstrip("*"), node_address(word.rstrip("*"), version) if word.endswith("*") else client)
        for word in expected.split()
    )


def foretold(told: Trace, version: int) -> frozenset[Answer] | str | None:
    """Return what the walker says, None if it says several things at once."""
    assert sum((outcome.probability for outcome in told.outcomes), Fraction(0)) == 1
    kinds = {_KINDS.get(outcome.kind, outcome.kind) for outcome in told.outcomes}
    if kinds != {"endpoint"}:
        return kinds.pop() if len(kinds) == 1 else None
    known = names(version)
    assert {outcome.port for outcome in told.outcomes} == {8080}
    return frozenset((known[str(outcome.address)], str(outcome.source)) for outcome in told.outcomes)
